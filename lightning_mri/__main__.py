"""The command: ``python -m lightning_mri`` and ``lightning-mri`` are the same thing."""

import sys

OVERVIEW = """\
lightning_mri: MRI reconstruction with diffusion priors

  reconstruct scans       predict --config experiments/reconstruct.yaml --data.root PATH --output_dir DIR
  compare with baselines  test --config experiments/test.yaml --data.root FOLDER --output_dir DIR
  train a prior           fit --config experiments/pretrain/synthetic.yaml
  fine-tune a prior       fit --config experiments/finetune/synthetic_flair.yaml --phase.learning_rate 1e-4
  see what is in a scan   inspect PATH --preview picture.png
  make scans a data set   prepare --config experiments/prepare.yaml --root FOLDER --output_dir DIR
  show or convert a prior weights show NAME_OR_FILE; weights import FILE --layout EDMFamily --output FILE
  make synthetic scans    simulate --output_dir DIR

PATH is a scan or a folder of scans: fastMRI HDF5, ISMRMRD, Bruker, BART, MATLAB or NumPy, with zeros where nothing was
acquired; NIfTI or DICOM images. Mask, calibration lines, coil maps, noise level and scale are found in the data.

Options of a command: python -m lightning_mri COMMAND --help.   Traceback of an error: add --debug.
"""


def main(arguments: list[str] | None = None) -> None:
    """Run one command line; exit code 2 and one sentence for input that can't be used."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        print(OVERVIEW, end="")
        return
    from lightning_mri.cli import run

    run(arguments)


if __name__ == "__main__":
    main()

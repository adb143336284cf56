"""Options that are wrong, empty or short for something else are understood, or answered with the nearest right word."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from lightning_mri.__main__ import main

Command = Callable[..., str]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("reconstruct", ["'reconstruct'"]),
        ("predict --data.rot x --output_dir o", ["--data.rot", "--data.root"]),
        ("predict --output_dir o", ["--data.root", "missing"]),
        ("predict --data.root x", ["--output_dir", "missing"]),
        ("predict --data.root x --outputdir o", ["--outputdir", "--output_dir?"]),
        ("predict --data.root x --output_dir o --model.preset fast", ["--model.preset", "standard", "fast"]),
        ("predict --data.root x --output_dir o --model.n_samples many", ["--model.n_samples", "whole number", "many"]),
        ("predict --data.root x --output_dir o --model.sampler HSQ", ["--model.sampler", "DDS", "HQS?"]),
        ("predict --model.sampler.nstep 3 --model.sampler HQS --data.root x --output_dir o", ["nstep", "n_steps?"]),
        ("predict --data.root x --output_dir o --data Scanz", ["--data", "LowFieldScans", "Scans?"]),
        ("predict --data.root x --output_dir o --results.formats [hdf]", ["--results.formats", "nifti", "hdf5?"]),
        ('predict --data.root x --output_dir o --model.priors {"mine":"spine"}', ["spine", "brain"]),
        ("predict --data.root x --output_dir o --optimizer Adam", ["--optimizer", "no option"]),
        ("predict --data.root x --output_dir o --config recnstruct", ["recnstruct", "reconstruct?"]),
        ("test --data.root x --output_dir o --results.redo true", ["--results.redo", "no option"]),
        ("simulate --n_tset 3 --output_dir o", ["--n_tset", "--n_test?"]),
        ("inspect x --jsn", ["--jsn", "--json?"]),
        ("prepare --output_dir o", ["--root", "missing"]),
        ("reader-study crate", ["crate", "create?"]),
        ("reader-study plan --marign 3", ["--marign", "--margin?"]),
        ("weights shw brain", ["shw", "show?"]),
        ("weights import x --layout EDM --output y", ["--layout", "EDMFamily", "got EDM"]),
        ("validate --data.root x --sampler HSQ", ["--sampler", "DDS", "HQS?"]),
        ("fit --config finetune/stroke_flair --trainer.max_steps 1", ["--trainer.max_steps", "give --phase.steps"]),
        ("fit --config finetune/stroke_flair --trainer.min_epochs 1", ["--trainer.min_epochs", "give --phase.epochs"]),
        ("fit --config finetune/stroke_flair --trainer.fast_dev_run 1", ["--trainer.fast_dev_run", "give --dry_run"]),
        ("predict x --output_dir o", ["x must follow", "did you mean --data.root x?"]),
        ("predict x y --output_dir o", ["x must follow", "did you mean --data.root x?"]),
        ("simulate x --output_dir o", ["x must follow", "--help"]),
        ("predict --data.root x --output_dir", ["--output_dir", "followed by a value"]),
        ("predict --data.root x --output_dir o --model.sampler HQS --model.sampler.momentum 7", ["error: momentum"]),
        ("predict --data.root x --output_dir o --trainer.precision half", ["bf16-mixed", "got half"]),
        ("test --data.root x --output_dir o --data.accelerations 4", ["--data.accelerations", "a list"]),
        (
            "predict --data.root x --output_dir o --data.pixel_size [1,1,2]",
            ["--data.pixel_size must be 2 values, such as [1,1]: got [1, 1, 2]"],
        ),
        ("simulate --output_dir o --matrix [64]", ["--matrix must be 2 values, such as [1,1]: got [64]"]),
        (
            "fit",
            ["--data is missing: give --config finetune/stroke_flair", "mouse/...", "or --data one of FastMRIBrain"],
        ),
        ("fit --data.root x", ["--data is missing: give --config", "or --data one of FastMRIBrain", "StrokeFLAIR"]),
        ("fit --data StrokeFLAIR --data.root x", ["--phase is missing: give --config", "one of FineTune, Pretrain"]),
        ("fit --phase.epochs 3", ["--phase is missing: give --config", "or --phase one of FineTune, Pretrain"]),
        ("fit --data.help", ["--data.help must be followed by one of FastMRIBrain"]),
        ("fit --data.help StrokeFLIAR", ["--data.help must be one of", "StrokeFLAIR?"]),
        ("predict --data.root x --output_dir o --model.sampler.n_steps 3", ["--model.sampler is missing: one of DAPS"]),
        ("predict --model.sampler.help", ["--model.sampler.help must be followed by one of DAPS"]),
        ("fit --config /etc/hostname", ["/etc/hostname: ", "YAML", "options"]),
        ("report", ["RUNS is missing"]),
        ("report x --output_dri y", ["--output_dir?"]),
        ("sweep x.yaml", ["--output_dir is missing"]),
        ("sweep", ["FILE is missing: W&B sweep file"]),
        ("predict --data.root x --output_dir o --data.batch_size null", ["--data.batch_size must not be null"]),
        ("predict --data.root x --output_dir o --model.sampler HQS --model.sampler.n_steps null", ["n_steps must not"]),
        ("sweep x.yaml --output_dir /proc/none", ["x.yaml must be a file or the name"]),
    ],
)
def test_a_wrong_option_is_told_with_the_nearest_right_word(
    failing_command: Command, line: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    message = failing_command(*line.split())
    assert all(word in message for word in words), message
    assert len(message) < 300
    assert not list(tmp_path.iterdir())


RELAXED = "--model.uncertainty.sampler PredictorCorrector --model.uncertainty.sampler.consistency"


@pytest.mark.parametrize(
    ("line", "path"),
    [
        ("--data.noise_std null", "data.noise_std"),
        ("--data.degradation.t2star_s null", "data.degradation.t2star_s"),
        ("--data.degradation.pattern=null", "data.degradation.pattern"),
        (f"{RELAXED} Relaxed {RELAXED.split()[-1]}.last null", "model.uncertainty.sampler.consistency.last"),
        (RELAXED + ' {"class_path":"Relaxed","init_args":{"last":null}}', "model.uncertainty.sampler.consistency.last"),
    ],
)
def test_null_is_none_however_deep_the_option(line: str, path: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(f"predict --config mouse/measured --data.root x --output_dir o {line} --print_config".split())
    assert stop.value.code == 0
    value = yaml.safe_load(capsys.readouterr().out)
    for name in path.split("."):
        value = value.get("init_args", value)[name]
    assert value is None


def test_a_tilde_is_the_home_behind_equals_and_in_yaml_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: a folder ~ was made in the working directory."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("model: {priors: {a: ~/a.ckpt}}\n")
    line = [
        "--config=~/mine.yaml",
        "--data.root",
        "~/in",
        "--output_dir=~/out",
        '--results={"source_dicom": "~/series"}',
    ]
    with pytest.raises(SystemExit, match="0"):
        main(["predict", *line, "--results.formats=[dicom]", "--print_config"])
    found = yaml.safe_load(capsys.readouterr().out)
    paths = (found["model"]["priors"]["a"], found["output_dir"], found["data"]["init_args"]["root"])
    assert (*paths, found["results"]["source_dicom"]) == tuple(
        str(tmp_path / name) for name in ("a.ckpt", "out", "in", "series")
    )

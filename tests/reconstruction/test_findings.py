import torch

from lightning_mri.reconstruction import findings_text, prepare
from lightning_mri.scaling import Scaling


def test_facts_are_aligned_lines_with_units_a_reader_knows() -> None:
    findings = {
        "acs": (320, 26),
        "acceleration": 3.987,
        "whitened": False,
        "noise_std": torch.tensor([0.12, 0.15]),
        "scale": torch.tensor([2.0, 2.0]),
        "own": "x",
    }
    assert findings_text(findings).splitlines() == [
        "calibration block (y, x)  320 x 26",
        "acceleration achieved     3.99",
        "whitened                  no",
        "noise level               0.12 ... 0.15",
        "scale                     2",
        "own                       x",
    ]


def test_every_fact_of_a_problem_has_a_meaning(measured) -> None:
    text = findings_text(prepare(measured.kspace, measured.mask, Scaling()).findings)
    assert "_" not in text
    assert "46 x 12" in text

import json
from dataclasses import replace

import pytest
import torch

from lightning_mri.reconstruction import ProblemFindings, join_findings, prepare
from lightning_mri.scaling import Scaling

FOUND = ProblemFindings(
    matrix=(320, 256),
    acs=(320, 26),
    acceleration=3.987,
    whitened=False,
    noise_std=torch.tensor([0.12, 0.15]),
    scale=torch.tensor([2.0, 2.0]),
)


def test_a_table_has_one_aligned_line_for_each_finding_with_its_unit() -> None:
    assert FOUND.text().splitlines() == [
        "matrix of the image (y, x)       320 x 256",
        "calibration block (y, x)         320 x 26",
        "acceleration achieved            3.99",
        "whitened                         no",
        "noise level in units of k-space  0.12 ... 0.15",
        "scale in units of k-space        2",
    ]


def test_a_range_is_that_of_the_slices_that_were_reconstructed() -> None:
    scale = replace(FOUND, scale=torch.tensor([2.0, torch.nan])).shown()["scale in units of k-space"]
    nothing = replace(FOUND, scale=torch.full((2,), torch.nan)).shown()["scale in units of k-space"]
    assert (scale, nothing) == ("2", "nan")


def test_attributes_are_what_json_holds_and_leave_out_what_a_scan_does_not_have() -> None:
    plain = json.loads(json.dumps(FOUND.plain()))
    assert plain["acs"] == [320, 26]
    assert plain["noise_std"] == pytest.approx([0.12, 0.15])
    assert "n_virtual_coils" not in plain


def test_batches_of_slices_are_joined() -> None:
    joined = join_findings([FOUND, FOUND])
    assert joined.noise_std.tolist() == pytest.approx([0.12, 0.15, 0.12, 0.15])
    assert (joined.acs, joined.n_virtual_coils) == ((320, 26), None)


def test_a_problem_prints_on_one_screen(measured) -> None:
    text = repr(prepare(measured.kspace, measured.mask, Scaling()))
    assert text.startswith("Problem of 3 slices\n")
    assert "46 x 12" in text
    assert text.count("\n") < 20
    assert "tensor" not in text

import pytest
import torch

from lightning_mri.evaluation import ScanErrors, coverage_table


def test_share_of_pixels_held_by_intervals_of_known_width() -> None:
    generator = torch.Generator().manual_seed(1)
    std = torch.rand(100_000, generator=generator) + 0.1
    scan = ScanErrors(3.0, (2 * std * torch.randn(100_000, generator=generator)).abs(), std, "any")
    assert [scan.coverage(level, 2.0) for level in (0.5, 0.9)] == pytest.approx([0.5, 0.9], abs=0.01)
    assert scan.coverage(0.9) == pytest.approx(0.589, abs=0.01)  # half of 1.645 standard deviations
    row = coverage_table([scan], lambda acceleration: acceleration - 1).splitlines()[-1]
    assert row.startswith("| 3.0 | 1 | 2.00 | ")
    shares = [float(cell.split(" -> ")[1]) for cell in row.strip("| ").split(" | ")[3:]]
    assert shares == pytest.approx([50, 80, 90, 95], abs=0.5)

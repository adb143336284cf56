from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_mri.evaluation import Panel, comparison, picture


def disc(rows: int = 61, columns: int = 48) -> torch.Tensor:
    y, x = torch.meshgrid(torch.linspace(-1, 1, rows), torch.linspace(-1, 1, columns), indexing="ij")
    return ((x**2 + y**2) < 0.5).float() * 3


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L")).astype(float)


def test_panels_come_in_the_order_a_reader_expects() -> None:
    panels = comparison(
        0.9 * disc() + 0j,
        std=0.1 * disc(),
        reference=disc() + 0j,
        others={"zero-filled": 0.5 * disc() + 0j, "L1-wavelet": 0.8 * disc() + 0j},
        acceleration=3.96,
    )
    titles = ["reference", "zero-filled", "L1-wavelet", "reconstruction", "error x 5", "uncertainty x 5"]
    assert [panel.title for panel in panels] == titles
    assert [panel.note for panel in panels][1:4] == ["NRMSE 0.500", "NRMSE 0.200", "R = 4.0, NRMSE 0.100"]


def test_without_a_reference_there_is_no_error_and_no_score() -> None:
    panels = comparison(disc() + 0j, std=0.1 * disc(), acceleration=8.0)
    assert (panels[0].title, panels[0].note) == ("reconstruction", "R = 8.0")
    assert len(panels) == 2


def test_uncertainty_that_was_not_computed_is_not_shown_as_zero() -> None:
    assert len(comparison(disc() + 0j, std=torch.full((61, 48), torch.nan))) == 1


def test_one_window_for_all_panels(tmp_path: Path) -> None:
    picture(tmp_path / "two.png", [Panel("a", disc()), Panel("b", 0.5 * disc())], n_columns=2)
    pixels = read(tmp_path / "two.png")
    centre = pixels[pixels.shape[0] * 3 // 5]
    left, right = centre[len(centre) // 4], centre[3 * len(centre) // 4]
    assert left == 255
    assert right == pytest.approx(127, abs=2)


def test_gain_multiplies_the_image_shown(tmp_path: Path) -> None:
    panels = [Panel("a", disc()), Panel("error", 0.1 * disc(), gain=5)]
    picture(tmp_path / "gain.png", panels, n_columns=2)
    pixels = read(tmp_path / "gain.png")
    assert pixels[pixels.shape[0] * 3 // 5, 3 * pixels.shape[1] // 4] == pytest.approx(127, abs=2)


def test_background_is_black_to_the_edge(tmp_path: Path) -> None:
    picture(tmp_path / "new" / "one.png", [Panel("a", disc(), "note")], title="above")
    pixels = read(tmp_path / "new" / "one.png")
    assert all(edge.max() == 0 for edge in (pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    assert pixels.mean() < 128


def test_no_panels_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        picture(tmp_path / "none.png", [])
    assert not list(tmp_path.iterdir())

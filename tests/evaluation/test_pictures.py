import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_mri.evaluation import Panel, comparison, picture, slice_panels, white_of


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
    assert [panel.note for panel in panels][1:3] == [f"NRMSE of the slice {error}" for error in ("0.500", "0.200")]
    assert panels[3].note == "R = 4.0, NRMSE of the slice 0.100"


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


@pytest.mark.parametrize(("std", "gain"), [(0.01, 50), (0.045, 20), (0.15, 5), (0.3, 2), (0.9, 1), (3.0, 1)])
def test_a_large_uncertainty_is_not_drawn_all_white(std: float, gain: int) -> None:
    """A low-field scan has a std of a quarter of its signal: ten times that would be a white square."""
    images = torch.ones(1, 20, 30)
    panel = slice_panels({"reconstruction": images}, std * images)[-1]
    assert (panel.title, panel.gain) == (f"uncertainty x {gain}", gain)


@pytest.mark.parametrize("signal", [torch.nan, 0.5])
def test_air_alone_has_no_row_of_uncertainty(signal: float) -> None:
    """Regression: without uncertainty, a slice of air, whose standard deviation is 0, made an empty row."""
    std = torch.tensor([signal, 0.0])[:, None, None].expand(2, 5, 7)
    panels = slice_panels({"reconstruction": torch.ones(2, 5, 7)}, std)
    assert len(panels) == (2 if math.isnan(signal) else 4)


def test_slices_that_a_warning_names_are_framed(tmp_path: Path) -> None:
    images, warnings = disc().expand(3, -1, -1), ["slice 1: coil maps may be wrong", "slices were guessed"]
    panels = slice_panels({"zero-filled": images, "reconstruction": images}, None, warnings)
    assert [panel.warned for panel in panels] == 2 * [False, True, False]
    plain, marked = tmp_path / "plain.png", tmp_path / "marked.png"
    picture(plain, panels[:1])
    picture(marked, panels[:2], warnings=warnings)
    assert np.ptp(np.asarray(Image.open(plain).convert("RGB")).astype(int), axis=-1).max() == 0
    assert np.ptp(np.asarray(Image.open(marked).convert("RGB")).astype(int), axis=-1).max() > 100


def test_slices_that_a_warning_names_are_among_those_shown() -> None:
    """Regression: of slices 0, 2, 3 and 5, framed in a picture of six, none was the one with the warning below it."""

    def shown(*warned: int) -> list[str]:
        panels = slice_panels({"": torch.ones(6, 2, 3)}, warnings=[f"slice {k}: do not trust it" for k in warned])
        return [panel.note.removeprefix("slice ") + "!" * panel.warned for panel in panels]

    assert shown() == ["0", "2", "3", "5"]
    assert shown(1) == ["0", "1!", "3", "5"]
    assert shown(0, 1, 2, 4, 5) == ["0!", "2!", "3", "5!"]  # one that may be trusted is there, too
    assert shown(*range(6)) == ["0!", "2!", "3!", "5!"]


def test_pixels_have_their_shape_and_a_bar_its_length(tmp_path: Path) -> None:
    """48 columns of 2 mm are 96 mm in 450 pixels of the picture: the longest round bar below a third has 20 mm."""
    picture(tmp_path / "wide.png", [Panel("a", torch.zeros(61, 48))], pixel_size=(1.0, 2.0))
    pixels = read(tmp_path / "wide.png")
    bar = pixels[-30:].max(axis=0)[:300]
    assert pixels.shape[0] == pytest.approx(450 * 61 / 96 + 0.46 * 150, abs=3)
    assert (pixels[-30:] > 128).sum(axis=1).max() == pytest.approx(450 * 20 / 96, abs=3), bar


def test_an_empty_image_is_black(tmp_path: Path) -> None:
    picture(tmp_path / "scan.png", slice_panels({"": torch.zeros(1, 5, 7)})[:1], n_columns=1)
    assert not read(tmp_path / "scan.png")[75:].any()


@pytest.mark.parametrize(("n", "white"), [(0, torch.finfo(torch.float32).tiny), (1, 3.0), (10, 3.0), (1000, 3.0)])
def test_the_window_is_that_of_what_is_not_zero(n: int, white: float) -> None:
    """Regression: a signal in fewer pixels than may saturate was drawn on a window of nothing."""
    image = torch.zeros(1000)
    image[:n] = 3
    assert white_of(image) == white


def test_dollars_in_a_name_are_dollars(tmp_path: Path) -> None:
    """Regression: matplotlib took what lay between two of them for mathematics, and failed."""
    picture(tmp_path / "scan.png", [Panel("P$1^$", disc(), note="$_$")], title="P$1^$2", warnings=["a$^$"])
    assert read(tmp_path / "scan.png").any()

"""The viewer in a real browser: it opens from disk, and what a reader does changes what is shown."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_mri.evaluation import View, read_case, table_section, write_page
from lightning_mri.evaluation.page import read_page
from lightning_mri.evaluation.viewer import CHUNK

from ..browser import Browser, needs_chromium
from .test_page import table

HOSTILE = "</script><img src=x onerror='document.title=1'> & \"a\""
N_SLICES = CHUNK + 3


def view(name: str = "head", n_slices: int = N_SLICES, **more: Any) -> View:
    """Squares whose brightness is that of their slice, on 24 x 30 pixels of 2 x 1 mm."""
    x = torch.zeros(n_slices, 24, 30)
    x[:, 4:20, 5:25] = torch.linspace(0.2, 1, n_slices)[:, None, None]
    std = 0.05 * x
    std[0] = torch.nan
    images = {"zero-filled": 0.5 * x, "reconstruction": x}
    return View(name=name, images=images, std=std, pixel_size=(2.0, 1.0), burnt=("R = 4.0",), **more)


def write(folder: Path, *views: View, title: str = "title") -> Path:
    for each in views:
        each.write(folder / "view" / each.name.replace("/", "_"))
    cases = [read_case(folder / "view" / each.name.replace("/", "_")) for each in views]
    path = folder / "index.html"
    write_page(path, title, cases=cases, tables=[table_section("Results", table())], facts={"run": {"a": HOSTILE}})
    return path


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


def pixels(browser: Browser, which: int = 0) -> np.ndarray:
    """Return what a canvas shows, [y, x, colour]."""
    content = browser.run(f"canvases[{which}].toDataURL()").partition(",")[2]
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")).astype(float)


def centre(browser: Browser, which: int = 0) -> float:
    shown = pixels(browser, which)
    return float(shown[shown.shape[0] // 2, shown.shape[1] // 2].mean())


def look(browser: Browser, page: Path, *size: int) -> None:
    """Open a page, and wait for the slice that it shows first."""
    browser.open(page, *size)
    browser.run("show()")


@pytest.mark.slow
@needs_chromium
def test_slider_and_flicker_change_what_is_shown(browser: Browser, tmp_path: Path) -> None:
    look(browser, write(tmp_path, view()))
    assert browser.run("$('place').textContent") == f"slice {N_SLICES // 2} (0 to {N_SLICES - 1})"
    middle = centre(browser)
    browser.run(f"$('slice').value = {N_SLICES - 1}, show()")  # in the second file
    last = centre(browser)
    assert (middle, last) == (pytest.approx(255 * 0.6, abs=6), 255)
    browser.run("setMode('b')")
    assert centre(browser) == pytest.approx(255 / 2, abs=4)
    browser.run("setMode('flicker')")
    seen = {round(centre(browser), -1) for _ in range(3) if browser.run("new Promise(r => setTimeout(r, 350))") is None}
    assert len(seen) == 2
    browser.run("setMode('both')")
    assert centre(browser, 1) == pytest.approx(255 / 2, abs=4)
    browser.run("setMode('difference')")
    assert centre(browser) == 255  # five times 1 - 0.5
    assert not browser.errors


@needs_chromium
def test_mouse_changes_window_slice_and_zoom(browser: Browser, tmp_path: Path) -> None:
    look(browser, write(tmp_path, view()))
    box = browser.run("JSON.parse(JSON.stringify(canvases[0].getBoundingClientRect()))")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    before, black = centre(browser), int((pixels(browser).max(-1) < 20).sum())
    browser.mouse("Pressed", x, y, button="left", buttons=1)
    browser.mouse("Moved", x, y + 60, button="left", buttons=1)
    browser.mouse("Released", x, y + 60, button="left")
    assert centre(browser) > before + 20  # a lower level is brighter
    browser.mouse("Wheel", x, y, deltaX=0, deltaY=100)
    browser.run("show()")
    assert browser.run("Number($('slice').value)") == N_SLICES // 2 + 1
    browser.run("$('reset').click(), $('closer').click()")
    assert int((pixels(browser).max(-1) < 20).sum()) < black
    assert not browser.errors


@needs_chromium
def test_uncertainty_lies_over_the_image_and_is_said_where_it_is_not_known(browser: Browser, tmp_path: Path) -> None:
    look(browser, write(tmp_path, view(warnings=["slice 0: do not trust it", "all of it"])))
    assert np.ptp(pixels(browser), axis=-1).max() > 50  # the amber of the warnings
    browser.run(f"$('slice').value = {N_SLICES - 1}, show()")
    grey = pixels(browser)
    browser.run("$('overlay').click()")
    red = pixels(browser)
    middle = (grey.shape[0] // 2, grey.shape[1] // 2)
    assert np.ptp(grey[middle]) == 0
    assert red[middle][0] > red[middle][2] + 40
    browser.run("$('overlay').click(), $('a').value = 2, $('slice').value = 0, show()")
    assert centre(browser) == 0
    assert not browser.errors


@needs_chromium
def test_names_from_files_stay_words(browser: Browser, tmp_path: Path) -> None:
    look(browser, write(tmp_path, view(HOSTILE, 2, warnings=[HOSTILE], scores={HOSTILE: 1.0}), title=HOSTILE))
    assert browser.run("document.title") == HOSTILE
    assert browser.run("document.querySelectorAll('img').length") == 0
    assert HOSTILE in browser.run("$('beside').textContent")
    assert browser.run("document.querySelector('#facts td:last-child').textContent") == HOSTILE
    assert centre(browser) > 0
    assert not browser.errors


@needs_chromium
def test_a_phone_shows_everything_in_its_width(browser: Browser, tmp_path: Path) -> None:
    look(browser, write(tmp_path, view(), view("a name that is much longer than a phone is wide " * 3)), 400, 800)
    browser.run("setMode('both')")
    assert browser.run("document.documentElement.scrollWidth") <= 400
    assert browser.run("canvases[0].clientWidth") > 150
    assert not browser.errors


@needs_chromium
def test_a_long_name_in_the_list_leaves_room_for_the_numbers(browser: Browser, tmp_path: Path) -> None:
    long = "a_very_long_name" + "_of_a_scan" * 12
    scores = {"contrast": "FLAIR", "R": 2.963}
    named, unnamed = view(long, scores={"subject": long, **scores}), view("short", scores=scores)
    look(browser, write(tmp_path, named, unnamed), 1400, 800)
    assert browser.run("$('cases').firstChild.scrollWidth <= $('cases').clientWidth")
    assert browser.run("$('cases').querySelector('td:nth-child(4)').firstChild.clientHeight < 30")  # FLAIR in one line
    assert not browser.errors


@needs_chromium
def test_five_hundred_cases_are_listed_found_and_sorted(browser: Browser, tmp_path: Path) -> None:
    one = view("one", 2)
    one.write(tmp_path / "view" / "one")
    case = read_case(tmp_path / "view" / "one")
    many = [{**case, "name": f"case {k:03d}", "scores": {"NRMSE": (7 * k % 500) / 1000}} for k in range(500)]
    names = ", ".join(case["name"] for case in many)
    write_page(tmp_path / "index.html", "many", cases=many, warnings=[f"500 scans: case 000\n{names}"])
    assert (tmp_path / "index.html").stat().st_size < 500_000
    look(browser, tmp_path / "index.html")
    assert browser.run("$('warnings').offsetHeight") < 60
    browser.click("$('warnings').querySelector('summary')")
    assert browser.run("$('warnings').offsetHeight") > 300
    browser.run("$('filter').value = 'case 12', $('filter').oninput()")
    assert browser.run("[...$('cases').querySelectorAll('tbody tr')].filter(line => !line.hidden).length") == 10
    browser.run("$('cases').querySelectorAll('th')[2].click()")
    assert browser.run("$('cases').querySelector('tbody tr').textContent").startswith("case 000")
    assert not browser.errors


@needs_chromium
def test_a_page_without_its_folder_says_what_is_missing(browser: Browser, tmp_path: Path) -> None:
    page = write(tmp_path, view())
    (tmp_path / "alone").mkdir()
    look(browser, page.rename(tmp_path / "alone" / "index.html"))
    assert pixels(browser).max() > 100
    assert "view/head/0000.js is missing" in browser.run("$('place').textContent")


@needs_chromium
def test_a_damaged_file_shows_nothing_of_the_case_before_until_it_is_whole(browser: Browser, tmp_path: Path) -> None:
    page = write(tmp_path, view("one", 2), view("two", 2))
    damaged = tmp_path / "view" / "two" / "0000.js"
    content = damaged.read_text()
    image = content.partition('[["')[0] + '[["' + "A" * 40 + content.partition('[["')[2][40:]  # its first PNG
    browser.open(page)
    for part in (content[: len(content) // 2], "", image):
        damaged.write_text(part)
        browser.run("show()")
        assert browser.run("(choose(cases[1]), shown)") is None
        browser.run("$('slice').value = 0, show()")
        assert browser.run("$('place').textContent") == "view/two/0000.js is damaged: copy the folder again"
        assert browser.run("shown") is None
        browser.run("choose(cases[0])")
    damaged.write_text(content)
    browser.run("choose(cases[1]), $('slice').value = 0, show()")
    assert browser.run("$('place').textContent") == "slice 0 (0 to 1)"
    assert centre(browser) > 0


@needs_chromium
def test_cases_are_sorted_by_numbers_with_those_that_are_not_known_last(browser: Browser, tmp_path: Path) -> None:
    errors = {"a": 0.05, "b": float("nan"), "c": 0.2, "R = 10": 0.1, "R = 4": 0.01, "f": None}
    views = [view(name, 1, scores={} if x is None else {"NRMSE": x}) for name, x in errors.items()]
    browser.open(write(tmp_path, *views))
    names = "[...$('cases').querySelectorAll('tbody tr')].map(line => line.firstChild.textContent)"
    browser.click("$('cases').querySelectorAll('th')[2]")
    assert browser.run(names) == ["R = 4", "a", "R = 10", "c", "b", "f"]
    browser.click("$('cases').querySelectorAll('th')[2]")
    assert browser.run(names) == ["c", "R = 10", "a", "R = 4", "b", "f"]
    assert browser.run("$('cases').querySelectorAll('th')[2].ariaSort") == "descending"
    browser.click("$('cases').querySelector('th')")
    assert browser.run(names) == ["a", "b", "c", "f", "R = 4", "R = 10"]
    assert not browser.errors


@needs_chromium
def test_keys_mean_the_same_wherever_the_focus_is(browser: Browser, tmp_path: Path) -> None:
    look(browser, write(tmp_path, view("one"), view("two")))
    at = N_SLICES // 2
    for place in ("$('modes').children[1]", "$('slice')", "$('overlay')", "canvases[0]", "$('title')"):
        browser.run(f"setMode('b'), $('slice').value = {at - 1}")
        browser.click(place)
        browser.run(f"setMode('b'), $('slice').value = {at}")
        browser.key("ArrowDown")
        assert browser.run("Number($('slice').value)") == at + 1, place
        browser.key("ArrowLeft")
        assert browser.run("Number($('slice').value)") == at, place
        browser.key(" ")
        assert browser.run("state.mode") == "a", place
        assert browser.run("[$('overlay').checked, state.overlay]") in ([True, True], [False, False])
    browser.run("$('cases').querySelectorAll('tbody button')[0].focus()")
    browser.key("Tab")
    browser.key("Enter")
    assert browser.run("state.case.name") == "two"
    assert not browser.errors


@needs_chromium
def test_frames_are_told_from_slices(browser: Browser, tmp_path: Path) -> None:
    look(browser, write(tmp_path, view("dynamic", 6, n_volumes=3)))
    assert browser.run("$('place').textContent") == "slice 3 (0 to 5): slice 1 of frame 1"
    assert "3 frames of 2 slices" in browser.run("$('beside').textContent")


def test_a_page_can_be_read_again(tmp_path: Path) -> None:
    page = read_page(write(tmp_path, view(HOSTILE)))
    (case,) = page["cases"]
    assert (case["name"], case["flagged"], case["pixel"]) == (HOSTILE, [], [2.0, 1.0])
    assert (Path(case["sources"][0]["path"]) / "0001.js").is_file()
    (tmp_path / "other.html").write_text("<p>mine</p>")
    with pytest.raises(ValueError, match=r"other\.html: it must be a page"):
        read_page(tmp_path / "other.html")

"""The readers' page in a real browser: every click is kept, closing the browser loses nothing, the export is read."""

from pathlib import Path

import pytest
import torch

from lightning_mri.evaluation.reader_study import HALLUCINATION, Design, read_scores, write_pages

from ...browser import Browser, needs_chromium

pytestmark = [pytest.mark.slow, needs_chromium]

# what a reader does: every left image is a 4, every right one a 2; the last answer of the last case is left out
SCORE = """
for (const reading of STUDY.readings) {
  const radios = [...document.querySelectorAll("input[type=radio]")];
  const wanted = radios.filter(input => input.value === (input.name.startsWith("left") ? "4" : "2"));
  for (const input of reading === STUDY.readings.at(-1) ? wanted.slice(0, -1) : wanted) input.click();
  element("next").click();
}
"""
MARK = """
(async () => {
  const image = views[1].querySelector("img");
  await image.decode();
  if (!element("mark").checked) element("mark").click();
  const box = image.getBoundingClientRect();
  const at = {bubbles: true, clientX: box.left + box.width * 10.5 / 17, clientY: box.top + box.height * 4.5 / 20};
  views[1].dispatchEvent(new MouseEvent("click", at));
  return csv();
})()
"""
# the same script that asks for a slice has not loaded it yet: nobody has seen what is clicked
MARK_TOO_EARLY = """
element("mark").click();
move(1);
views[1].click();
csv();
"""


@pytest.fixture
def key():
    return Design(n_repeats=1, items=("image quality", "sharpness"), primary=("sharpness",), seed=2).draw(
        {name: name for name in ("p0", "p1", "p2")}
    )


@pytest.fixture
def page(key, tmp_path):
    def images(patient: str, method: str) -> torch.Tensor:
        return torch.rand(3, 20, 17, generator=torch.Generator().manual_seed(len(method)))

    write_pages(tmp_path / "package", key, images)
    return tmp_path / "package" / "reader-1"


def browse(page: Path, *scripts: str) -> list[str]:
    """Open the page in a browser of its own profile, and close it; return what expressions give there."""
    browser = Browser(page / "profile")
    browser.open(page / "index.html")
    told = [browser.run(script) for script in scripts]
    assert not browser.errors
    browser.close()
    return told


def test_scores_survive_closing_the_browser_and_are_read_back_from_the_export(key, page, tmp_path):
    *_, first = browse(page, SCORE, MARK)
    (again,) = browse(page, "csv()")
    assert again == first
    (tmp_path / "scores.csv").write_text(again)
    scores = read_scores([tmp_path / "scores.csv"], key)
    assert "reader 1, sharpness: 1 of 8 answers missing" in scores.notes
    marks = [score for score in scores.scores if score.item == HALLUCINATION]
    assert [score.place for score in marks] == [(1, 10, 4)]
    last = key.of_reader(1)[-1]
    assert (marks[0].reading, marks[0].method) == (last, last.right)
    given = {(score.reading.code, score.method, score.item): score.score for score in scores.scores}
    for reading in key.of_reader(1):
        assert given[reading.code, reading.left, "image quality"] == 4
        assert given[reading.code, reading.right, "image quality"] == 2


def test_a_click_on_a_slice_that_is_not_shown_yet_marks_nothing(page):
    early, late = browse(page, MARK_TOO_EARLY, MARK)
    assert "hallucination" not in early
    assert late.count("hallucination,,2,10,4") == 1


def test_wheel_and_drag_change_slice_zoom_and_window(page):
    (told,) = browse(
        page,
        """
        views[0].dispatchEvent(new WheelEvent("wheel", {deltaY: 1, cancelable: true}));
        views[0].dispatchEvent(new WheelEvent("wheel", {deltaY: -200, ctrlKey: true, cancelable: true}));
        view.width = .5;
        showView();
        [element("slice-number").textContent, views[1].querySelector("img").src.split("-").at(-1),
          view.zoom, document.querySelector("#window feFuncR").getAttribute("slope")].join("; ");
        """,
    )
    number, file, zoom, slope = told.split("; ")
    assert (number, file, float(slope)) == ("3 / 3", "003.png", 2)
    assert float(zoom) == pytest.approx(1.4918, abs=1e-4)  # exp(200 / 500)

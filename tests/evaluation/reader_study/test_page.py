"""The readers' page in a real browser: every click is kept, closing the browser loses nothing, the export is read."""

import shutil
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

    write_pages(tmp_path / "package", key, images, lambda patient: ((2.0, 1.0), 3))
    return tmp_path / "package" / "reader-1"


@pytest.fixture
def browser(page):
    """A browser that shows the page, and another one at each new test."""
    browser = Browser(page / "profile")
    browser.open(page / "index.html")
    yield browser
    browser.close()


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
    assert [score.place for score in marks] == [(2, 10, 4)]
    last = key.of_reader(1)[-1]
    assert (marks[0].reading, marks[0].method) == (last, last.right)
    given = {(score.reading.code, score.method, score.item): score.score for score in scores.scores}
    for reading in key.of_reader(1):
        assert given[reading.code, reading.left, "image quality"] == 4
        assert given[reading.code, reading.right, "image quality"] == 2


def test_a_click_on_a_slice_that_is_not_shown_yet_marks_nothing(page):
    early, late = browse(page, MARK_TOO_EARLY, MARK)
    assert "hallucination" not in early
    assert late.count("hallucination,,3,10,4") == 1


def test_a_page_that_may_keep_nothing_says_so_and_exports(key, page, tmp_path):
    browser = Browser(page / "profile")
    blocked = "Object.defineProperty(window, 'localStorage', {get() { throw new Error('access is denied'); }});"
    browser.send("Page.addScriptToEvaluateOnNewDocument", source=blocked)
    browser.open(page / "index.html")
    browser.run(SCORE)
    problem, exported = browser.run("element('problem').textContent"), browser.run("csv()")
    assert browser.run("element('state').textContent") == "not saved; 1 of 4 cases open"
    assert not browser.errors
    browser.close()
    assert "keeps nothing (access is denied)" in problem
    (tmp_path / "scores.csv").write_text(exported)
    assert "reader 1, sharpness: 1 of 8 answers missing" in read_scores([tmp_path / "scores.csv"], key).notes


# what another tab of the same page does, while this one shows its first case without any answer
OTHER_TAB = """
const code = STUDY.readings[1].code;
const other = {[code]: {scores: {"left|sharpness": 4}, marks: [["left", 1, 3, 5], ["left", 1, 7, 8]]}};
localStorage.setItem(PLACE, JSON.stringify({answers: other, index: 1}));
element("next").click();
document.querySelector("input[name='right|sharpness'][value='2']").click();
"""


def test_what_another_tab_has_stored_is_kept_and_shown(page):
    told, marks = browse(
        page,
        OTHER_TAB + "csv();",
        """
        (async () => {
          await new Promise(resolve => setTimeout(resolve, 200));
          const before = document.querySelectorAll(".mark").length;
          document.querySelector(".mark").click();
          return [before, csv().split("hallucination").length - 1].join();
        })()
        """,
    )
    assert '"sharpness",4,' in told
    assert '"sharpness",2,' in told
    assert told.count("hallucination") == 2
    assert marks == "2,1"


def test_an_arrow_on_the_slider_moves_one_slice_and_a_click_beside_the_image_marks_nothing(browser):
    browser.run("move(-1); element('slice').focus();")
    browser.key("ArrowRight")
    assert browser.run("slice") == 1
    browser.run("element('mark').click(); shift(300, 0);")
    loaded = "views[0].querySelector('img').decode().then(() => "
    click = (
        "(views[0].dispatchEvent(new MouseEvent('click', {clientX: views[0].getBoundingClientRect().x + 9})), csv()))"
    )
    assert "hallucination" not in browser.run(loaded + click)


def test_arrows_change_the_slice_and_never_a_score(browser):
    scored = "JSON.stringify(given(reading().code).scores)"
    browser.click("document.querySelectorAll('input[type=radio]')[3]")
    for key, slice_ in {"ArrowDown": 2, "ArrowLeft": 1, "ArrowUp": 0, "ArrowRight": 1}.items():
        browser.key(key)
        assert (browser.run("slice"), browser.run(scored)) == (slice_, '{"left|image quality":4}')
    for key in ("5", "Tab", "2", "Tab", "3"):
        browser.key(key)
    assert browser.run(scored) == '{"left|image quality":5,"right|image quality":2,"left|sharpness":3}'


def test_images_have_the_shape_of_their_pixels_and_frames_are_told(page):
    (shape, number) = browse(
        page,
        "(async () => { const image = views[0].querySelector('img'); await image.decode();"
        " return image.clientWidth / image.clientHeight; })()",
        "element('slice-number').textContent",
    )
    assert shape == pytest.approx(17 / 40, rel=0.01)  # 20 x 17 pixels of 2 x 1 mm
    assert number == "2 / 3: slice 1 of frame 2"


def test_what_is_missing_is_said_and_cannot_be_scored(page, browser):
    for image in (page / "images").glob("*-left-002.png"):
        image.unlink()
    browser.open(page / "index.html")
    assert "-left-002.png is missing or damaged" in browser.run("element('answers').textContent")
    assert browser.run("document.querySelectorAll('input[type=radio]').length") == 0
    study = page / "study.js"
    study.write_text(study.read_text()[:-20])
    (page / "alone").mkdir()
    shutil.copy(page / "index.html", page / "alone")  # as a double click shows it within an archive
    for path in (page, page / "alone"):
        browser.open(path / "index.html")
        shown = browser.run("document.body.innerText.trim()")
        assert shown.startswith("Files of this page are missing or damaged: unpack the whole folder")
        assert "Export" not in shown


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
    assert (number.partition(":")[0], file, float(slope)) == ("3 / 3", "003.png", 2)
    assert float(zoom) == pytest.approx(1.4918, abs=1e-4)  # exp(200 / 500)

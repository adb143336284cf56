"""Score files and what is found from them: nothing is dropped in silence, nothing of another study slips in."""

import csv
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from lightning_mri.evaluation.reader_study import (
    HALLUCINATION,
    Design,
    analyze,
    pair,
    read_scores,
    write_pages,
    write_sheet,
)

ITEMS = ("image quality", "sharpness")


def draw(patients, **options):
    return Design("standard", "fast", items=ITEMS, primary=ITEMS[:1], seed=2, **options).draw(patients)


def numbered(n):
    return {f"p{k}": f"p{k}" for k in range(n)}


@pytest.fixture
def key():
    return draw(numbered(9), n_repeats=5)


def lines(key, reader, score):
    """Return the lines of a score file; ``score(reading, method, item)`` is an answer."""
    return ["study,reader,code,side,item,score,slice,x,y"] + [
        f"{key.sha256[:16]},{reader},{reading.code},{reading.side(method)},{item},{score(reading, method, item)},,,"
        for reading in key.of_reader(reader)
        for method in ("standard", "fast")
        for item in ITEMS
    ]


def write(path, rows, summed=True):
    body = "\n".join(rows) + "\n"
    path.write_text(body + (f"# crc32 {zlib.crc32(body.encode()):08x}\n" if summed else ""))
    return path


def read(key, tmp_path, score, readers=(1, 2)):
    """Return the scores of readers who answer alike."""
    return read_scores([write(tmp_path / f"{r}.csv", lines(key, r, score)) for r in readers], key)


def fast_is_one_better_in_sharpness(reading, method, item):
    return 3 + (method == "fast" and item == "sharpness") + int(reading.scan[1:]) % 2


def test_methods_are_told_apart_by_the_key_alone(key, tmp_path):
    scores = read(key, tmp_path, fast_is_one_better_in_sharpness)
    found = analyze(key, scores)
    quality, sharpness = found.items
    assert (quality.difference.mean, sharpness.difference.mean) == (0, 1)
    assert quality.means == (pytest.approx(31 / 9), pytest.approx(31 / 9))  # four of nine are 4, the others 3
    assert not quality.non_inferior  # of nine patients
    assert scores.notes == ()
    # both readers and both looks say the same
    assert (sharpness.between.kappa, sharpness.within.kappa, sharpness.within.n) == (1, 1, 20)
    assert "not shown to be non-inferior" in found.verdict
    assert "9 patients" in found.verdict
    assert "image quality: 9 patients are too few for its interval to hold" in found.notes


def test_ten_patients_may_show_that_a_method_is_not_inferior(tmp_path):
    key = draw(numbered(10))
    found = analyze(key, read(key, tmp_path, fast_is_one_better_in_sharpness))
    assert "fast is not inferior to standard by 0.5 points in image quality" in found.verdict
    assert "| +0.00 | +0.00 to +0.00 | - | 1 | 10 |" in found.markdown()


@pytest.mark.parametrize(
    ("quality", "noise", "n_readers", "told"),
    [
        (1.0, 0.5, 2, None),
        (1.0, 0.3, 1, None),
        (0.0, 1.0, 2, "image quality: readers agree no better than by chance"),
        (0.0, 1.0, 1, "image quality: readers agree no better than by chance"),
        (0.0, 0.0, 2, "image quality: it is not known whether readers agree"),
    ],
)
def test_readers_whose_scores_say_nothing_show_no_loss(tmp_path, quality, noise, n_readers, told):
    """Regression: scores at random were "not inferior", without a word."""
    key = draw(numbered(30), n_readers=n_readers, n_repeats=10)
    rng = np.random.default_rng(3)
    of_scan = {reading.scan: quality * rng.normal() for reading in key.readings}

    def score(reading, method, item):
        return int(np.clip(np.rint(3.5 + of_scan[reading.scan] + noise * rng.normal()), 1, 5))

    notes = analyze(key, read(key, tmp_path, score, range(1, n_readers + 1))).notes
    assert all(note.startswith(told) for note in notes if "agree" in note) if told else not notes
    assert any("agree" in note for note in notes) == bool(told)


def test_means_are_of_the_images_whose_pair_was_scored(key, tmp_path):
    """Of four scans the reference alone was scored, with a 1; of the others both images, with a 5."""

    def score(reading, method, item):
        return 5 if int(reading.scan[1:]) > 3 else 1 if method == "standard" else ""

    found = analyze(key, read(key, tmp_path, score)).items[0]
    assert (found.means, found.deviations, found.difference.mean) == ((5, 5), (0, 0), 0)


def test_the_difference_is_that_of_the_means_beside_it_where_answers_are_missing(key, tmp_path):
    """Reader 1 scores everything 4; reader 2 one patient alone, with 1 and 3: means over readers of 2.5 and 3.5."""

    def score(reading, method, item):
        return 4 if reading.reader == 1 else {"standard": 1, "fast": 3}[method] if reading.scan == "p0" else ""

    found = analyze(key, read(key, tmp_path, score)).items[0]
    assert found.means == (2.5, 3.5)
    assert found.difference.mean == 1
    assert found.deviations[0] == pytest.approx(1.5 / 3)  # of patients: one of nine lies 1.5 off


def test_a_reader_who_sends_nothing_leaves_the_agreement_of_the_others(tmp_path):
    key = draw(numbered(9), n_readers=3)
    between = analyze(key, read(key, tmp_path, fast_is_one_better_in_sharpness, (1, 3))).items[0].between
    assert (between.kappa, between.n) == (1, 18)


def test_scans_of_one_patient_count_as_one_patient(tmp_path):
    """Three scans of one patient on which the fast method loses 2, one of each of four others on which it gains 1."""
    patients = {**{f"a{k}": "a" for k in range(3)}, **{f"{name}0": name for name in "bcde"}}
    key = draw(patients)

    def score(reading, method, item):
        return 3 + (method == "fast") * (-2 if patients[reading.scan] == "a" else 1)

    found = analyze(key, read(key, tmp_path, score)).items[0]
    assert found.difference.n_patients == 5
    assert found.difference.mean == pytest.approx((-2 + 4 * 1) / 5)  # not (3 x -2 + 4) / 7
    assert found.means == (3, pytest.approx(3.4))
    assert found.between.n == 14  # images, not patients, are what readers agree on


def test_a_loss_of_the_margin_is_not_called_non_inferior(key, tmp_path):
    found = analyze(key, read(key, tmp_path, lambda reading, method, item: 4 - (method == "fast")))
    assert found.items[0].difference.mean == -1
    assert "not shown" in found.verdict


def test_a_key_without_a_primary_item_claims_nothing(key, tmp_path):
    nothing = replace(key, primary=())
    assert "not shown to be non-inferior" in analyze(nothing, read(nothing, tmp_path, lambda *_: 3)).verdict


def test_what_is_missing_is_told_and_the_rest_counts(key, tmp_path):
    rows = lines(key, 1, fast_is_one_better_in_sharpness)
    files = [write(tmp_path / "1.csv", rows[:-3], summed=False), write(tmp_path / "2.csv", lines(key, 2, lambda *_: 3))]
    scores = read_scores(files, key)
    assert any("1.csv" in note and "by hand" in note for note in scores.notes)
    assert "reader 1, sharpness: 2 of 28 answers missing" in scores.notes
    assert "reader 1, image quality: 1 of 28 answers missing" in scores.notes
    analyze(key, scores)


def test_an_item_that_hardly_anyone_scored_is_listed_unless_the_claim_rests_on_it(key, tmp_path):
    def files(item):
        kept = [[row for row in lines(key, r, lambda *_: 3) if f",{item}," not in row] for r in (1, 2)]
        return [write(tmp_path / f"{r}.csv", rows) for r, rows in enumerate(kept, 1)]

    found = analyze(key, read_scores(files("sharpness"), key))
    assert [item.item for item in found.items] == ["image quality"]
    assert any("sharpness" in note and "at least 2 patients" in note for note in found.notes)
    with pytest.raises(ValueError, match=r"image quality: .*at least 2 patients"):
        analyze(key, read_scores(files("image quality"), key))


@pytest.mark.parametrize(
    ("items", "primary", "named"),
    [
        (ITEMS, (), "primary"),
        (ITEMS, ("beauty",), "primary"),
        (("sharpness", "sharpness"), ("sharpness",), "items"),
        ((*ITEMS, HALLUCINATION), ITEMS, "items"),
    ],
)
def test_a_study_without_a_claim_or_with_two_items_of_one_name_is_refused(items, primary, named):
    with pytest.raises(ValueError, match=f"^{named} must"):
        Design("standard", "fast", items=items, primary=primary)


def _edit(rows, *, column, value):
    """Return rows with one value changed in the third line."""
    cells = rows[2].split(",")
    cells[column] = value
    return [*rows[:2], ",".join(cells), *rows[3:]]


@pytest.mark.parametrize(
    ("column", "value", "named"),
    [(0, "0" * 16, "study"), (1, "2", "code"), (2, "1", "code"), (3, "top", "side"), (4, "beauty", "beauty")]
    + [(5, score, "score") for score in ("0", "6", "3.5", "-1", "x")],
)
def test_answers_that_nobody_was_asked_for_are_refused(key, tmp_path, column, value, named):
    path = write(tmp_path / "a.csv", _edit(lines(key, 1, lambda *_: 3), column=column, value=value))
    with pytest.raises(ValueError, match=rf"a\.csv: line 3: .*{named}"):
        read_scores([path], key)


def test_edited_doubled_and_foreign_files_are_refused(key, tmp_path):
    path = write(tmp_path / "a.csv", lines(key, 1, lambda *_: 3))
    path.write_text(path.read_text().replace(",3,", ",4,", 1))
    with pytest.raises(ValueError, match=r"a\.csv: checksum"):
        read_scores([path], key)
    twice = write(tmp_path / "b.csv", lines(key, 1, lambda *_: 3))
    with pytest.raises(ValueError, match=r"b\.csv: line 2"):
        read_scores([twice, twice], key)
    other = Design("standard", "fast", items=ITEMS, primary=ITEMS, seed=9).draw({"p0": "p0", "p1": "p1"})
    with pytest.raises(ValueError, match=r"b\.csv: line 2: study"):
        read_scores([twice], other)
    (tmp_path / "c.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"c\.csv: header"):
        read_scores([tmp_path / "c.csv"], key)


def test_marks_are_counted_by_method(key, tmp_path):
    rows = lines(key, 1, lambda *_: 3)
    reading = key.of_reader(1)[0]
    rows += [f"{key.sha256[:16]},1,{reading.code},{reading.side('fast')},suspected hallucination,,2,40,31"] * 2
    scores = read_scores([write(tmp_path / "1.csv", rows), write(tmp_path / "2.csv", lines(key, 2, lambda *_: 3))], key)
    assert analyze(key, scores).hallucinations == (0, 2)
    assert [score.place for score in scores.scores if score.place] == [(2, 40, 31)] * 2


def test_a_finding_that_is_marked_again_in_the_repeat_counts_once(key, tmp_path):
    again = key.of_reader(1)[-1]
    first = next(r for r in key.of_reader(1) if r.scan == again.scan)
    rows = lines(key, 1, lambda *_: 3) + [
        f"{key.sha256[:16]},1,{r.code},{r.side('fast')},{HALLUCINATION},,2,40,31" for r in (first, again)
    ]
    scores = read_scores([write(tmp_path / "1.csv", rows)], key)
    assert analyze(key, scores).hallucinations == (0, 1)


@pytest.mark.parametrize("end", ["", ",", ",2", ",2,40", ",,40,31", ",2,x,31", ",2,40,3.5", ",-1,40,31", ",2,40,"])
def test_a_mark_without_a_place_is_refused(key, tmp_path, end):
    reading = key.of_reader(1)[0]
    rows = [*lines(key, 1, lambda *_: 3)[:2], f"{key.sha256[:16]},1,{reading.code},left,{HALLUCINATION},{end}"]
    with pytest.raises(ValueError, match=r"a\.csv: line 3: slice, x and y must"):
        read_scores([write(tmp_path / "a.csv", rows)], key)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
def test_a_sheet_in_another_encoding_is_named(key, tmp_path, encoding):
    (tmp_path / "a.csv").write_text("study,reader,code,side,item,score,slice,x,y\n# größer\n", encoding=encoding)
    with pytest.raises((ValueError, OSError), match=r"a\.csv: .*UTF-8"):
        read_scores([tmp_path / "a.csv"], key)


def test_a_table_that_csv_cannot_read_is_named(key, tmp_path):
    (tmp_path / "a.csv").write_text(",".join(["study,reader,code,side,item,score,slice,x,y", "z" * 200_000]))
    with pytest.raises((ValueError, OSError), match=r"a\.csv: .*field"):
        read_scores([tmp_path / "a.csv"], key)
    with pytest.raises(OSError, match=r"b\.csv"):
        read_scores([tmp_path / "b.csv"], key)


def test_tables_and_plot_hold_every_item(key, tmp_path):
    key = replace(key, study="FLAIR, R = 2 ($N^$)")  # which matplotlib took for mathematics, and failed
    analyze(key, read(key, tmp_path, fast_is_one_better_in_sharpness)).write(tmp_path / "found")
    rows = list(csv.DictReader((tmp_path / "found" / "table.csv").read_text().splitlines()))
    assert [(row["item"], float(row["difference"])) for row in rows] == [("image quality", 0), ("sharpness", 1)]
    assert key.sha256 in (tmp_path / "found" / "table.md").read_text()
    with Image.open(tmp_path / "found" / "forest.png") as forest:
        assert forest.size[0] > 1000


def images(patient, method):
    generator = torch.Generator().manual_seed(int(patient[1:]))
    return torch.rand(3, 20, 17, generator=generator) * (2 if method == "fast" else 1)


def test_pages_hold_each_readers_images_and_nothing_that_tells(key, tmp_path):
    write_pages(tmp_path / "package", key, images)
    for reader in (1, 2):
        page = tmp_path / "package" / f"reader-{reader}"
        assert len(list((page / "images").glob("*.png"))) == 14 * 2 * 3
        reading = key.of_reader(reader)[0]
        with Image.open(page / "images" / f"{reading.code}-{reading.side('fast')}-002.png") as png:
            shown = np.asarray(png) / 255
        assert np.allclose(shown, pair(key, reading.scan, images)["fast"][1].clamp(0, 1), atol=0.003)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "package").rglob("*") if path.is_file())
    names = " ".join(str(path.relative_to(tmp_path)) for path in (tmp_path / "package").rglob("*"))
    for told in ("standard", "fast", "p0", "p8", str(tmp_path), key.salt, "repeat"):
        assert told.encode() not in everything.replace(b"position: absolute", b"")
        assert told not in names


def test_images_of_different_shapes_are_refused(key):
    with pytest.raises(ValueError, match="p0"):
        pair(key, "p0", lambda patient, method: torch.ones(1, 4, 4 + (method == "fast")))
    with pytest.raises(ValueError, match="p0"):
        pair(key, "p0", lambda patient, method: torch.zeros(1, 4, 4))


def test_a_sheet_filled_in_by_hand_is_read_like_a_page(key, tmp_path):
    for reader in (1, 2):
        write_sheet(tmp_path / f"{reader}.csv", key, reader)
        rows = (tmp_path / f"{reader}.csv").read_text().splitlines()
        filled = [rows[0], *(row.replace(",,,,", ",4,,,") for row in rows[1:])]
        (tmp_path / f"{reader}.csv").write_text("\n".join(filled))
    scores = read_scores([tmp_path / "1.csv", tmp_path / "2.csv"], key)
    assert len(scores.scores) == 2 * 14 * 2 * 2
    assert analyze(key, scores).items[0].means == (4, 4)

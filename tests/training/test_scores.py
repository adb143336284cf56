"""What several processes scored slice by slice becomes one row for each scan, acceleration and method."""

import json
import math
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import wandb

from lightning_mri.__main__ import main
from lightning_mri.evaluation import Row, Scores, Table, read_tables, score, write_tables
from lightning_mri.evaluation.page import read_page
from lightning_mri.training.scores import ScoredScan, join_cases, tables_of, write_scores
from lightning_mri.training.stopping import StopSignals
from lightning_mri.training.wandb_tables import log_tables
from lightning_mri.weights import fingerprint, load_prior

X = torch.arange(3 * 4 * 5, dtype=torch.float32).reshape(3, 4, 5)
ROW, COLUMN = torch.meshgrid(torch.arange(40), torch.arange(44), indexing="ij")
HEAD = ((ROW - 20) ** 2 + (COLUMN - 22) ** 2 < 17**2).float()
LESION = (ROW - 24) ** 2 + (COLUMN - 25) ** 2 < 16


def part(slices: tuple[int, ...], acceleration: float = 4.0, seconds: float = 1.0, std: bool = False) -> ScoredScan:
    images, which = {"HQS": 2 * X[list(slices)]}, list(slices)
    times, spread = {"HQS": seconds}, X[which] if std else None
    return ScoredScan("a", "a", "T1w", acceleration, acceleration, 3, slices, X[which], images, times, spread)


def test_parts_are_joined_by_scan_and_acceleration_in_the_order_of_slices() -> None:
    parts = [part((2,), seconds=4.0, std=True), part((0, 1, 2), 8.0), part((0, 1), seconds=1.0)]
    cases = {case.acceleration: case for case in join_cases(parts)}
    assert set(cases) == {4.0, 8.0}
    four, eight = cases[4.0], cases[8.0]
    assert torch.equal(four.reference, X)
    assert torch.equal(four.images["HQS"], 2 * X)
    assert four.seconds == {"HQS": 2.0}  # a slice: two took 1 s each, one took 4 s
    assert four.std is not None
    assert torch.equal(four.std, torch.cat([torch.zeros(2, 4, 5), X[2:]]))
    assert eight.std is None


def test_warnings_of_single_slices_are_kept_beside_those_of_the_scan() -> None:
    said = [("guessed", "slice 2: clipped"), ("guessed",), ("guessed", "slice 0: noisy")]
    parts = [replace(part((k,)), warnings=each) for k, each in zip((2, 1, 0), said, strict=True)]
    assert join_cases(parts)[0].warnings == ("guessed", "slice 0: noisy", "slice 2: clipped")


def test_a_slice_that_was_lost_is_an_error() -> None:
    with pytest.raises(RuntimeError, match=r"of its 3 slices only \(0, 2\) were reconstructed"):
        join_cases([part((0,)), part((2,))])


def test_scores_of_subjects_that_a_prior_was_trained_on_are_marked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = torch.rand(3, 20, 24)
    of = {"reference": x, "images": {"HQS": 1.1 * x}, "slices": (0, 1, 2)}
    known, new = (replace(part((0,)), subject=name, scan=name, **of) for name in ("Ann", "Bob"))
    write_scores(tmp_path, [replace(known, trained=("HQS",)), new], {})
    printed = capsys.readouterr()
    assert "WARNING: HQS was trained on 1 of the 2 subjects of this test (Ann)" in printed.err
    for line in (tmp_path / "table.csv").read_text().splitlines()[1:]:
        assert ("HQS (trained on this subject)" in line) == ("Ann" in line)


def test_each_volume_is_scored_by_itself_and_the_scan_has_the_mean() -> None:
    """Two echoes, the second at a third of the first and with other errors; a lesion of both is one of each."""
    lesions = LESION.expand(4, -1, -1)
    reference = torch.tensor([3.0, 3, 1, 1])[:, None, None] * (HEAD + lesions)
    image = reference + torch.tensor([0.3, 0.3, 0.2, 0.2])[:, None, None] * torch.rand(4, 40, 44)
    of = {"reference": reference, "images": {"HQS": image}, "lesions": lesions, "n_slices": 4, "n_volumes": 2}
    whole = replace(part((0,)), slices=(0, 1, 2, 3), **of)
    of_one = {"slices": (0, 1), "n_slices": 2, "n_volumes": 1}
    echoes = [
        replace(whole, images={"HQS": image[k]}, reference=reference[k], lesions=lesions[k], **of_one)
        for k in (slice(2), slice(2, 4))
    ]
    for region in ("whole image", "head", "lesions"):
        (row,), *alone = (
            {table.region: table.rows for table in tables_of([case])}[region] for case in [whole, *echoes]
        )
        for metric in ("nrmse", "psnr", "ssim", "nmse"):
            first, second = (rows[0].value(metric) for rows in alone)
            assert row.value(metric) == pytest.approx((first + second) / 2, rel=1e-12)
    assert row.lesions.n_lesions == 2
    assert whole.view().n_volumes == 2
    kept = {"images": {"HQS": image[:3]}, "reference": reference[:3], "lesions": lesions[:3]}
    one_left = replace(whole, slices=(0, 1, 2), left_out={3: "NaN"}, **kept)
    first, second = score(image[:2], reference[:2]), score(image[2:3], reference[2:3])
    assert one_left.rows()[0].scores.psnr == pytest.approx((first.psnr + second.psnr) / 2, rel=1e-12)


def test_warnings_of_a_scan_are_said_and_kept_and_its_pictures_are_turned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The affine is of x to the head and y to the front: rows run from the front, columns from the head."""
    x, said = torch.rand(3, 20, 24), ("the file holds magnitude images", "axes were guessed")
    affine = torch.tensor([[0.0, 0, 5, 0], [0, 2, 0, 0], [3, 0, 0, 0], [0, 0, 0, 1]])
    of = {"reference": x, "images": {"HQS": 1.1 * x}, "pixel_size": (2.0, 3.0), "warnings": said, "affine": affine}
    case = replace(part((0, 1, 2), std=True), **{**of, "std": x})
    write_scores(tmp_path, [case, replace(case, acceleration=8.0), replace(case, scan="b", warnings=said[:1])], {})
    printed = capsys.readouterr()
    assert "WARNING: a, b: the file holds magnitude images\n" in printed.err
    assert "WARNING: a: axes were guessed\n" in printed.err
    assert "warnings of 2 scans: the file holds magnitude images" in printed.out
    rows = json.loads((tmp_path / "table.json").read_text())["rows"]
    assert {row["warnings"] for row in rows} == {"; ".join(said), said[0]}
    assert [row.warnings for row in read_tables(tmp_path / "table.csv")[0].rows] == [*["; ".join(said)] * 2, said[0]]
    shown = read_page(tmp_path / "index.html")["cases"][0]
    assert shown["warnings"] == [*said]
    assert (shown["size"], shown["pixel"], dict(shown["facts"])["orientation"]) == ([24, 20], [3, 2], "as in radiology")
    view = case.view()
    assert view.images["reference"].equal(x.flip(1, 2).mT)
    assert view.std is not None
    assert view.std.equal(x.flip(1, 2).mT)
    assert replace(case, affine=None).view().facts["orientation"].startswith("as stored")
    assert replace(case, achieved=80 / 27).view().scores["R"] == 80 / 27  # of which the list shows four digits


def test_slices_that_could_not_be_prepared_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    x = torch.rand(2, 20, 24)
    of = {"reference": x, "images": {"HQS": 1.1 * x}}
    none = {"reference": x[:0], "images": {"HQS": x[:0]}, "seconds": {"HQS": 0.0}}
    some = replace(part((0, 2)), **of, left_out={1: "no signal"})
    last = replace(part(()), **none, n_slices=4, left_out={3: "NaN"})
    (case,) = join_cases([last, replace(some, n_slices=4)])
    assert (case.slices, case.left_out) == ((0, 2), {1: "no signal", 3: "NaN"})
    assert torch.equal(case.reference, x)
    assert case.seconds == {"HQS": 1.0}
    write_scores(tmp_path, [replace(case, acceleration=10.0), case], {})
    assert "WARNING: a, R = 4: slice 3 is left out: NaN" in capsys.readouterr().err
    assert "2 slices could not be scored" in tables_of([case])[0].caption()
    assert [row.n_left_out for row in read_tables(tmp_path / "table.csv")[0].rows] == [2, 2]
    page = read_page(tmp_path / "index.html")
    assert [each["name"] for each in page["cases"]] == ["a, R = 10", "a, R = 4"]  # as they came, not as text
    assert "a, R = 4: slice 3 is left out: NaN" in page["warnings"]
    assert page["cases"][1]["warnings"] == ["slice 1: left out: no signal", "slice 3: left out: NaN"]
    assert (page["cases"][1]["n_slices"], page["cases"][1]["flagged"]) == (4, [1, 3])
    shown = case.view().images["HQS"]  # by the scan's own numbers
    assert shown[[0, 2]].equal(case.images["HQS"])
    assert bool(shown[[1, 3]].isnan().all())
    with pytest.raises(ValueError, match="nothing could be scored"):
        write_scores(tmp_path, join_cases([replace(last, left_out=dict.fromkeys(range(4), "air"))]), {})


def test_lesions_are_scored_in_a_region_of_their_own_and_head_in_another() -> None:
    lesions, heads = torch.stack([LESION, ROW < 0]), torch.stack([HEAD, HEAD])
    reference = heads + lesions
    images = {"kept": reference, "lost": heads}
    times = {"seconds": {"kept": 1.0, "lost": 1.0}, "misfit": {"kept": 3.0, "lost": 1.0}, "n_slices": 2}
    parts = [
        replace(
            part((k,)),
            reference=reference[[k]],
            images={name: image[[k]] for name, image in images.items()},
            lesions=lesions[[k]],
            **times,
        )
        for k in range(2)
    ]
    tables = {table.region: table.rows for table in tables_of(join_cases(parts))}
    assert list(tables) == ["whole image", "head", "lesions"]
    kept, lost = tables["lesions"]
    assert (kept.lesions.n_missed, lost.lesions.n_missed) == (0, 1)
    assert lost.scores.nrmse == pytest.approx(0.5)  # 1 in place of 2
    assert kept.misfit == 3
    assert tables["head"][0].lesions is None


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wandb_gets_the_tables_as_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    rows = [Row("s", subject, "FLAIR", 4.0, 3.9, "HQS", Scores(0.1, 30.0, 0.9, 0.01), 0.5) for subject in "ab"]
    write_tables(tmp_path, [Table((*rows, replace(rows[0], method="prior")))])
    log_tables("p", tmp_path, {"prior": "brain"})
    wandb.teardown()  # the next test's environment is another
    table, _ = sorted((tmp_path / "wandb").rglob("*.table.json"), key=lambda path: "differences" in path.name)
    content = json.loads(table.read_text())
    first = dict(zip(content["columns"], content["data"][0], strict=True))
    assert (first["subject"], first["nrmse"], first["misfit"]) == ("a", 0.1, None)


@pytest.mark.slow
def test_bad_slices_are_left_out_of_a_test_and_one_that_is_stopped_changes_nothing(
    cohort: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of those to test on and to tune on; the scores are those of the other slices."""
    data = tmp_path / "in"
    shutil.copytree(cohort, data)
    for path in (*(data / "multicoil_test").glob("*.h5"), *(data / "multicoil_val").glob("*.h5")):
        with h5py.File(path, "r+") as file:
            file["kspace"][1] = np.nan if "val" in str(path) else 0
    of_data = ("--data=lightning_mri.datasets.FastMRIBrain", f"--data.root={data}", "--data.accelerations=[2]")
    line = ["test", *of_data, f"--output_dir={tmp_path / 'out'}", "--model.sampler=HQS", "--model.sampler.n_steps=2"]
    main([*line, "--model.uncertainty=null"])
    assert "slice 1 is left out: no signal: k-space is all zero" in capsys.readouterr().err
    tables = {table.region: table.rows for table in read_tables(tmp_path / "out" / "table.csv")}
    assert {region: len(rows) for region, rows in tables.items()} == {"whole image": 4, "head": 4}
    for row in tables["head"]:
        assert math.isfinite(row.scores.nrmse)
        assert 0 < row.misfit < 2 or row.method == "zero-filled"
        assert (row.nfe > 0) == (row.method == "brain")
    paired = (tmp_path / "out" / "differences.csv").read_text().splitlines()
    assert len(paired) == 1 + 2 * 4 * 3  # regions, metrics, methods beside the last one
    content = json.loads((tmp_path / "out" / "table.json").read_text())
    assert len(content["rows"]) == 8
    assert fingerprint(load_prior("brain")) in content["run"]["priors"]
    for setting in ("Equispaced", "n_coils: 16", "n_sets: 1", "n_samples: 1"):
        assert setting in content["run"]["config"]
    assert dict(read_page(tmp_path / "out" / "index.html")["facts"][0][1]) == content["run"]
    page = (tmp_path / "out" / "index.html").read_bytes()
    monkeypatch.setattr(StopSignals, "listen", lambda self, _: setattr(self, "received", signal.SIGTERM))
    with pytest.raises(SystemExit, match="143"):
        main([*line, "--model.uncertainty=null"])
    assert "stopped by SIGTERM: the same command begins anew" in capsys.readouterr().err
    assert (tmp_path / "out" / "index.html").read_bytes() == page

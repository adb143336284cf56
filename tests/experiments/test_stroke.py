"""The stroke experiment at a tiny size, and its page from scores that are known."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.experiments.conftest import rows_of, times

TINY = {"n_source": 1, "n_target": 20, "n_test": 2, "steps": 8, "widths": [8, 8], "accelerations": [4], "levels": 2}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_run_is_done_once_and_the_page_holds_them_all(script: Callable[..., str]) -> None:
    options = ("stroke_transfer.py", "--output_dir=stroke", f"--sizes={json.dumps(TINY)}", "--results=results")
    script(*options)
    names = {row[0] for row in rows_of(Path("results/stroke.md"))}
    tuned = {f"fine-tuned on {n}" for n in (1, 5, 10, 20, "all")}
    assert tuned | {"source only", "scratch on 20", "joint on 20", "brain", "brain-noflair"} <= names
    assert {"0.0003", "20 subjects within 2 % of all"} <= names
    assert Path("results/stroke.png").exists()
    before = times(Path("stroke"))
    script(*options)
    assert times(Path("stroke")) == before


def test_the_page_states_goals_by_paired_changes(module: Callable[[str], dict[str, Any]], tmp_path: Path) -> None:
    page = module("stroke_page.py")
    lesion = torch.zeros(1, 20, 24, dtype=torch.bool)
    lesion[:, 8:13, 9:14] = True
    truth = (1.0 + lesion)[0]
    results = page["Results"]("about", dict.fromkeys("abc", lesion))
    for name, factor in ((page["SOURCE_ONLY"], 1.07), (page["FEW"], 1.01), (page["ALL"], 1.0), (page["SCRATCH"], 1.05)):
        results.rows[name, 0] = [
            page["Row"]("R = 4", subject, name, factor * error, 0.9, 1.0, 4.0, [], truth + 0j, truth)
            for subject, error in zip("abc", (0.1, 0.2, 0.4), strict=True)
        ]
    # the middle of three is best for every subject
    results.grid = {(rate, n): [0.1 + abs(rate - 1) + abs(n - 2)] * 3 for rate in (0.1, 1, 10) for n in (1, 2, 3)}
    del results.grid[10, 3]  # not run
    results.write(tmp_path)
    assert results.names == ["source only", "scratch on 20", "fine-tuned on 20", "fine-tuned on all"]
    results.rows[page["FEW"], 1] = [replace(row, nrmse=1.03 * row.nrmse) for row in results.rows[page["ALL"], 0]]
    results.rows[page["ALL"], 1] = results.rows[page["ALL"], 0]
    assert results.change(page["FEW"], page["ALL"], 1).value == pytest.approx(3)
    cells = {row[0]: row[1:] for row in rows_of(tmp_path / "stroke.md")}
    assert cells["20 subjects within 2 % of all"] == ["+1.0 (+1.0 to +1.0)", "met"]
    assert cells["scratch on 20 at least 10 % worse than fine-tuned on 20"][1] == "**missed**"
    assert cells["source only at least 5 % worse than fine-tuned on 20"][1] == "met"
    assert cells["joint worse than sequential"] == ["-", "not run"]
    assert "the best is 1 x 2" in (tmp_path / "stroke.md").read_text().lower()
    assert "In 100% of 4,000 bootstrap samples" in (tmp_path / "stroke.md").read_text()
    assert cells["10"] == ["10.1000", "9.1000", "-"]

"""Parameter files as ParaVision writes them, and as damage leaves them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from lightning_mri.io.formats.bruker.files import Parameters
from tests.io.formats.bruker.studies import HEADER


def damage(text: bytes, cut: int) -> bytes:
    return text[:cut] + b"\xff" + text[cut + 1 :]


@pytest.mark.parametrize("harm", [lambda text: b"", lambda text: damage(text, 90), lambda text: b"(" * 50000])
def test_parameters_that_are_no_jcamp_are_refused(tmp_path: Path, harm: Callable[[bytes], bytes]) -> None:
    path = tmp_path / "method"
    path.write_bytes(harm(f"{HEADER}##$PVM_EncSteps1=( 3 )\n1 2 3\n##END=\n".encode()))
    with pytest.raises(OSError, match="method: the file must be a JCAMP-DX parameter file"):
        Parameters(path)


def test_parameters_are_read_as_paravision_wraps_them(tmp_path: Path) -> None:
    (tmp_path / "acqp").write_text(
        HEADER + "##$ORDER=( 5 )\n0 2 \n4 1 3\n##$ON=Yes\n##$NAME=( 20 )\n<a b>\n$$ comment\n##$MANY=( 4 )\n@3*(7) 1\n"
        "##$ROWS=( 2 )\n(2, <FG_ECHO>, <>, 0) (3, <FG_SLICE>, <>, 1)\n##END=\n"
    )
    p = Parameters(tmp_path / "acqp")
    assert p.whole("ORDER", low=0) == (0, 2, 4, 1, 3)
    assert p.word("ON") == "Yes"
    assert p.word("NAME") == "a b"
    assert p.whole("MANY") == (7, 7, 7, 1)
    assert [row[:2] for row in p.rows("ROWS")] == [[2, "FG_ECHO"], [3, "FG_SLICE"]]


def test_what_is_missing_in_one_file_comes_from_the_other(tmp_path: Path) -> None:
    (tmp_path / "method").write_text(f"{HEADER}##$A=1\n##$B=2.5\n##END=\n")
    (tmp_path / "acqp").write_text(f"{HEADER}##$A=7\n##$C=3\n##END=\n")
    p = Parameters(tmp_path / "method", tmp_path / "acqp")
    assert (p.number("A", default=9), p.number("C", default=9), p.number("D", default=9)) == (1, 3, 9)
    with pytest.raises(ValueError, match=r"method: B must hold integers of at least 1: got \[2.5\]"):
        p.whole("B")
    with pytest.raises(ValueError, match="method: D must be in method and acqp: it is missing"):
        p.numbers("D")
    assert p.words("D") == ()


def test_a_crowd_of_parameters_is_refused(tmp_path: Path) -> None:
    (tmp_path / "acqp").write_text(HEADER + "##$A=1\n" * 70_000)
    with pytest.raises(ValueError, match=r"acqp: a parameter file must have .* 65536 parameters at most: got .* 70004"):
        Parameters(tmp_path / "acqp")

"""What a user types wrongly is told in one sentence, with exit code 2 and nothing written."""

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from lightning_mri.__main__ import main
from lightning_mri.cli import pages
from lightning_mri.cli.options import configurations, find_configuration
from tests.builders import draw_complex, hostile
from tests.processes import Group

Command = Callable[..., str]
EXPERIMENTS = Path(__file__).parents[1] / "experiments"
RECONSTRUCT = ("predict", "--config", str(EXPERIMENTS / "reconstruct.yaml"))


def save(path: Path, kspace: np.ndarray) -> Path:
    np.save(path, kspace)
    return path


def test_without_arguments_a_screen_of_overview(command: Command) -> None:
    overview = command()
    assert len(overview.splitlines()) < 24
    for name in ("predict", "test", "fit", "simulate"):
        assert name in overview


PAGES = [file.stem for file in pages.FOLDER.glob("*.txt")]
HEAVY = {"torch", "numpy", "jsonargparse", "pytorch_lightning", "wandb"}


def test_help_and_version_import_nothing_heavy() -> None:
    lines = ["--help", "-h", "--version", "", *(f"{page.replace('_', ' ')} --help" for page in PAGES), "inspect x -h"]
    code = (
        "import sys; from lightning_mri.__main__ import main\n"
        "for line in sys.argv[1:]: main(line.split()); print(end='\\0')\n"
        "print(*sys.modules, sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", code, *lines], capture_output=True, text=True, check=True)
    *shown, modules = done.stdout.split("\0")
    for line, text in zip(lines, shown, strict=True):
        assert text.startswith("usage: lightning-mri" if " " in line else "lightning-mri"), line
    assert not HEAVY & set(modules.strip().split("|"))


def test_kept_help_is_what_the_commands_tell() -> None:
    kept = {file.name: file.read_text() for file in pages.FOLDER.iterdir()}
    assert kept == pages.current(), "run: python -m lightning_mri.cli.pages"


NEEDED = {"PIL", "attr", "attrs", "einops", "h5py", "jaxtyping", "jsonargparse", "lightning_mri", "numpy"}
NEEDED |= {"docstring_parser", "safetensors", "tqdm", "typeshed_client", "yaml"}
"""What `inspect` of a NumPy file imports beyond torch, whose import alone takes most of the time."""


@pytest.mark.slow
def test_inspect_imports_torch_and_little_else(tmp_path: Path, write_scan: Command) -> None:
    with h5py.File(write_scan(tmp_path / "small.h5", "a")) as file:
        path = str(save(tmp_path / "small.npy", file["kspace"][:]))
    code = (
        "import sys, torch; before = set(sys.modules); from lightning_mri.__main__ import main; main(sys.argv[1:]);"
        "print(*set(sys.modules) - before, sep='|')"
    )
    done = subprocess.run([sys.executable, "-c", code, "inspect", path], capture_output=True, text=True, check=True)
    modules = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split("|")}
    own = {name for name in modules - sys.stdlib_module_names if not name.startswith(("_", "cython"))}
    assert own - NEEDED == set()


def test_module_and_console_script_are_the_same_thing() -> None:
    script = Path(sys.executable).with_name("lightning-mri")
    if not script.exists():
        pytest.skip("the package is not installed, so there is no console script")
    module = subprocess.run([sys.executable, "-m", "lightning_mri"], capture_output=True, text=True, check=True)
    assert subprocess.run([script], capture_output=True, text=True, check=True).stdout == module.stdout


QUICK = "--model.sampler HQS --model.sampler.n_steps 2 --model.uncertainty null --model.baselines {{}}"
QUICK += " --data.pattern.acceleration 2 --data.pattern.n_center 8"


@pytest.mark.parametrize(
    "line",
    [
        "inspect {0}",
        "prepare --root {0} --output_dir {1} --n_processes 1",
        f"test --data.root {{0}} --output_dir {{1}} --data.accelerations [2] {QUICK}",
    ],
)
def test_a_broken_scan_stops_no_other_and_gives_exit_code_3(line: str, tmp_path: Path, write_scan: Command) -> None:
    (tmp_path / "in").mkdir()
    whole = Path(write_scan(tmp_path / "in" / "whole.h5", "a", n_slices=1))
    (tmp_path / "in" / "broken.h5").write_bytes(whole.read_bytes()[:3000])
    with pytest.raises(SystemExit) as stop:
        main(line.format(tmp_path / "in", tmp_path / "out").split())
    assert stop.value.code == 3
    assert line.startswith("inspect") or "broken.h5" in (tmp_path / "out" / "failed.jsonl").read_text()


@pytest.mark.parametrize("name", ["predict", "test", "fit", "inspect", "simulate", "prepare", "calibrate"])
def test_help_of_a_command_fits_two_screens(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    main([name, "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"usage: lightning-mri {name}{' PATHS' * (name == 'inspect')} [options]"
    assert 8 < len(lines) < 60
    assert max(map(len, lines)) <= 120


@pytest.mark.parametrize("name", configurations())
def test_a_configuration_is_found_by_its_name_and_by_its_old_path(name: str) -> None:
    assert find_configuration(name) == find_configuration(f"experiments/{name}.yaml")


@pytest.mark.parametrize(
    ("name", "content", "rule"),
    [
        ("head.h5", None, ""),
        ("head.h5", b"\x89HDF\r\n\x1a\n" + bytes(100), ""),
        ("head.npy", draw_complex(2, 2, 4, 16, 16), "axes"),
        ("head.npy", np.where(np.arange(16) % 4 == 1, draw_complex(4, 16, 16), 0), "calibration"),
        ("head.npy", np.full((4, 16, 16), np.nan, np.complex64), "acquired samples"),
        ("head.npy", np.zeros((4, 16, 16), np.complex64), "acquired samples"),
        ("head.npz", {"kspace": draw_complex(4, 16, 18), "mask": np.ones((16, 16), bool)}, "mask"),
    ],
    ids=["missing", "unreadable", "axes", "no ACS", "NaN", "empty", "another mask"],
)
def test_a_scan_that_breaks_a_rule_is_named(
    failing_command: Command, tmp_path: Path, name: str, content: Any, rule: str
) -> None:
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif isinstance(content, dict):
        np.savez(path, **content)
    elif content is not None:
        np.save(path, content)
    message = failing_command(*RECONSTRUCT, "--data.root", path, "--output_dir", tmp_path / "out")
    assert name in message
    assert rule in message
    assert not list((tmp_path / "out").glob("*.h5"))


def test_unknown_key_in_yaml(failing_command: Command, tmp_path: Path) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("data:\n  class_path: lightning_mri.datasets.Scans\n  init_args: {rooot: here}\n")
    message = failing_command("predict", "--config", config, "--output_dir", tmp_path / "out")
    assert "rooot" in message


@pytest.fixture
def fine_tuning(cohort: Path, tmp_path: Path) -> tuple[str | Path, ...]:
    """A command line that fine-tunes on two subjects, without a log."""
    return (
        *("fit", "--config", EXPERIMENTS / "finetune/synthetic_flair.yaml", "--trainer.logger=false"),
        *("--data.root", cohort / "multicoil_train", "--data.n_subjects=2", "--data.n_val=1"),
        *("--data.cache_dir", tmp_path, "--trainer.default_root_dir", tmp_path),
    )


def test_checkpoint_of_another_architecture(failing_command: Command, fine_tuning: tuple[str, ...]) -> None:
    message = failing_command(*fine_tuning, "--model.net=LightUNet", "--model.net.widths=[16]")
    assert "brain-noflair" in message
    assert "widths" in message


def test_hostile_checkpoint_is_refused_by_name(failing_command: Command, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "prior": hostile(tmp_path / "owned")["path"]}, tmp_path / "evil.ckpt")
    path = save(tmp_path / "head.npy", draw_complex(4, 16, 16))
    priors = f'{{"evil": "{tmp_path / "evil.ckpt"}"}}'
    message = failing_command(
        *RECONSTRUCT, "--data.root", path, "--output_dir", tmp_path / "out", "--model.priors", priors
    )
    assert "evil.ckpt" in message
    assert not (tmp_path / "owned").exists()


def test_a_file_that_is_no_checkpoint(failing_command: Command, tmp_path: Path, fine_tuning: tuple[str, ...]) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"the newer one")
    options = ("--phase.checkpoint=null", "--ckpt_path", tmp_path / "last.ckpt", "--trainer.callbacks=null")
    assert "last.ckpt must be a checkpoint" in failing_command(*fine_tuning, *options)


@pytest.mark.parametrize("place", ["file", "file/out"])
@pytest.mark.parametrize(
    "words",
    [
        (*RECONSTRUCT, "--data.root", "head.npy"),
        ("prepare", "--root", "head.npy", "--n_processes", "1"),
        ("simulate", "--n_train", "1", "--n_test", "0"),
    ],
    ids=lambda words: words[0],
)
def test_output_folder_that_cannot_be_written(
    failing_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], place: str
) -> None:
    """Regression: of some commands the option was not named, nor what was wrong."""
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("in the way")
    save(Path("head.npy"), draw_complex(4, 32, 32))
    message = failing_command(*words, "--output_dir", tmp_path / place)
    assert f"{Path(place)}: output_dir must be a folder that can be written: " in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "head.npy"]
    assert Path("file").read_text() == "in the way"


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        main([*RECONSTRUCT, "--data.root", str(tmp_path / "none.h5"), "--output_dir", str(tmp_path), "--debug"])


def test_ctrl_c_is_one_line_and_its_code(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Regression: a traceback of up to 76 lines, before, in and after Lightning."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("lightning_mri.cli.Command.load", lambda _: interrupted)
    with pytest.raises(SystemExit, match="130"):
        main(["simulate", "--output_dir", "o"])
    assert capsys.readouterr().err == "stopped by SIGINT\n"


@pytest.mark.parametrize("first", [("--debug",), ("--import", "json"), ("--debug", "--import=json")])
def test_options_of_all_commands_need_no_command(first: tuple[str, ...], command: Command) -> None:
    """Regression: a traceback, or "not enough values to unpack"."""
    for rest in ((), ("--help",), ("--version",)):
        assert command(*first, *rest) == command(*rest)


def test_nothing_that_a_file_says_commands_the_terminal(tmp_path: Path) -> None:
    """On a terminal, through file names and arguments."""
    name, folder, log = "a\x1b[2J\x1b]0;owned\x07\rb\x08\u202e.npy", tmp_path / "in", tmp_path / "rank-0.log"
    folder.mkdir()
    save(folder / name, draw_complex(2, 2, 4, 16, 16))
    for arguments in (["inspect", str(folder / name)], ["inspect", str(folder)], [f"in\x1b[31m\x9bspect{name}"]):
        leader, follower = pty.openpty()
        log.symlink_to(os.ttyname(follower))
        Group(tmp_path, *arguments).wait()
        log.unlink()
        os.close(follower)
        printed = b""
        with contextlib.suppress(OSError):  # at its end
            while chunk := os.read(leader, 4096):
                printed += chunk
        os.close(leader)
        text = printed.decode().replace("\r\n", "\n")
        assert "error: " in text
        assert r"\x1b[" in text
        assert text.replace("\n", "").isprintable(), text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--trainer.devices=0"], "trainer.devices must be a positive whole number on a CPU: got 0"),
        (["--trainer.devices=-3"], "trainer.devices must be a positive whole number on a CPU: got -3"),
        (["--trainer.devices=two"], "trainer.devices must be a positive whole number on a CPU: got two"),
        (["--trainer.devices=9999"], f"must not exceed the {os.cpu_count()} cores of this machine: got 9999"),
        (["--trainer.num_nodes=0"], "num_nodes"),
        (["--trainer.accelerator=tpu"], "trainer.accelerator must be one of auto, cpu, gpu, cuda, mps: got tpu"),
        (["--output_dir=/proc/nowhere"], "/proc/nowhere: output_dir must be a folder that can be written"),
    ],
)
def test_what_no_machine_can_run_is_one_sentence(
    failing_command: Callable[..., str], cohort: Path, tmp_path: Path, options: list[str], words: str
) -> None:
    scans, cpu = f"--data.root={cohort / 'multicoil_test'}", "--trainer.accelerator=cpu"
    assert words in failing_command("predict", scans, f"--output_dir={tmp_path / 'out'}", cpu, *options)
    assert not (tmp_path / "out").exists()

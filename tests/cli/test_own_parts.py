"""A user's own network, sampler and format, from files in the folder: trained, saved, loaded, used; refused unasked."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_mri.io import read_result
from lightning_mri.tensors import relative_error

ROOT = Path(__file__).parents[2]
Run = Callable[..., subprocess.CompletedProcess[str]]


def of_page(name: str, block: int = 0, kind: str = "python") -> str:
    """Return a block of a page on extensions."""
    page = (ROOT / "docs/pages/extend" / f"{name}.md").read_text()
    return re.findall(rf"^```{kind}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[block]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a command line as a user would, in an empty folder."""

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lightning_mri", *map(str, words)]
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    return run


@pytest.mark.slow
def test_an_own_operator_is_named_on_the_command_line(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "radial.py").write_text(of_page("operator"))
    exec(compile("\n".join(of_page("operator", block) for block in (0, 1)), "radial", "exec"), {"__name__": "radial"})
    (line,) = re.findall(r"lightning-mri (.*)", of_page("operator", 0, "bash").replace("\\\n", ""))
    done = run(*shlex.split(line), "--model.preset=preview")
    assert done.returncode in (0, 4), done.stderr
    image, truth = read_result(tmp_path / "images/radial.h5").magnitude[0], torch.from_numpy(np.load("truth.npy"))
    assert float(relative_error(image, truth.abs())) < 0.15
    wrong = run(*shlex.split(line.replace("n_spokes 24", "n_spokes 25")))
    assert wrong.returncode == 2
    assert "operator must return the samples of the file: Radial makes (1, 8, 25, 192)" in wrong.stderr


WRONG = """
import torch
from pytorch_lightning import LightningDataModule
from lightning_mri.datasets.scans import MeasuredScans

class Plain(LightningDataModule):
    def train_dataloader(self):
        return [torch.zeros(2, 32, 32)]
    val_dataloader = test_dataloader = train_dataloader

class Empty(MeasuredScans):
    def check(self, scan):
        pass
    def reading(self):
        return nothing

def nothing(scan, part):
    return {}
"""


@pytest.mark.slow
def test_a_wrong_data_module_is_told_in_one_sentence(run: Run, cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.py").write_text(WRONG)
    (tmp_path / "mydata.py").write_text(of_page("data"))
    (scan,) = (cohort / "multicoil_test").iterdir()
    fit = ("--phase=Pretrain", "--phase.steps=2", "--model.net=LightUNet", "--model.net.widths=[8,16]")
    fit = ("fit", "--import=wrong", *fit, "--trainer.logger=false", "--model.labels=[T2w]", "--model.net.n_labels=1")
    for line, words in (
        ((*fit, "--data=wrong.Plain"), "Plain.val_dataloader must yield ImageBatch"),
        (("test", "--import=wrong", "--data=wrong.Plain", "--output_dir=o"), "Plain must load an UndersampledDataset"),
        (("validate", "--import=mydata", "--data=mydata.Mine"), "reconstruction_batches(): Mine has none"),
        (("predict", "--import=wrong", "--data=wrong.Plain", "--output_dir=o"), "must be measured scans"),
        (("predict", "--import=wrong", "--data=wrong.Empty", f"--data.root={scan}", "--output_dir=o"), "reading must"),
    ):
        done = run(*line)
        assert (done.returncode, words in done.stderr, "Traceback" in done.stderr) == (2, True, False), done.stderr
    done = run(*fit, "--import=mydata", "--data=mydata.Mine")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_own_network_sampler_and_format_go_from_training_to_an_image(run: Run, cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(of_page("network"))
    (tmp_path / "mysampler.py").write_text(of_page("sampler"))
    (tmp_path / "myformat.py").write_text(of_page("format").replace('b"#kspace "', 'b"#mine "'))

    tiny = [
        *("--data", "FullySampledScans", f"--data.root={cohort / 'multicoil_train'}", "--data.split.n_val=1"),
        *("--data.crop=[32,32]", "--data.batch_size=2", "--data.n_processes=1", "--data.cache_dir=cache"),
        *(
            *("--phase", "Pretrain", "--phase.learning_rate=1e-3", "--phase.steps=2", "--model.labels=[FLAIR]"),
            "--model.net.n_labels=1",
        ),
        *("--trainer.logger=false", "--trainer.enable_progress_bar=false", "--name=mine"),
    ]
    done = run("fit", "--import", "mynet", "--model.net", "mynet.Plain", *tiny)
    assert done.returncode == 0, done.stderr
    (scan,) = (cohort / "multicoil_test").iterdir()
    predict = ("predict", "--data.root", scan, "--output_dir", "out", "--model.prior", "runs/mine")
    refused = run(*predict)
    assert refused.returncode == 2
    assert "--import mynet" in refused.stderr
    done = run(*predict, "--import=mynet", "--model.sampler", "mysampler.PlugAndPlay", "--model.sampler.n_steps=2")
    assert done.returncode in (0, 4), done.stderr
    assert (tmp_path / "out" / scan.name).is_file()
    (tmp_path / "head.mine").write_bytes(b"#mine 1 3 4 5\n" + bytes(480))
    assert "format must be one of" in run("inspect", "head.mine").stderr
    assert "myformat" not in run("inspect", "head.mine", "--import", "myformat").stderr

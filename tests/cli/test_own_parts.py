"""A user's own network, sampler and format, from files in the folder: trained, saved, loaded, used; refused unasked."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
Command = Callable[..., str]


def of_page(name: str) -> str:
    """Return the first block of Python of a page on extensions."""
    page = (ROOT / "docs/pages/extend" / f"{name}.md").read_text()
    return re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)[0]


@pytest.mark.slow
def test_own_network_sampler_and_format_go_from_training_to_an_image(cohort: Path, tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(of_page("network"))
    (tmp_path / "mysampler.py").write_text(of_page("sampler"))
    (tmp_path / "myformat.py").write_text(of_page("format").replace('b"#kspace "', 'b"#mine "'))

    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "lightning_mri", *map(str, words)]
        environment = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
        return subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)

    tiny = [
        *("--data", "FullySampledScans", f"--data.root={cohort / 'multicoil_train'}", "--data.split.n_val=1"),
        *("--data.crop=[32,32]", "--data.batch_size=2", "--data.n_processes=1", "--data.cache_dir=cache"),
        *(
            "--phase",
            "Pretrain",
            "--phase.learning_rate=1e-3",
            "--phase.steps=2",
            "--model.labels=[FLAIR]",
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

"""A stranger's way: the wheel in an environment of its own, an empty folder, every line of the texts as typed."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lightning_mri.lazy import EXTRAS

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAGES = [
    ROOT / "README.md",
    *sorted(path for path in (ROOT / "docs/pages").rglob("*.md") if path.parent.name != "extend"),
]
Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.slow


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return the commands and Python of a page, in their order."""
    found = BLOCK.findall(page.read_text())
    return [
        (kind, text)
        for kind, block in found
        for text in (block.splitlines() if kind == "bash" else [block])
        if kind == "python" or text.startswith("lightning-mri ")
    ]


@pytest.fixture(scope="session")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Install the wheel where this checkout cannot be imported; return what runs a line in a shell there.

    What the package depends on is that of this environment, so that nothing is downloaded.
    """
    folder = tmp_path_factory.mktemp("stranger")
    (folder / "source").mkdir()
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    subprocess.run(
        ["tar", "-c", "--null", "-T", "-", "-f", folder / "source.tar"], input=files, text=True, cwd=ROOT, check=True
    )
    subprocess.run(["tar", "-xf", folder / "source.tar", "-C", folder / "source"], check=True)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", folder, folder / "source"], check=True)
    venv.create(folder / "env", symlinks=True)
    site = next((folder / "env").glob("lib/python*/site-packages"))
    # its own .pth files, the checkout's, do not count; importing what WITHOUT names fails as if it were not installed
    hide = 'import os, sys; sys.modules.update(dict.fromkeys(filter(None, os.environ.get("WITHOUT", "").split(","))))'
    (site / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{hide}\n")
    (wheel,) = folder.glob("*.whl")
    subprocess.run([*pip, "--python", folder / "env/bin/python", "install", "--no-deps", wheel], check=True)
    kept = {name: os.environ[name] for name in ("HOME", "OMP_NUM_THREADS") if name in os.environ}
    environment = {**kept, "PATH": f"{folder}/env/bin:/usr/bin:/bin", "WANDB_MODE": "offline"}

    def run(line: str, here: Path, without: Sequence[str] = tuple(EXTRAS)) -> subprocess.CompletedProcess[str]:
        hidden = {**environment, "WITHOUT": ",".join(without)}
        return subprocess.run(["bash", "-c", line], cwd=here, env=hidden, capture_output=True, text=True, check=False)

    return run


def test_nothing_in_the_wheels_readme_is_relative(stranger: Run, tmp_path: Path) -> None:
    shown = "from importlib.metadata import metadata; print(metadata('lightning-mri')['Description'])"
    text = stranger(f'python -c "{shown}"', tmp_path).stdout
    assert "lightning-mri simulate --output_dir scans" in text
    assert not re.findall(r"\]\((?!https?:|#)", text)


@pytest.fixture(scope="session")
def scans(stranger: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the first line of the README writes."""
    folder = tmp_path_factory.mktemp("scans")
    done = stranger(blocks(PAGES[0])[0][1], folder)
    assert done.returncode == 0, done.stderr
    return folder / "scans"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda page: page.stem)
def test_every_line_of_a_page_works_as_typed(page: Path, stranger: Run, scans: Path, tmp_path: Path) -> None:
    (tmp_path / "scans").symlink_to(scans)
    where = stranger("python -c 'import lightning_mri as lm; print(lm.__file__)'", tmp_path).stdout
    assert f"{ROOT}/" not in where, "the wheel is tested, not the checkout"
    named = ",".join(re.findall(r"lightning-mri\[(.*?)\]", page.read_text()))
    without = [library for library, extra in EXTRAS.items() if extra not in named]
    for kind, text in blocks(page):
        if "simulate --output_dir scans" in text:
            continue  # done, and shared by the pages
        line = text
        if kind == "python":
            (tmp_path / "block.py").write_text(text)
            line = "python block.py"
        done = stranger(line, tmp_path, without)
        assert done.returncode in (0, 4), f"{page.name}: {text}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        noise = ("GPU available", "TPU available", "Tip:", "Warning:", "wandb.me", "litlogger")
        assert not [word for word in noise if word in done.stderr + done.stdout], done.stderr

"""Where a result comes from: code of the package and of the user, machine, moment; and the memory that it took."""

import os
import platform
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from types import ModuleType

import lightning_mri

IMPORTED: list[str] = []
"""Names of the modules of the user's that the command line allows by ``--import``."""

IMPORT = re.compile(r"^\s*(?:from +[\w.]+|import +[\w., ]+)", re.MULTILINE)
WORD = re.compile(r"(?<![\w.])\w+")


def own_code(modules: Iterable[str]) -> list[Path]:
    """Return the source files of modules that are in use, and of all that they import from the same folder.

    Of a package all files count. What they import from elsewhere is installed, and has a version.
    """
    found: set[Path] = set()
    used = ({name.partition(".")[0] for name in modules} & sys.modules.keys()) - {"lightning_mri"}
    waiting = [(folder, name) for name in used for folder in _folders(sys.modules[name])]
    while waiting:
        folder, name = waiting.pop()
        files = (folder / f"{name}.py", *(folder / name).rglob("*.py"))
        for file in {file for file in files if file.is_file()} - found:
            found.add(file)
            beside = IMPORT.findall(file.read_text(errors="replace")) if "site-packages" not in folder.parts else ()
            waiting += [(folder, each) for each in {*WORD.findall(" ".join(beside))} - {"lightning_mri"}]
    return sorted(found)


def _folders(module: ModuleType) -> list[Path]:
    """Return the folder that a module or package lies in; of one without a file none."""
    own = [module.__file__] if getattr(module, "__file__", None) else []
    return [Path(path).parent for path in getattr(module, "__path__", own)]


@cache
def commit() -> str:
    """Return the git commit of the package's checkout, "-dirty" behind it where files differ; empty outside of one."""
    package = Path(__file__).parent
    try:
        run = subprocess.run(
            ["git", "-C", str(package), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
        # else it lies in somebody's own repository
        tracked = ["git", "-C", str(package), "ls-files", "--error-unmatch", Path(__file__).name]
        subprocess.run(tracked, capture_output=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return run.stdout.strip()


def short_commit() -> str:
    """Return the beginning of `commit`, with a plus where files differ from it."""
    return commit()[:10] + "+" * commit().endswith("-dirty")


@cache
def hardware() -> str:
    """Return processor, number of cores that this process may use, and GPU."""
    import torch  # here, as not all that asks for code needs it

    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    n_cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    processor = (names or [platform.processor() or platform.machine()])[0]
    gpu = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    return ", ".join([f"{processor}, {n_cores} cores", *gpu])


def peak_memory() -> float:
    """Return the largest resident memory of this process so far, in GiB."""
    if (status := Path("/proc/self/status")).exists():  # `ru_maxrss` begins with what the starting process held
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def command_line() -> str:
    """Return the command that this process runs, as a shell takes it."""
    return shlex.join(["python", "-m", "lightning_mri", *sys.argv[1:]])


def made() -> str:
    """Return when, by which version, and on what something is being made."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    version = f"lightning_mri {lightning_mri.__version__}" + (f" ({short})" if (short := short_commit()) else "")
    return f"{now} - {version} - {hardware()}"

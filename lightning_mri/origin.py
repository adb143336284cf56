"""Where a result comes from: commit of the code, machine, moment; and the memory that it took."""

import os
import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch

import lightning_mri


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
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def made() -> str:
    """Return when, by which version, and on what something is being made."""
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    version = f"lightning_mri {lightning_mri.__version__}" + (f" ({short})" if (short := short_commit()) else "")
    return f"{now} - {version} - {hardware()}"

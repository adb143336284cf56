"""How much sooner two processes of one thread end than one: `predict` on the same scans, by the clock.

python experiments/two_processes.py --output experiments/results/two_processes.md

Two runs side by side, each with half of the scans, know nothing of each other: what they lose, the machine loses.
"""

import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
from jsonargparse import auto_cli

from lightning_mri.datasets import simulate
from lightning_mri.files import write_whole

PREDICT = ["-m", "lightning_mri", "predict", "--trainer.accelerator=cpu"]
ONE, TWO, APART = "one process", "two processes", "two runs, each of half of the scans"


def two_processes(n_scans: int = 8, n_slices: int = 6, repeats: int = 3, output: Path | None = None) -> None:
    """Time three ways in turn, on a machine of two cores that does nothing else.

    Args:
        n_scans: Simulated scans of R = 3, an even number.
        n_slices: Slices of each.
        repeats: How often each way is timed; the middle one counts.
        output: Markdown file to write to.
    """
    with TemporaryDirectory() as name:
        folder = Path(name)
        halves = scans_of(folder, n_scans, n_slices)
        ways = {
            ONE: [folder / "scans"],
            TWO: [folder / "scans"] * 2,
            APART: halves,
        }
        taken: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for repeat in range(repeats):
            for way, roots in ways.items():
                taken[way].append(seconds(roots, folder / f"{way} {repeat}", together=way == TWO))
                print(f"{way}: {taken[way][-1][0]:.1f} s", flush=True)
    clock, cpu = ({way: float(np.median([row[i] for row in rows])) for way, rows in taken.items()} for i in (0, 1))
    lines = [
        f"{n_scans} scans of {n_slices} slices, 144 x 128 pixels, 8 coils, R = 3, `standard`; one thread per process;"
        f" {repeats} times in turn. Start and end of Python are included.",
        f"Command: `python experiments/two_processes.py --n_scans {n_scans} --repeats {repeats}`",
        "",
        "| | seconds | the middle one | efficiency | CPU seconds | efficiency by them |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {way} | {', '.join(f'{row[0]:.1f}' for row in rows)} | {clock[way]:.1f} |"
            f" {clock[ONE] / clock[way] / (1 if way == ONE else 2):.2f} | {cpu[way]:.1f} | {cpu[ONE] / cpu[way]:.2f} |"
            for way, rows in taken.items()
        ),
    ]
    print(*lines, sep="\n")
    if output is not None:
        write_whole(output, "\n".join(lines) + "\n")


def scans_of(folder: Path, n_scans: int, n_slices: int) -> list[Path]:
    """Simulate scans of every third line in ``folder/scans``, and return two folders of links to half of them each."""
    simulate(folder, n_train=0, n_test=n_scans, n_slices=n_slices, matrix=(144, 128), pixel_size=(1.7, 1.7))
    (folder / "multicoil_test").rename(folder / "scans")
    lines = np.arange(128) % 3 == 0
    lines[54:74] = True
    halves = [folder / "even", folder / "odd"]
    for half in halves:
        half.mkdir()
    for i, path in enumerate(sorted((folder / "scans").glob("*.h5"))):
        with h5py.File(path, "r+") as file:
            file["kspace"][...] *= lines
        (halves[i % 2] / path.name).symlink_to(path)
    return halves


def seconds(roots: list[Path], results: Path, together: bool) -> tuple[float, float]:
    """Return how long predictions take that run side by side, by the clock and of all processors together.

    Args:
        roots: The scans of each process.
        results: Where to.
        together: Whether the processes are one run, with the environment that torchrun would give them.

    Raises:
        RuntimeError: If one of them fails.
    """
    environment = os.environ | {"OMP_NUM_THREADS": "1", "WANDB_MODE": "offline"}
    if together:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = str(probe.getsockname()[1])
        environment |= {"TORCHELASTIC_RUN_ID": "two", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment |= {"WORLD_SIZE": str(len(roots)), "GROUP_WORLD_SIZE": "1", "GROUP_RANK": "0"}
    begin, cpu, running = time.monotonic(), cpu_of_children(), []
    for i, root in enumerate(roots):
        rank = {"RANK": str(i), "LOCAL_RANK": str(i)} if together else {}
        line = [*PREDICT, f"--data.root={root}", f"--output_dir={results / ('all' if together else str(i))}"]
        pipes = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        running.append(subprocess.Popen([sys.executable, *line], env=environment | rank, text=True, **pipes))
    for process in running:
        _, printed = process.communicate()
        if process.returncode not in (0, 4):  # 4: slices that should not be trusted
            raise RuntimeError(f"{' '.join(process.args)} ended with {process.returncode}:\n{printed}")
    return time.monotonic() - begin, cpu_of_children() - cpu


def cpu_of_children() -> float:
    """Return the processor time of all processes that this one has waited for, and that those have."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    auto_cli(two_processes, as_positional=False)

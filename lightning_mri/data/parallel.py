"""Jobs over several processes, results in order, with a progress bar that tells the time left."""

import multiprocessing
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch
from tqdm import tqdm

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], n_processes: int | None = None, title: str = ""
) -> Iterator[Result]:
    """Yield ``function(job)`` for each job, in order, as soon as it is known.

    Every job runs on one thread, so that its result does not depend on the number of processes.

    Args:
        function: A function of a module, not a lambda.
        jobs: What it is called with.
        n_processes: Number of processes; one for each core if not given, none beside this one if 1.
        title: Shown at the progress bar.
    """
    n = min(len(jobs), os.cpu_count() or 1 if n_processes is None else n_processes)
    results = _in_pool(function, jobs, n) if n > 1 else _here(function, jobs)
    yield from tqdm(results, title, total=len(jobs), disable=None if jobs else True)


def _here(function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    n_threads = torch.get_num_threads()
    for job in jobs:
        torch.set_num_threads(1)
        try:
            result = function(job)
        finally:
            torch.set_num_threads(n_threads)
        yield result


def _in_pool(function: Callable[[Job], Result], jobs: Sequence[Job], n: int) -> Iterator[Result]:
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else None)
    with warnings.catch_warnings():
        # each process starts with one thread and uses none of this one's, as torch's own data workers do
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        pool = ProcessPoolExecutor(n, mp_context=context, initializer=torch.set_num_threads, initargs=(1,))
        try:
            yield from pool.map(function, jobs)
        finally:
            pool.shutdown(cancel_futures=True)

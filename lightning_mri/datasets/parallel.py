"""Jobs over several processes, with a progress bar and the time left; a process that is killed is named."""

import multiprocessing
import os
import pickle
import signal
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from multiprocessing.connection import wait
from typing import Any, TypeVar

import torch
from tqdm import tqdm

from lightning_mri.tensors import one_thread

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], n_processes: int | None = None, title: str = ""
) -> Iterator[Result]:
    """Yield ``function(job)`` for each job, in order, as soon as it is known; the first error ends it.

    Every job runs on one thread, so that its result does not depend on the number of processes.

    Args:
        function: A function of a module, or a `partial` of one; it is sent to the processes with all it holds.
        jobs: What it is called with.
        n_processes: Number of processes; one for each core if not given, none beside this one if 1.
        title: Shown at the progress bar.

    Raises:
        ChildProcessError: If a job's process was killed.
    """
    known: dict[int, Result] = {}
    following = 0
    with closing(finish_jobs(function, jobs, n_processes, title)) as results:
        for index, result in results:
            if isinstance(result, Exception):
                raise result
            known[index] = result
            while following in known:
                yield known.pop(following)
                following += 1


def finish_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], n_processes: int | None = None, title: str = ""
) -> Generator[tuple[int, Result | Exception]]:
    """Yield each job's index and result, or the exception that it ended with, as soon as it is known.

    One job never stops another. Where a process is killed, the job that killed it is found by running suspects
    alone; it ends with a `ChildProcessError`, and the others go on. Arguments are those of `run_jobs`.
    """
    n = min(len(jobs), os.cpu_count() or 1 if n_processes is None else n_processes)
    results = _in_pools(function, jobs, n) if n > 1 else _here(function, jobs)
    yield from tqdm(results, title, total=len(jobs), disable=None if jobs else True)


def _here(function: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[tuple[int, Result | Exception]]:
    for index, job in enumerate(jobs):
        with one_thread():
            try:
                result: Result | Exception = function(job)
            except Exception as error:
                result = error
        yield index, result


def _in_pools(
    function: Callable[[Job], Result], jobs: Sequence[Job], n: int
) -> Iterator[tuple[int, Result | Exception]]:
    # pickled here: an executor that cannot pickle a job in its own thread may never shut down (Python 3.11)
    calls = [pickle.dumps((function, job)) for job in jobs]
    left = list(range(len(jobs)))
    while left:
        for index, result in _in_pool(calls, left, n):
            left.remove(index)
            yield index, result
        if left:  # a process was killed: the first that is left may have done it, and gets one to itself
            suspect = left.pop(0)
            alone = list(_in_pool(calls, [suspect], 1))
            killed = ChildProcessError(
                f"{jobs[suspect]}: the process that worked on it was killed, most often for want of memory"
            )
            yield alone[0] if alone else (suspect, killed)


def _in_pool(calls: Sequence[bytes], indices: Sequence[int], n: int) -> Iterator[tuple[int, Any]]:
    """Yield what is known of these jobs before a process is killed, or all of it if none is."""
    with warnings.catch_warnings():
        # each process starts with one thread and uses none of this one's, as torch's own data workers do
        warnings.filterwarnings("ignore", ".*multi-threaded.*fork", DeprecationWarning)
        pool = ProcessPoolExecutor(n, mp_context=multiprocessing.get_context("fork"), initializer=_begin_worker)
        try:
            index_of = {pool.submit(_call, calls[index]): index for index in indices}
            for future in as_completed(index_of):
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    continue
                if error is not None and not isinstance(error, Exception):
                    raise error
                yield index_of[future], future.result() if error is None else error
        finally:
            pool.shutdown(cancel_futures=True)


def _call(call: bytes) -> Any:
    """Run a job; raise an error that this process's parent can unpickle."""
    function, job = pickle.loads(call)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return function(job)
    except Exception as error:
        try:
            pickle.loads(pickle.dumps(error))
        except Exception:
            raise RuntimeError(f"{type(error).__name__}: {error}") from error
        raise
    except KeyboardInterrupt:  # what it wrote is taken away; jobs that wait would keep the user waiting
        os._exit(128 + signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C reaches all; one that waits would print a traceback
    torch.set_num_threads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this process when the one that started it is killed, so that it holds no lock and no memory any longer."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)

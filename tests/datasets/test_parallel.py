"""Jobs give the same results, in order, with any number of processes."""

import contextlib
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
import torch

from lightning_mri.datasets.parallel import finish_jobs, run_jobs


def whereabouts(job: int) -> tuple[int, int, int]:
    return job, os.getpid(), torch.get_num_threads()


def refuse(job: int) -> int:
    if job == 2:
        raise ValueError("job 2 breaks a rule")
    return job


def die(job: int) -> int:
    if job in (1, 4):
        os.kill(os.getpid(), signal.SIGKILL)
    return job


class OddError(Exception):
    """An error whose constructor takes other arguments than it passes on: it cannot be unpickled."""

    def __init__(self, a: int, b: int) -> None:
        super().__init__(f"{a} of {b}")


def fail_oddly(job: int) -> int:
    raise OddError(1, 2)


def note_and_sleep(folder: Path) -> None:
    (folder / str(os.getpid())).touch()
    time.sleep(60)


def wait_in_workers(folder: Path) -> None:
    list(run_jobs(note_and_sleep, [folder, folder], 2))


def is_alive(process: int) -> bool:
    try:
        return " Z" not in Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return False


def test_results_come_in_order_from_single_threaded_processes() -> None:
    results = list(run_jobs(whereabouts, range(6), n_processes=2))
    assert [job for job, _, _ in results] == list(range(6))
    assert {threads for _, _, threads in results} == {1}
    assert os.getpid() not in {process for _, process, _ in results}


def test_one_process_is_this_one_and_keeps_its_threads() -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        results = list(run_jobs(whereabouts, [5], n_processes=4))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert results == [(5, os.getpid(), 1)]


@pytest.mark.parametrize("n_processes", [1, 2])
def test_an_error_keeps_its_sentence(n_processes: int) -> None:
    with pytest.raises(ValueError, match=r"^job 2 breaks a rule$"):
        list(run_jobs(refuse, range(4), n_processes))


def test_what_cannot_be_sent_to_a_process_is_an_error_and_does_not_hang() -> None:
    with pytest.raises((TypeError, AttributeError), match="pickle"):
        list(run_jobs(lambda job: job, range(4), 2))


def test_an_error_that_cannot_be_sent_back_is_named_by_its_type() -> None:
    results = dict(finish_jobs(fail_oddly, range(3), 2))
    assert [str(result) for result in results.values()] == ["OddError: 1 of 2"] * 3


def test_workers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    run = multiprocessing.get_context("fork").Process(target=wait_in_workers, args=(tmp_path,))
    run.start()
    while len(list(tmp_path.iterdir())) < 2:
        time.sleep(0.02)
    run.kill()
    run.join()
    workers = [int(path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 10
    while any(is_alive(worker) for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def interrupt_and_wait(log: Path) -> None:
    os.setpgid(0, 0)
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT), 2)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        for _ in run_jobs(time.sleep, [0, 60, 60, 60, 60], 2):
            os.killpg(0, signal.SIGINT)


def test_ctrl_c_ends_all_at_once_and_workers_say_nothing(tmp_path: Path) -> None:
    """Regression: workers printed tracebacks, and did the jobs that waited first."""
    run = multiprocessing.get_context("fork").Process(target=interrupt_and_wait, args=(tmp_path / "log",))
    run.start()
    run.join(30)
    assert run.exitcode == 0
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_nothing_to_do() -> None:
    assert list(run_jobs(refuse, [])) == []


@pytest.mark.parametrize("n_processes", [1, 2])
def test_an_error_stops_no_other_job(n_processes: int) -> None:
    results = dict(finish_jobs(refuse, range(4), n_processes))
    assert str(results.pop(2)) == "job 2 breaks a rule"
    assert results == {0: 0, 1: 1, 3: 3}


def test_the_job_whose_process_is_killed_is_found_and_the_others_go_on() -> None:
    results = dict(finish_jobs(die, range(6), 2))
    for job in (1, 4):
        killed = results.pop(job)
        assert isinstance(killed, ChildProcessError)
        assert str(killed).startswith(f"{job}: the process that worked on it was killed")
    assert results == {0: 0, 2: 2, 3: 3, 5: 5}
    with pytest.raises(ChildProcessError, match="was killed"):
        list(run_jobs(die, range(6), 2))

"""Jobs give the same results, in order, with any number of processes."""

import os
import signal

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

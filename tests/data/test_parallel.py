"""Jobs give the same results, in order, with any number of processes."""

import os

import pytest
import torch

from lightning_mri.data.parallel import run_jobs


def whereabouts(job: int) -> tuple[int, int, int]:
    return job, os.getpid(), torch.get_num_threads()


def refuse(job: int) -> int:
    if job == 2:
        raise ValueError("job 2 breaks a rule")
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

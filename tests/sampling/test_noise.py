"""The random stream of each image depends on its seed alone."""

import pytest
import torch

from lightning_mri.sampling.noise import NoiseStream, seeds_for


def test_an_image_sees_the_same_noise_in_any_batch():
    alone = NoiseStream(torch.tensor([5]), (3, 4))
    among = NoiseStream(torch.tensor([[9, 2], [5, 5]]), (3, 4))

    for _ in range(2):
        one, many = alone.normal()[0], among.normal()
        assert many.shape == (2, 2, 3, 4)
        assert torch.equal(many[1, 0], one)
        assert torch.equal(many[1, 1], one)
        assert not torch.equal(many[0, 0], one)
        assert alone.integers(8)[0] == among.integers(8)[1, 0]
        assert alone.uniform()[0] == among.uniform()[1, 0]


def test_noise_has_unit_standard_deviation_in_each_real_channel():
    noise = NoiseStream(torch.arange(3), (61, 67)).normal()

    assert noise.dtype == torch.complex64
    assert noise.real.std().item() == pytest.approx(1, abs=0.02)
    assert noise.imag.std().item() == pytest.approx(1, abs=0.02)


def test_one_seed_a_sample_is_shared_by_all_slices():
    assert seeds_for(range(2), (3,)).tolist() == [[0, 0, 0], [1, 1, 1]]
    assert seeds_for([4, 7], ()).tolist() == [4, 7]


def test_seeds_for_every_slice_are_kept():
    table = torch.tensor([[1, 2, 3]])
    assert torch.equal(seeds_for(table, (3,)), table)

"""BART's compressed sensing, where the program is installed."""

import shutil

import pytest
import torch

from lightning_mri.baselines import BartPICS, L1Wavelet
from lightning_mri.physics import GaussianLikelihood, Maps, Phase
from lightning_mri.tensors import norm

from .conftest import ellipse, scan

installed = pytest.mark.skipif(shutil.which("bart") is None, reason="the program bart is not on the PATH")


@installed
@pytest.mark.parametrize("n_sets", [1, 2])
def test_both_compressed_sensings_see_the_same_object(mask, n_sets):
    """Axes, centre and units are BART's and ours at once; a transposed or shifted image would be far off."""
    image = ellipse() if n_sets == 1 else torch.stack([ellipse(), 0 * ellipse()])
    likelihood = scan(image.expand(2, *image.shape), mask, n_sets)

    theirs = BartPICS(weight=0.001).reconstruct(likelihood)

    ours = L1Wavelet(weight=0.001).reconstruct(likelihood)
    assert theirs.shape == ours.shape
    assert (theirs - ours).norm() < 0.1 * ours.norm()
    assert (norm(theirs[:, 0] if n_sets == 2 else theirs) - norm(ellipse())).abs().max() < 0.1 * norm(ellipse())


@installed
def test_more_weight_follows_the_data_less(mask):
    likelihood = scan(ellipse(), mask)

    light, middle, heavy = (
        likelihood.residual_std(BartPICS(weight=weight).reconstruct(likelihood)) for weight in (0.001, 0.03, 1.0)
    )

    assert light < middle < heavy


def test_what_bart_is_not_told_of_is_refused(mask):
    likelihood = scan(ellipse(), mask)
    turned = GaussianLikelihood(likelihood.A @ Phase(torch.zeros(34, 26)), likelihood.y, likelihood.noise_std)

    with pytest.raises(ValueError, match="BartPICS takes coil maps, Fourier transform and mask alone"):
        BartPICS().reconstruct(turned)


def test_a_missing_program_is_told(mask, monkeypatch):
    monkeypatch.setenv("PATH", "")
    likelihood = scan(ellipse(), mask)
    assert likelihood.A.find(Maps) is not None

    with pytest.raises(FileNotFoundError, match="bart must be on the PATH"):
        BartPICS().reconstruct(likelihood)

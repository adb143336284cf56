"""Values that no scanner, mask or estimate can have are named."""

import math
from functools import partial

import torch

from lightning_mri.physics import (
    Damping,
    Equispaced,
    Gaussian1D,
    GaussianLikelihood,
    LowField,
    MeasuredSpectrum,
    ModelMismatch,
    NonlinearInversion,
    PoissonDisc,
    PowerLaw,
    RandomUniform,
    Volume,
    achieved_acceleration,
    estimate_noise_std,
    estimate_scanner,
    find_acs,
    ifft2c,
    largest_eigenvalue,
    noise_covariance,
    principal_coils,
    sense,
    whiten,
)
from lightning_mri.reconstruction import prepare_likelihood
from lightning_mri.scaling import Scaling
from tests.builders import refusals, wrong
from tests.regimes import NOISE

from .gaussian_objects import PIXEL, objects
from .test_low_field import images

MASK = torch.ones(1, 8, 9, dtype=torch.bool)
MAPS = torch.ones(1, 1, 2, 8, 9, dtype=torch.complex64)
KSPACE = torch.zeros(1, 2, 8, 9, dtype=torch.complex64)
SIZE = (13, 16)


def silent() -> object:
    likelihood = NOISE.degrade(images())
    return prepare_likelihood(likelihood.replace(y=0 * likelihood.y), Scaling())


def spectrum(*parts: float) -> object:
    image = ifft2c(objects(1, 0)[:, 0])
    return MeasuredSpectrum.of([part * image for part in parts], PIXEL)


test_what_breaks_a_rule_is_named = refusals(
    (lambda: LowField(snr_db=(7.0, 2.0)), r"snr_db must be \(lowest, highest\)"),
    (lambda: LowField(snr_db=(2.0, math.inf)), "snr_db must be"),
    (lambda: LowField(fwhm_mm=-1.0), "fwhm_mm must be finite and not negative: got -1.0"),
    (lambda: LowField(te_s=math.nan), "te_s must be finite"),
    (lambda: LowField(t2star_s=0.0), "t2star_s must be finite and positive: got 0.0"),
    (lambda: LowField(pixel_size=0.0), "pixel_size must be"),
    (lambda: LowField(fwhm_mm=6.0).degrade(images()), "fwhm_mm must be smaller than the image: got 6.0"),
    (lambda: NOISE.degrade(images(), seeds=[1]), "one seed an image: got 1 seeds and 2 images"),
    (lambda: NOISE.degrade(images(), [1, 2], Volume(1, (0.0,))), "one depth an image: got 1 depths, 2 images"),
    (lambda: NOISE.degrade(images(), [1, 2], pixel_sizes=[(1.0, 1.0)]), "one pixel size an image: got 1 pixel si"),
    (lambda: NOISE.degrade(0 * images()), "x must not be empty.*image 0 is all zero"),
    (lambda: Volume(1, (0.0, 1.5)), r"depths must be from -1 to 1: got \(0.0, 1.5\)"),
    (lambda: ModelMismatch(0.0), "factor must be finite and positive: got 0.0"),
    (silent, "slice 0 of the batch cannot be reconstructed: no signal: k-space is all zero"),
    (lambda: Equispaced(0.5, 4), "acceleration must be finite and at least 1: got 0.5"),
    (lambda: Equispaced(math.nan, 4), "acceleration must be finite and at least 1: got nan"),
    (lambda: Equispaced(50, 0).draw(SIZE), "acceleration 50 must leave a sample to acquire: got 16 in all"),
    (lambda: RandomUniform(4, -1), "n_center must not be negative: got -1"),
    *((partial(Gaussian1D, 4, 8, width=width), "width must be positive: got") for width in (0, -1, math.nan)),
    *((partial(PoissonDisc, 4, 8, falloff=x), "falloff must be finite and not neg") for x in (-1, math.nan, math.inf)),
    (lambda: PoissonDisc(4, 8, elliptical="no"), "elliptical must be True or False: got 'no'"),
    (lambda: Gaussian1D(8, 20).draw(SIZE), "must leave room for acceleration 8: got 20 central"),
    (lambda: PoissonDisc(1.1, 4).draw(SIZE), "acceleration 1.1 must leave room"),
    (lambda: PoissonDisc(1.1, 14).draw(SIZE), r"n_center must not exceed the matrix: got 14 and \(13, 16\)"),
    (lambda: find_acs(RandomUniform(8, 2).draw(SIZE)), "fully sampled block of at least 4 x 4 around the centre"),
    (lambda: achieved_acceleration(~MASK), "mask must acquire something"),
    (lambda: principal_coils(KSPACE, 0), "n_coils must be positive: got 0"),
    (lambda: estimate_scanner(KSPACE[:, :1], MASK, PIXEL, 0.0), r"must be positive: got \(0.2, 0.25\) and 0"),
    *wrong(NonlinearInversion, "settings must be positive", last=0, reduction=1.0, period=0.9, smoothness=-1.0),
    *wrong(NonlinearInversion, "settings must be positive", order=math.nan, period=math.nan, tolerance=math.nan),
    (lambda: estimate_noise_std(KSPACE, MASK), "kspace must hold acquired samples in every slice"),
    (lambda: noise_covariance(KSPACE[0, :, 0, :1]), "samples must be at least as many as coils, 2: got 1"),
    (lambda: whiten(KSPACE, torch.zeros(2, 2, dtype=torch.complex64)), "must be Hermitian positive definite"),
    (lambda: whiten(KSPACE, torch.tensor([[1, 0.5], [0.1j, 1]])), "must be Hermitian positive definite"),
    (lambda: sense(MAPS, MASK.mT), r"maps and mask must agree on \(y, x\)"),
    (lambda: sense(MAPS, None, Damping(torch.ones(1, 9, 9))), "maps and damping must agree"),
    (
        lambda: GaussianLikelihood(sense(MAPS), KSPACE, torch.ones(3)),
        r"noise_std must be one value, or one for each slice \(1,\): got \(3,\) and y \(1, 2, 8, 9\)",
    ),
    (lambda: Damping.gaussian(SIZE, 1.0, (1.0, 0.0)), "fwhm_mm must be >= 0"),
    (lambda: Damping.gaussian(SIZE, math.nan, (1.0, 1.0)), "fwhm_mm must be >= 0"),
    (lambda: Damping.t2star(SIZE, 0.0, 1e-5), "t2star_s and dwell_s must be positive"),
    (lambda: Damping.t2star(SIZE, 1.0, math.nan), "t2star_s and dwell_s must be positive"),
    (lambda: spectrum(1.0), "at least two objects of one matrix, .*: got 1 of"),
    (lambda: spectrum(1.0, 0.0), "a reference must hold no empty slice"),
    (lambda: PowerLaw(-1.0), r"exponent and std must be finite and positive: got -1.0 and 0.3"),
    (lambda: largest_eigenvalue(lambda x: x, (2, 8, 9), n_iterations=0), "n_iterations must be at least 1: got 0"),
)

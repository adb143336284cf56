"""The scanner: Fourier transform, linear operators, masks, coil maps, noise, and the likelihood."""

from lightning_mri.physics.acquisition import Damping, Maps, Mask, Phase, sense
from lightning_mri.physics.cg import conjugate_gradient, largest_eigenvalue
from lightning_mri.physics.coils import compress_coils, mix_coils, principal_coils
from lightning_mri.physics.combination import combine
from lightning_mri.physics.dead_coils import about_dead, live_coils, whiten_live
from lightning_mri.physics.espirit import acs_image, estimate_maps
from lightning_mri.physics.estimate import Estimated, ScannerEstimate, estimate_scanner
from lightning_mri.physics.exact import NormalInverse
from lightning_mri.physics.fourier import fft2c, ifft2c
from lightning_mri.physics.likelihood import GaussianLikelihood, cg_sense, without_degradation
from lightning_mri.physics.low_field import (
    LowField,
    ModelMismatch,
    Volume,
    scaled,
)
from lightning_mri.physics.masks import (
    Acs,
    Equispaced,
    Gaussian1D,
    LinePattern,
    PoissonDisc,
    RandomUniform,
    SamplingPattern,
    achieved_acceleration,
    block_if_any,
    find_acs,
)
from lightning_mri.physics.nlinv import NonlinearInversion
from lightning_mri.physics.noise import (
    NoisyCoils,
    estimate_noise_std,
    noise_covariance,
    unwhitened_size,
    whiten,
    whiten_alike,
    whiten_noisy_coils,
)
from lightning_mri.physics.operators import Adjoint, Composition, Fourier, LinearOperator
from lightning_mri.physics.refine import refine_maps
from lightning_mri.physics.spectra import MeasuredSpectrum, PowerLaw, Spectrum
from lightning_mri.physics.spikes import Spikes, replace_spikes
from lightning_mri.physics.vortices import without_vortices

__all__ = [
    "Acs", "Adjoint", "Composition", "Damping", "Equispaced", "Estimated", "Fourier", "Gaussian1D",
    "GaussianLikelihood", "LinePattern", "LinearOperator", "LowField", "Maps", "Mask", "MeasuredSpectrum",
    "ModelMismatch", "NoisyCoils", "NonlinearInversion", "NormalInverse", "Phase", "PoissonDisc", "PowerLaw",
    "RandomUniform", "SamplingPattern", "ScannerEstimate", "Spectrum", "Spikes", "Volume", "about_dead",
    "achieved_acceleration", "acs_image", "block_if_any", "cg_sense", "combine", "compress_coils",
    "conjugate_gradient", "estimate_maps", "estimate_noise_std", "estimate_scanner", "fft2c", "find_acs",
    "ifft2c", "largest_eigenvalue", "live_coils", "mix_coils", "noise_covariance", "principal_coils",
    "refine_maps", "replace_spikes", "scaled", "sense", "unwhitened_size", "whiten", "whiten_alike",
    "whiten_live", "whiten_noisy_coils", "without_degradation", "without_vortices",
]  # fmt: skip

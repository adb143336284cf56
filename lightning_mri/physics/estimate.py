"""Blur, decay and noise of a scanner, estimated from how the power of a scan's k-space falls off."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Complex, Float
from torch import Tensor

from lightning_mri.lazy import lazy
from lightning_mri.physics.acquisition import FWHM_PER_STD
from lightning_mri.physics.noise import estimate_noise_std
from lightning_mri.physics.spectra import PowerLaw, Spectrum, frequencies, outside_centre
from lightning_mri.tensors import spread

optimize = lazy("scipy.optimize")

MAX_SLICES = 8  # 1, 4 and 8 of 72 x 60 pixels took 0.15, 0.5 and 1.9 s, and gave 5.6, 2.2 and 1.8 1/s of error
TOLERANCE = 1e-4  # of the gradient of the log-likelihood
MAX_LOG = 500.0  # of a power: exp() stays within double precision
N_STD = 2.0  # standard errors from 0 at which an effect counts as found: 95 %
PHASE = 0.15  # by which the phase of synthetic mice changes the logarithm of the signal from end to end of the readout
MIN_SAMPLES = 100  # with more signal than noise: the relative error of a mean of fewer powers exceeds a tenth
FAINT = "blur and decay cannot be estimated: hardly any signal stands out of the noise beyond the centre of k-space"
B0 = "the B0 field cannot be distinguished from other phase in one echo"


@dataclass(frozen=True)
class Estimated:
    """A number found in data.

    Args:
        value: The number.
        standard_error: Its standard error, of which two hold 95 %: noise and how objects differ.
    """

    value: float
    standard_error: float

    @property
    def found(self) -> bool:
        """Whether it differs from 0."""
        return self.value > N_STD * self.standard_error

    def __str__(self) -> str:
        return f"{self.value:.3g} +- {self.standard_error:.2g}"


@dataclass(frozen=True, eq=False)
class ScannerEstimate:
    """Properties of a scanner estimated from a scan.

    Args:
        noise_std: Noise of each real channel of k-space, in the unit of the data, of each slice that was used.
        noise_error: Its standard error, relative.
        readout_decay_hz: Rate at which the signal decays from the first to the last sample of the readout,
            exp(-rate t), where it stands out of the noise.
        fwhm_mm: Width of the Gaussian blur, where there is a reference.
        r2star_hz: Rate 1 / T2* at which it decays from the echo to either side, exp(-abs(t) / T2*), likewise.
        warnings: What cannot be known from these data, one sentence each.
    """

    noise_std: Float[Tensor, " slice"]
    noise_error: float
    readout_decay_hz: Estimated | None
    fwhm_mm: Estimated | None
    r2star_hz: Estimated | None
    warnings: tuple[str, ...]


def estimate_scanner(
    kspace: Complex[Tensor, "slice 1 y x"],
    mask: Bool[Tensor, "*_ 1 y x"],
    pixel_size: tuple[float, float],
    readout_s: float,
    reference: Spectrum | None = None,
    readout: Literal["y", "x"] = "y",
) -> ScannerEstimate:
    """Estimate noise, blur and decay from a scan of one coil.

    K-space is taken for independent complex Gaussian samples of power

        P(k) = 2 noise_std^2 + a S(k) exp(-(2 pi s)^2 abs(k)^2 - 2 abs(t) / T2* - 2 loss t),

    with s = fwhm / sqrt(8 ln 2), t the time from the echo along the readout, and S the spectrum of the object; the
    parameters are those of largest (Whittle) likelihood, noise and a for each slice, the others for all. What single
    objects of the reference change of them, to first order, is subtracted in the mean and counts as error.
    The spectrum of an object without phase is even, so that ``loss`` needs no reference. Blur and decay are even like
    the spectrum and cannot be distinguished from it without one. Decay differs from blur in direction and shape, for
    which the reference must have been measured. Neither is taken to be negative. Where signal stands out of the noise
    in fewer than a hundred samples, only the noise is found.

    Args:
        kspace: K-space of slices of one scan; at most eight of them are used, evenly spaced.
        mask: True where a sample was acquired.
        pixel_size: Size of a pixel (y, x) in mm.
        readout_s: Duration of the readout in s, of the samples that were acquired.
        reference: Spectrum of objects of the same kind in the same orientation; none if not known.
        readout: Axis along which it ran.

    Raises:
        ValueError: If a slice is empty, or lengths and times are not positive.
    """
    if not (min(pixel_size) > 0 and 0 < readout_s < math.inf):
        raise ValueError(f"pixel_size and readout_s must be positive: got {pixel_size} and {readout_s}")
    shape = (kspace.shape[-2], kspace.shape[-1])
    chosen = spread(len(kspace), MAX_SLICES)
    kspace, mask = kspace[chosen], mask.expand(len(kspace), 1, *shape)[chosen]
    # without a reference, blur and decay take up how the spectrum falls off, whatever it is
    spectrum = PowerLaw() if reference is None else reference
    axis = "yx".index(readout)
    dwell_s = readout_s / int(mask.any(0)[0].any(1 - axis).sum())
    effects = _effects(shape, pixel_size, axis, dwell_s)
    if reference is not None and not reference.has_direction:
        effects = effects[:2]
    objects = (each(shape, pixel_size).double() for each in (spectrum.log_powers, spectrum.ratios))
    spectra = _Powers.of(kspace, mask & outside_centre(shape), *objects)
    noise = 2 * estimate_noise_std(kspace, mask).double().square().clamp(min=torch.finfo(torch.float32).tiny)
    fit = _fit(spectra, effects, noise)
    errors = (fit.covariance + spectrum.widening**2 * fit.scatter).diagonal().sqrt().tolist()
    if not spectrum.has_phase:
        errors[0] = math.hypot(errors[0], 2 * PHASE / (dwell_s * shape[axis]))
    best, (loss, *even) = (fit, fit.effects.tolist()) if reference is None else _not_negative(fit, effects, noise)
    lost = Estimated(loss / 2, errors[0] / 2)
    blur = None if reference is None else _width(even[0], errors[1])
    decay = None if reference is None or len(even) < 2 else Estimated(even[1] / 2, errors[2] / 2)
    extent = min(n * edge for n, edge in zip(shape, pixel_size, strict=True))
    level = (best.noise / 2).sqrt().float()
    if fit.n_signal < MIN_SAMPLES or (blur is not None and blur.value > extent):
        return ScannerEstimate(level, fit.noise_error, None, None, None, (FAINT, B0))
    return ScannerEstimate(level, fit.noise_error, lost, blur, decay, tuple(_warnings(lost, blur, decay)))


def _not_negative(fit: "_Fit", effects: Tensor, noise: Tensor) -> "tuple[_Fit, list[float]]":
    """Leave out blur or decay where it is negative, and return the new fit and all effects, those left out as 0."""
    possible = [True, *(fit.effects[1:] >= 0).tolist()]
    if not all(possible):
        fit = _fit(fit.spectra, effects[possible], noise)
    values = iter(fit.effects.tolist())
    return fit, [next(values) if kept else 0.0 for kept in possible]


def _width(square: float, error: float) -> Estimated:
    """Return the width of the blur from that of its power, (2 pi s)^2."""
    low, value, high = (
        FWHM_PER_STD * math.sqrt(max(number, 0)) / (2 * math.pi) for number in (square - error, square, square + error)
    )
    return Estimated(value, (high - low) / 2)


def _warnings(loss: Estimated, blur: Estimated | None, decay: Estimated | None) -> Iterator[str]:
    if blur is None:
        yield "blur cannot be distinguished from a smooth object: a reference of such objects at high field is needed"
    elif not blur.found:
        yield f"no blur found: {blur} mm"
    if decay is None:
        yield "T2* decay about the echo needs images of such objects at high field to be distinguished from the object"
    elif not decay.found:
        yield f"no T2* decay about the echo found: {decay} 1/s"
    if abs(loss.value) > N_STD * loss.standard_error:
        yield (
            f"the signal is not symmetric about the echo, it decays at {loss} 1/s through the readout: by T2* where"
            " there is no refocused echo in its middle, or a B0 gradient or the object's phase shifts it"
        )
    yield B0


@dataclass(frozen=True, eq=False)
class _Powers:
    """Samples of k-space in one row."""

    measured: Tensor  # their powers
    of_slice: Tensor  # 1 where one belongs to a slice [slice, sample]
    log_power: Tensor  # that of the object, up to a constant
    ratios: Tensor  # power of each object of the reference over it, up to a factor [object, sample]
    y: Tensor  # their row
    x: Tensor  # their column

    @classmethod
    def of(cls, kspace: Tensor, used: Tensor, log_powers: Tensor, ratios: Tensor) -> "_Powers":
        """Collect the samples of slices that are used; what is exactly zero was filled in."""
        power = kspace.abs().square().double()
        index, _, y, x = (used & (power > 0)).nonzero(as_tuple=True)
        of_slice = (index == torch.arange(len(kspace))[:, None]).double()
        return cls(power[index, 0, y, x], of_slice, log_powers.mean(0)[y, x], ratios[:, y, x], y, x)


@dataclass(frozen=True, eq=False)
class _Fit:
    """Parameters of largest likelihood."""

    effects: Tensor  # what the effects are multiplied by
    noise: Tensor  # power of the noise of each slice
    inverse: Tensor  # inverse of the Fisher information, of effects, sizes and noise
    slopes: Tensor  # derivatives of the logarithm of the power [parameter, sample]
    signal: Tensor  # share of the signal in the power [sample]
    spectra: _Powers  # what was fitted

    @property
    def covariance(self) -> Tensor:
        """Of the effects, from the data's fluctuation."""
        return self.inverse[: len(self.effects), : len(self.effects)]

    @property
    def noise_error(self) -> float:
        """Relative standard error of the noise's standard deviation."""
        return float(self.inverse.diagonal()[-len(self.noise) :].mean().sqrt() / 2)

    @property
    def n_signal(self) -> float:
        """Effective number of samples with signal, each weighted by the square of its share."""
        return float(self.signal.square().sum())

    @property
    def moved(self) -> Tensor:
        """By how much each object of the reference would change the effects, to first order [object, effect]."""
        share = self.signal.square() / self.n_signal
        ratios = self.spectra.ratios / (self.spectra.ratios @ share)[:, None]
        return (self.signal * (ratios - 1)) @ self.slopes.mT @ self.inverse[:, : len(self.effects)]

    @property
    def scatter(self) -> Tensor:
        """Covariance of the effects that comes from how objects differ."""
        apart = self.moved - self.moved.mean(0)
        return apart.mT @ apart / (len(apart) - 1)


@dataclass(frozen=True, eq=False)
class _Model:
    """Power of each sample, given effects, the logarithms of the object's size in each slice, and of the noise."""

    spectra: _Powers  # the samples
    columns: Tensor  # what effects and sizes multiply [parameter, sample]

    def power(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the power, and the share of the signal in it."""
        n = len(self.columns)
        signal = (self.spectra.log_power + values[:n] @ self.columns).clamp(max=MAX_LOG).exp()
        power = signal + values[n:].clamp(max=MAX_LOG).exp() @ self.spectra.of_slice
        return power, signal / power

    def loss(self, values: Tensor) -> float:
        """Return minus the logarithm of the likelihood."""
        power, _ = self.power(values)
        return float((power.log() + self.spectra.measured / power).sum())

    def derivatives(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient, uphill, and the derivatives of the power's logarithm [parameter, sample]."""
        power, signal = self.power(values)
        slopes = torch.cat([signal * self.columns, (1 - signal) * self.spectra.of_slice])
        return slopes @ (self.spectra.measured / power - 1), slopes


def _fit(spectra: _Powers, effects: Tensor, noise: Tensor) -> _Fit:
    """Maximise the likelihood by Fisher scoring within a trust region.

    Args:
        spectra: The samples.
        effects: What changes the logarithm of the object's power [effect, y, x].
        noise: Power of the noise of each slice to start from.
    """
    of_slice, n = spectra.of_slice, len(effects)
    model = _Model(spectra, torch.cat([effects[:, spectra.y, spectra.x], of_slice]))
    excess = (of_slice @ spectra.measured - noise * of_slice.sum(1)).clamp(min=noise)
    size = (excess / (of_slice @ spectra.log_power.exp())).log()
    values = torch.cat([size.new_zeros(n), size, noise.log()])
    # first with the noise held, or a spectrum that starts too strong would take it all
    values = _most_likely(model, _most_likely(model, values, n + len(noise)), len(values))
    _, slopes = model.derivatives(values)
    _, signal = model.power(values)
    inverse = torch.linalg.pinv(slopes @ slopes.mT, hermitian=True)
    fit = _Fit(values[:n], values[n + len(noise) :].exp(), inverse, slopes, signal, spectra)
    return replace(fit, effects=fit.effects - fit.moved.mean(0))


def _most_likely(model: _Model, start: Tensor, n_free: int) -> Tensor:
    """Return the values of largest likelihood, of which only the first ``n_free`` change, by a trust-region method.

    The Fisher information stands for the Hessian matrix: it has no negative eigenvalue and needs no second derivative.
    """

    def whole(free: np.ndarray) -> Tensor:
        return torch.cat([torch.from_numpy(free), start[n_free:]])

    def information(free: np.ndarray) -> np.ndarray:
        slopes = model.derivatives(whole(free))[1][:n_free]
        return (slopes @ slopes.mT).numpy()

    found = optimize.minimize(
        lambda free: model.loss(whole(free)),
        start[:n_free].numpy(),
        jac=lambda free: -model.derivatives(whole(free))[0][:n_free].numpy(),
        hess=information,
        method="trust-exact",
        options={"gtol": TOLERANCE},
    )
    return whole(found.x)


def _effects(shape: tuple[int, int], pixel_size: tuple[float, float], axis: int, dwell_s: float) -> Tensor:
    """Return what loss, blur and decay multiply in the logarithm of the power [effect, y, x]."""
    y, x = frequencies(shape, pixel_size)
    t = (torch.arange(shape[axis]).double() - shape[axis] // 2) * dwell_s
    t = (t[:, None] if axis == 0 else t).expand(shape)
    return torch.stack([-t, -(y.square() + x.square()), -t.abs()])

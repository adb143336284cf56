"""Settings that no noise process, loss or prior can have are named."""

import math
from functools import partial

import torch

from lightning_mri.diffusion import DDPM, EDM, VE, VP, DenoisingScoreMatching, NetworkPrior, build
from lightning_mri.models import LightUNet
from tests.builders import refusals, wrong

NAN = math.nan


def prior() -> NetworkPrior:
    return NetworkPrior(LightUNet(widths=(8,)), EDM())


def denoise_image(x: torch.Tensor) -> object:
    return prior().denoise(x, 0.3)


def denoise(label: int | torch.Tensor | None, sigma: float | torch.Tensor = 0.3) -> object:
    return prior().denoise(torch.zeros(2, 8, 8, dtype=torch.complex64), sigma, label)


test_what_breaks_a_rule_is_named = refusals(
    *wrong(DDPM, "0 < beta_min < beta_max < 1", beta_min=0.0, beta_max=1.0, n_times=1),
    *wrong(DDPM, "interpolate must be True or False: got 'no'", interpolate="no"),
    *wrong(EDM, "0 < sigma_min < sigma_max", sigma_data=0, sigma_min=90, p_std=-1),
    *wrong(VE, "0 < sigma_min < sigma_max", sigma_data=0, sigma_min=400, t_min=1),
    *wrong(VP, "0 < beta_min < beta_max", beta_min=0, beta_max=0.05, t_min=0, n_times=1),
    *wrong(EDM, "and finite p_mean: got", p_mean=NAN, p_std=NAN, rho=NAN, sigma_max=NAN),
    *((partial(kind, sigma_data=NAN), "sigma_data") for kind in (DDPM, EDM, VE, VP)),
    (lambda: DenoisingScoreMatching(-0.1), r"label_dropout must be in \[0, 1\]: got"),
    (lambda: DenoisingScoreMatching(1.5), r"label_dropout must be in \[0, 1\]: got"),
    (lambda: denoise(-1), "label must be 0 ... 10, the last for none: got -1"),
    (lambda: denoise(None, -0.1), r"sigma must not be negative: got -0\.1"),
    (lambda: denoise(None, torch.tensor([0.5, -1.0])), r"sigma must not be negative: got \[0\.5, -1\.0\]"),
    (lambda: denoise(11), "label must be 0 ... 10, the last for none: got 11"),
    (lambda: denoise(torch.tensor([3, 11])), r"label must be 0 ... 10, the last for none: got \[3, 11\]"),
    (lambda: denoise(torch.tensor(-1)), "label must be 0 ... 10, the last for none: got -1"),
    *wrong(denoise, "label must be one of T1w, .*, spare-4: got 'banana'", label="banana"),
    *wrong(denoise, "label must be a number, for 'FLAIR' 4", label="FLAIR"),
    (
        lambda: prior().denoise(torch.zeros(8, dtype=torch.complex64), 0.3),
        r"x must be complex \[..., y, x\]: got .* \(8,\)",
    ),
    *wrong(denoise_image, r"x must be complex \[..., y, x\]: got torch.float32 \(8, 8\)", x=torch.zeros(8, 8)),
    *wrong(denoise_image, r"x must be complex .*: got .* \(8,\)", x=torch.zeros(8, dtype=torch.complex64)),
    (lambda: NetworkPrior(LightUNet((8,)), EDM(), labels=("T1w",)), "as many as the network's: got 1 and 10"),
    (lambda: build({"class": "VE", "arguments": {"beta": 3}}), "VE must take the arguments in its .*beta"),
    (lambda: build({"class": "NoiseProcess", "arguments": {}}), "must be one of DDPM, EDM, VE, VP: got"),
    (lambda: build({"class": "os.system", "arguments": {}}), "must be one of DDPM, EDM, VE, VP: got"),
    (lambda: build({"class": None, "arguments": {}}), "must be one of DDPM, EDM, VE, VP: got"),
)

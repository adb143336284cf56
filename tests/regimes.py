"""The four low-field regimes of lightning_mri/configs/mouse/regimes, for tests of what each effect does."""

from dataclasses import replace

from lightning_mri.physics import LowField

NOISE = LowField()
NOISE_BLUR = replace(NOISE, fwhm_mm=0.4)
NOISE_BLUR_T2STAR = replace(NOISE_BLUR, t2star_s=0.008)
NOISE_BLUR_T2STAR_B0 = replace(NOISE_BLUR_T2STAR, b0_hz=40.0)

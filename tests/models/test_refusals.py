"""Networks that cannot be are named."""

import math

from lightning_mri.models import LightUNet, Style, UNet, build
from tests.builders import refusals, wrong

test_what_breaks_a_rule_is_named = refusals(
    *wrong(LightUNet, "widths must name one level or more, and every count", widths=(), stem=0, n_blocks=0),
    *wrong(UNet, "multipliers must name one level or more", multipliers=(), width=30, n_blocks=0),
    *wrong(Style, "must be (one of convolution, nearest, bilinear|positive)", resampling="cubic", eps=0.0),
    *wrong(Style, "must be positive", eps=math.nan, shortcut_scale=math.nan),
    *wrong(Style, "labels_join_noise must be True or False: got 'no'", labels_join_noise="no"),
    *wrong(Style, "must be positive", head_width=0, group_width=0, n_heads=0),
    (lambda: Style(head_width=-1), "head_width and n_heads must be positive: got .*head_width=-1"),
    (lambda: Style(head_width=8, n_heads=2), "head_width or n_heads must be given, not both: got 8 and 2"),
    (lambda: LightUNet(widths=(8,), n_labels=-1), "n_labels must not be negative: got -1"),
    (lambda: build({"class": "LightUNet", "arguments": {"depth": 3}}), "LightUNet must take the arg.*depth"),
    (lambda: build({"class": "os.system", "arguments": {}}), "network must be one of .*LightUNet.*UNet.*: got"),
    (lambda: build({"class": "DenoisingNetwork", "arguments": {}}), "network must be one of .*: got"),
    (lambda: build({"class": None, "arguments": {}}), "network must be one of .*: got"),
)

"""What no tensor tells is said."""

import pytest

from lightning_mri.diffusion import EDM, VE
from lightning_mri.weights import EDMFamily, GuidedDiffusion, PublishedLayout, ScoreSDE


@pytest.mark.parametrize(
    ("layout", "words"),
    [
        (ScoreSDE(), ["variance-preserving", "continuous time", "centred at 0", "SiLU"]),
        (ScoreSDE(discrete=True), ["in discrete steps"]),
        (EDMFamily(), ["preconditioning of EDM with sigma_data 0.5", "nearest"]),
        (EDMFamily(EDM(sigma_data=1.0), bilinear=True), ["EDM with sigma_data 1,", "bilinear"]),
        (EDMFamily(VE()), ["preconditioning of VE"]),
        (GuidedDiffusion(), ["1000 steps", "linear schedule", "heads of 64 channels", "split after heads"]),
        (GuidedDiffusion(head_width=None), ["a single attention head"]),
        (GuidedDiffusion(n_heads=4, new_attention_order=True), ["4 attention heads", "split before heads"]),
    ],
    ids=str,
)
def test_every_layout_says_what_it_assumes(layout: PublishedLayout, words: list[str]) -> None:
    assert [word for word in words if word not in layout.assumed] == []

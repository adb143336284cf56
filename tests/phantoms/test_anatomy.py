"""A subject's anatomy as a function of space."""

import torch

from lightning_mri.phantoms import Geometry
from lightning_mri.phantoms.anatomy import Anatomy
from lightning_mri.phantoms.tissues import Tissue

LESIONS = [Tissue.LESION, Tissue.GLIOSIS]
SMALL = {"shape": (70, 58), "pixel_size": (3.2, 3.6)}


def test_fractions_fill_a_point_at_most_once() -> None:
    fractions = Anatomy(3, lesions=True).compose(Geometry(**SMALL, offset_mm=-25).plane()).fractions
    assert fractions.min() >= 0
    assert fractions.sum(0).max() < 1 + 1e-4


def test_a_head_is_brain_within_fluid_within_bone_within_fat_within_skin_within_air() -> None:
    composition = Anatomy(1, lesions=False).compose(Geometry(**SMALL, offset_mm=20).plane())
    mean_depth = [
        float((composition.depth * share).sum() / share.sum())
        for share in composition.fractions[[Tissue.WHITE, Tissue.GREY, Tissue.BONE, Tissue.FAT, Tissue.SKIN]]
    ]
    assert mean_depth == sorted(mean_depth, reverse=True)
    assert composition.fractions[:, 0, 0].sum() < 1e-3


def test_planes_agree_where_they_cross() -> None:
    anatomy = Anatomy(5, lesions=True)
    axial = anatomy.compose(Geometry(**SMALL, offset_mm=0).plane())
    coronal = anatomy.compose(Geometry(**SMALL, offset_mm=0, orientation="coronal").plane())
    across = axial.fractions[:, 70], coronal.fractions[:, 70]  # the line y = z = 0
    torch.testing.assert_close(axial.depth[70], coronal.depth[70], atol=0.3, rtol=0)  # mm
    assert (across[0] - across[1]).abs().mean() < 0.01
    assert across[0][Tissue.WHITE].sum() > 10


def test_the_lateral_ventricle_is_fluid_and_the_eye_is_vitreous() -> None:
    shares = torch.zeros(len(Tissue))
    for seed in range(4):
        composition = Anatomy(seed, lesions=False).compose(Geometry(**SMALL, offset_mm=8).plane())
        deep = composition.depth > 40
        shares += (composition.fractions * deep).sum((1, 2)) / deep.sum()
    assert shares[Tissue.FLUID] / 4 > 0.03
    eyes = Anatomy(1).compose(Geometry(**SMALL, offset_mm=-44).plane()).fractions[Tissue.VITREOUS]
    assert eyes[:, :58].max() > 0.9
    assert eyes[:, 58:].max() > 0.9


def test_lesions_are_there_if_and_only_if_wanted() -> None:
    planes = [Geometry(**SMALL, offset_mm=offset).plane() for offset in (0, 15, 30)]
    amount = {
        wanted: sum(float(Anatomy(8, wanted).compose(p).fractions[LESIONS].sum()) for p in planes)
        for wanted in (True, False)
    }
    assert amount[False] == 0
    assert amount[True] > 5


def test_one_subject_in_four_has_lesions_unless_told() -> None:
    assert 30 < sum(Anatomy(seed).has_lesions for seed in range(200)) < 70


def test_subjects_differ_and_a_subject_stays_itself() -> None:
    plane = Geometry(**SMALL).plane()
    first, again, other = (Anatomy(seed).compose(plane).fractions for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert (first - other).abs().mean() > 0.01

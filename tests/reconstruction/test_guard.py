import pytest
import torch

from lightning_mri.physics import GaussianLikelihood, sense
from lightning_mri.reconstruction import Check, Guard, check


def likelihood(measured) -> GaussianLikelihood:
    noise = torch.full((3,), measured.noise_std)
    return GaussianLikelihood(sense(measured.maps[:, None], measured.mask), measured.kspace, noise)


def test_true_image_leaves_the_noise(measured) -> None:
    checked = check(likelihood(measured), measured.image)
    assert checked.noise_ratio.tolist() == pytest.approx([1, 1, 1], rel=0.03)
    assert Guard().doubts(checked, range(3)) == ()


def test_image_of_zeros_leaves_the_whole_signal(measured) -> None:
    checked = check(likelihood(measured), 0 * measured.image)
    assert checked.signal_ratio.tolist() == pytest.approx([1, 1, 1])


def test_samples_are_averaged_by_power(measured) -> None:
    both = check(likelihood(measured), torch.stack([measured.image, 0 * measured.image]))
    one, zero = (check(likelihood(measured), image).noise_ratio for image in (measured.image, 0 * measured.image))
    torch.testing.assert_close(both.noise_ratio, ((one**2 + zero**2) / 2).sqrt())


def test_the_doubted_slice_is_named_with_its_numbers(measured) -> None:
    image = measured.image.clone()
    image[1] = image[1].roll(2, -2)  # the head moved
    (sentence,) = Guard().doubts(check(likelihood(measured), image), [10, 11, 12])
    assert sentence.startswith("slice 11: unexplained are ")


def test_both_limits_must_be_passed() -> None:
    checked = Check(torch.tensor([5.0, 2.0, 5.0]), torch.tensor([0.05, 0.5, 0.2]))
    assert len(Guard().doubts(checked, range(3))) == 1


def test_an_image_that_is_not_finite_is_doubted(measured) -> None:
    assert len(Guard().doubts(check(likelihood(measured), measured.image * float("nan")), range(3))) == 3

import torch

from lightning_mri.scaling import Scaling


def test_the_scale_is_the_percentile_of_the_magnitude() -> None:
    image = torch.arange(1, 101).flip(0).reshape(1, 20, 5) * 1j
    assert [Scaling(p).of(image).item() for p in (99.0, 50.0, 0.1)] == [99, 50, 1]

import pytest

from lightning_mri.reconstruction import PRESETS, choose_sampler
from lightning_mri.sampling import DDS, HQS


def test_each_preset_doubles_the_work_of_the_one_before() -> None:
    assert {name: sampler.nfe for name, sampler in PRESETS.items()} == {"preview": 20, "standard": 40, "quality": 80}


def test_what_is_named_or_given_is_used() -> None:
    assert choose_sampler("quality", None) is PRESETS["quality"]
    assert choose_sampler(None, DDS(n_steps=3)) == DDS(n_steps=3)
    assert choose_sampler(None, None) == HQS()


def test_name_and_sampler_together_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"must not both be given: got preview and HQS\(n_steps=7"):
        choose_sampler("preview", HQS(n_steps=7))

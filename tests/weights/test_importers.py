"""Published checkpoints become priors that say the same.

``published/*.txt`` list names and shapes of the tensors in small networks of the published code, in its own order.
A test fills them with numbers of a frozen random stream (`state`); the outputs expected here are those of the
published code with these very numbers, recorded once.
"""

import pickle
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from lightning_mri.diffusion import DDPM, EDM, VE, VP
from lightning_mri.models import ADM, DDPMPP, UNet
from lightning_mri.models import DDPM as DDPM_STYLE
from lightning_mri.weights import (
    EDMFamily,
    GuidedDiffusion,
    PublishedLayout,
    ScoreSDE,
    import_network,
    import_prior,
    load_prior,
    save_prior,
)
from tests.builders import hostile

PUBLISHED = Path(__file__).parent / "published"


def numbers(position: int, *shape: int) -> Tensor:
    drawn = np.random.RandomState(position).standard_normal(shape)
    return torch.from_numpy(drawn * (0.5 if len(shape) < 2 else np.prod(shape[1:]) ** -0.5)).float()


def state(name: str) -> dict[str, Tensor]:
    return dict(filled(name))


@cache
def filled(name: str) -> dict[str, Tensor]:
    """Return the published tensors, filled; resampling filters are the mean of four, as the code makes them."""
    tensors = {}
    for position, line in enumerate((PUBLISHED / f"{name}.txt").read_text().splitlines()):
        key, *shape = line.split()
        fixed = torch.full((1, 1, 2, 2), 0.25) if key.endswith("resample_filter") else None
        tensors[key] = numbers(position, *map(int, shape)) if fixed is None else fixed
    return tensors


def score_sde(name: str = "score_sde") -> dict[str, Any]:
    """Return score_sde's checkpoint: averages without names, and a model that must not be mistaken for them."""
    average = state(name)
    return {
        "optimizer": {"state": {}, "param_groups": [{"lr": 2e-4}]},
        "model": {f"module.{key}": torch.zeros_like(value) for key, value in average.items()},
        "ema": {
            "decay": 0.999,
            "num_updates": 7,
            "shadow_params": [value for key, value in average.items() if key != "sigmas"],
        },
        "step": 7,
    }


def inverse_bench() -> dict[str, Any]:
    average = state("inverse_bench")
    return {"net": {key: torch.zeros_like(value) for key, value in average.items()}, "ema": average, "scheduler": {}}


FILES: dict[str, tuple[PublishedLayout, Callable[[], dict[str, Any]]]] = {
    "score_sde": (ScoreSDE(), score_sde),
    "song": (EDMFamily(), lambda: state("song")),
    "inverse_bench": (EDMFamily(), inverse_bench),
    "guided_diffusion": (GuidedDiffusion(head_width=32), lambda: state("guided_diffusion")),
}
HEADS: tuple[dict[str, Any], ...] = ({"head_width": 32}, {"n_heads": 2}, {"n_heads": 4})
every_layout = pytest.mark.parametrize("name", FILES)


def write(folder: Path, content: Any, name: str = "published.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


RECORDED = {
    "DDPM": "-0.12866 -0.33446 0.17308 0.02642 -0.06249 -0.00424 0.99092 1.12803 1.33092 1.45506 1.3533 1.22598",
    "DDPM++ 1": "-0.58373 -0.09629 -1.16853 -0.77762 -1.01151 -0.6862 0.69221 -0.1816 0.47134 0.23872 0.11029 -0.54888",
    "DDPM++ 3": "-0.53671 -0.18545 -1.14701 -0.9183 -0.9637 -0.86752 0.73114 -0.08778 0.49311 0.10342 0.18351 -0.58198",
    "ADM of EDM": (
        "-0.2456 -0.53657 -0.03434 -0.48195 -0.07198 -0.61951 -0.02483 -0.13931 -0.15541 -0.32909 -0.05556 -0.37001"
    ),
    "ADM of EDM, 96": (  # levels of 96 and 160 channels: one head of 96, two of 80
        "-0.6978 -1.11375 -0.63082 -0.93465 -0.7049 -1.36152 -0.48354 -0.12448 -0.21311 0.71823 -0.09013 0.33848"
    ),
    "ADM": "-0.40945 -0.78925 -0.27157 -0.63621 -0.38509 -0.35953 0.01201 0.28619 0.09829 0.60336 0.13148 0.81757",
    "ADM, new": "-0.41484 -0.86003 -0.28568 -0.61318 -0.36088 -0.31931 0.04402 0.24878 0.10346 0.59818 0.16197 0.8724",
}


@pytest.mark.parametrize(
    ("case", "name", "layout", "code", "label"),
    [
        ("DDPM", "score_sde", ScoreSDE(), 417.5, 0),
        ("DDPM++ 1", "song", EDMFamily(), -0.7, 1),
        ("DDPM++ 3", "song", EDMFamily(), -0.7, 3),
        ("ADM of EDM", "inverse_bench", EDMFamily(), -0.7, 0),
        ("ADM of EDM, 96", "adm_96", EDMFamily(), -0.7, 0),
        ("ADM", "guided_diffusion", GuidedDiffusion(head_width=32), 417.5, 2),
        ("ADM, new", "guided_diffusion", GuidedDiffusion(head_width=32, new_attention_order=True), 417.5, 2),
    ],
    ids=RECORDED,
)
def test_an_imported_network_says_what_the_published_code_says(
    tmp_path: Path, case: str, name: str, layout: PublishedLayout, code: float, label: int
) -> None:
    content = FILES[name][1]() if name in FILES else state(name)
    net, _ = import_network(write(tmp_path, content), layout)
    x = numbers(999, 1, 2, 24, 16) * (2 * 24 * 16) ** 0.5
    with torch.inference_mode():
        out = net.eval()(x, torch.tensor([code]), torch.tensor([label]))
    recorded = torch.tensor([float(number) for number in RECORDED[case].split()])
    torch.testing.assert_close(out[:, :, ::11, ::9].flatten(), recorded, atol=3e-5, rtol=0)


@every_layout
def test_architecture_process_and_history_are_told(tmp_path: Path, name: str) -> None:
    layout, content = FILES[name]
    prior = import_prior(write(tmp_path, content()), layout)
    families = {"score_sde": DDPM_STYLE, "song": DDPMPP}
    assert isinstance(prior.net, UNet)
    assert prior.net.attention_levels == (1,)
    assert prior.net.style.resampling == families.get(name, ADM).resampling
    assert prior.process == {"score_sde": VP(), "guided_diffusion": DDPM()}.get(name, EDM())
    assert prior.labels == (("class-0", "class-1", "class-2") if prior.net.n_labels else ())
    entry = prior.card["history"][0]
    assert (entry["phase"], entry["file"], entry["layout"]) == ("import", "published.pt", type(layout).__name__)
    n_filters = sum(key.endswith("resample_filter") for key in state(name))
    assert sum(len(names) for names in entry["left_out"].values()) == n_filters + (name in ("song", "score_sde"))
    assert entry["assumed"] == layout.assumed


def test_what_no_tensor_tells_is_an_argument(tmp_path: Path) -> None:
    path = write(tmp_path, state("song"))
    assert import_prior(path, EDMFamily(VE(sigma_min=0.02))).process == VE(sigma_min=0.02)
    assert import_network(path, EDMFamily(bilinear=True))[0].style.resampling == "bilinear"


def test_heads_are_given_by_their_width_or_their_number_and_kept_in_the_history(tmp_path: Path) -> None:
    """The published network has 64 channels where it attends: two heads of 32, of which the file says nothing."""
    path = write(tmp_path, state("guided_diffusion"))
    x = torch.complex(numbers(1, 9, 14), numbers(2, 9, 14))
    wide, two, four = (import_prior(path, GuidedDiffusion(**given)) for given in HEADS)
    assert torch.equal(two.denoise(x, 0.3), wide.denoise(x, 0.3))
    assert not torch.equal(four.denoise(x, 0.3), wide.denoise(x, 0.3))
    entries = [prior.card["history"][0] for prior in (wide, two, four)]
    assert [(entry["head_width"], entry["n_heads"]) for entry in entries] == [(32, None), (None, 2), (None, 4)]
    for layout, words in (
        (GuidedDiffusion(head_width=-1), "must be positive"),
        (GuidedDiffusion(head_width=128), "head_width must divide the 64 channels .*: got 128"),
        (GuidedDiffusion(n_heads=5), "n_heads must divide the 64 channels .*: got 5"),
    ):
        with pytest.raises(ValueError, match=rf"published\.pt: .*{words}"):
            import_prior(path, layout)


def test_spare_labels_start_as_no_label(tmp_path: Path) -> None:
    labels = ("T1w", "T2w", "PD", "spare-1")
    prior = import_prior(write(tmp_path, state("song")), EDMFamily(), labels)
    bare = import_prior(tmp_path / "published.pt", EDMFamily())
    x = torch.complex(numbers(1, 9, 14), numbers(2, 9, 14))
    assert prior.labels == labels
    assert torch.equal(prior.denoise(x, 0.3, 3), bare.denoise(x, 0.3))
    assert torch.equal(prior.denoise(x, 0.3, 1), bare.denoise(x, 0.3, 1))
    assert (prior.denoise(x, 0.3, 1) - prior.denoise(x, 0.3)).abs().max() > 1e-3
    assert prior.add_label("FLAIR") == 3
    with pytest.raises(ValueError, match=r"labels must name the 3 of .*: got T1w"):
        import_prior(tmp_path / "published.pt", EDMFamily(), ("T1w",))


def test_a_network_without_labels_gets_room_for_them(tmp_path: Path) -> None:
    prior = import_prior(write(tmp_path, score_sde()), ScoreSDE(), ("T2w", "spare-1"))
    x = torch.complex(numbers(1, 9, 14), numbers(2, 9, 14))
    assert torch.equal(prior.denoise(x, 0.3, 0), prior.denoise(x, 0.3))


@every_layout
def test_an_imported_prior_survives_our_own_file(tmp_path: Path, name: str) -> None:
    layout, content = FILES[name]
    prior = import_prior(write(tmp_path, content()), layout)
    save_prior(prior, tmp_path / "ours.safetensors", torch.float32)
    loaded = load_prior(tmp_path / "ours.safetensors")
    x = torch.complex(numbers(1, 33, 47), numbers(2, 33, 47))
    assert loaded.describe() == prior.describe()
    assert torch.equal(loaded.denoise(x, 0.3), prior.denoise(x, 0.3))


@pytest.mark.parametrize("wrapper", ["model.", ""])
def test_safetensors_and_wrappers_are_read_as_well(tmp_path: Path, wrapper: str) -> None:
    plain = {f"{wrapper}{key}": value for key, value in state("song").items()}
    safetensors.torch.save_file(plain, tmp_path / "song.safetensors")
    net, left_out = import_network(tmp_path / "song.safetensors", EDMFamily())
    assert torch.equal(net.enter.weight, state("song")["enc.16x16_conv.weight"])
    assert "map_augment.weight" in left_out


@every_layout
def test_every_missing_extra_and_misshaped_tensor_is_listed(tmp_path: Path, name: str) -> None:
    layout, content = FILES[name]
    whole = content()
    tensors = {key: value for key, value in layout.state(whole).items() if key != "sigmas"}
    biases = [key for key in tensors if key.endswith(("bias", ".b"))]
    missing, misshaped = biases[-2], biases[-5]
    tensors[misshaped], tensors["surplus.weight"] = torch.zeros(7), torch.zeros(2, 3)
    del tensors[missing]
    if name == "score_sde":
        whole["model"], whole["ema"]["shadow_params"] = tensors, list(tensors.values())
    elif name == "inverse_bench":
        whole["ema"] = tensors
    else:
        whole = tensors
    with pytest.raises(ValueError, match=f"weights must be exactly those of {type(layout).__name__}: ") as caught:
        import_network(write(tmp_path, whole), layout)
    faults = str(caught.value).split(": ", 2)[2].split("; ")
    assert f"missing {missing}" in faults
    assert "extra surplus.weight" in faults
    assert f"{misshaped} is (7,), which does not fit" in faults
    assert len([fault for fault in faults if not fault.startswith(tuple(biases))]) == 2


def test_averages_that_are_not_those_of_the_model_are_named(tmp_path: Path) -> None:
    whole = score_sde()
    whole["ema"]["shadow_params"][3] = torch.zeros(5)
    with pytest.raises(ValueError, match=r"order: number 3 is \(5,\) where all_modules\.1\.bias is \(128,\)"):
        import_network(write(tmp_path, whole), ScoreSDE())
    whole["ema"]["shadow_params"].pop()
    with pytest.raises(ValueError, match="'ema' must hold as many tensors as 'model': got 133 and 134"):
        import_network(write(tmp_path, whole), ScoreSDE())


def test_a_filter_that_is_not_the_mean_of_four_is_not_left_out(tmp_path: Path) -> None:
    tensors = state("song")
    name = next(key for key in tensors if key.endswith("resample_filter"))
    tensors[name] = torch.full((1, 1, 4, 4), 1 / 16)
    with pytest.raises(ValueError, match=f"extra {name}"):
        import_network(write(tmp_path, tensors), EDMFamily())


def test_one_channel_makes_a_network_but_no_prior_of_complex_images(tmp_path: Path) -> None:
    whole = score_sde()
    names = [key.removeprefix("module.") for key in whole["model"] if key != "module.sigmas"]
    for name in ("all_modules.2.weight", names[-2], names[-1]):
        position = names.index(name)
        value = whole["ema"]["shadow_params"][position]
        value = value[:, :1] if name == "all_modules.2.weight" else value[:1]
        whole["ema"]["shadow_params"][position] = whole["model"][f"module.{name}"] = value.clone()
    assert import_network(write(tmp_path, whole), ScoreSDE())[0].channels == 1
    with pytest.raises(ValueError, match="must be a network of 2 channels, real and imaginary part: got 1"):
        import_prior(tmp_path / "published.pt", ScoreSDE())


@pytest.mark.parametrize(
    ("layout", "content", "message"),
    [
        (ScoreSDE(), {"model": {}}, "must hold 'model' and 'ema'"),
        (ScoreSDE(), {"model": {"a": torch.ones(1)}, "ema": {"shadow_params": 3}}, "'shadow_params': got int"),
        (ScoreSDE(), {"model": [], "ema": {}}, "'model' must map names to tensors: got list"),
        (EDMFamily(), {"net": {}}, "'ema' of InverseBench must map names to tensors"),
        (EDMFamily(), {"ema": {"a": 1}}, "'ema' of InverseBench must map names to tensors"),
        (EDMFamily(), {"enc.weight": torch.ones(1)}, "names must be those of SongUNet or DhariwalUNet"),
        (EDMFamily(), {"map_noise.freqs": torch.ones(1)}, "got NCSN"),
        (GuidedDiffusion(), {"out.weight": torch.ones(1)}, "names must be those of guided-diffusion"),
        (GuidedDiffusion(), {"input_blocks.2.0.op.weight": torch.ones(1)}, "got strided convolutions"),
        (GuidedDiffusion(), [1, 2], "must map names to tensors: got list"),
    ],
)
def test_a_file_that_is_laid_out_otherwise_is_named(
    tmp_path: Path, layout: PublishedLayout, content: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"published\.pt: .*{message}"):
        import_prior(write(tmp_path, content), layout)


def test_another_layouts_file_is_refused_by_all_others(tmp_path: Path) -> None:
    for layout, content in FILES.values():
        path = write(tmp_path, content())
        for other in (ScoreSDE(), EDMFamily(), GuidedDiffusion(head_width=32)):
            if type(other) is not type(layout):
                with pytest.raises(ValueError, match=r"published\.pt: "):
                    import_network(path, other)


@pytest.mark.parametrize("layout", [layout for layout, _ in FILES.values()], ids=list(FILES))
@pytest.mark.parametrize("place", ["whole", "nested", "bare pickle", "snapshot.pkl", "zip named safetensors"])
def test_a_hostile_file_is_refused_and_nothing_runs(tmp_path: Path, layout: PublishedLayout, place: str) -> None:
    trap = tmp_path / "trap"
    for payload in hostile(trap).values():
        path = tmp_path / "hostile.pt"
        if place == "whole":
            torch.save(payload, path)
        elif place == "nested":
            torch.save({"model": {}, "ema": {"shadow_params": [torch.ones(2), {"deep": payload}]}}, path)
        elif place == "bare pickle":
            path.write_bytes(pickle.dumps({"ema": payload}, protocol=2))
        elif place == "snapshot.pkl":
            path = tmp_path / place
            path.write_bytes(pickle.dumps({"ema": payload}))
        else:
            path = tmp_path / "hostile.safetensors"
            torch.save(payload, path)
        named = "must be a safetensors file" if path.suffix == ".safetensors" else "it asks for"
        with pytest.raises(ValueError, match=rf"{path.name}.*{named}"):
            import_prior(path, layout)
    assert not trap.exists()


def test_a_snapshot_says_how_to_convert_it(tmp_path: Path) -> None:
    (tmp_path / "network-snapshot-010000.pkl").write_bytes(pickle.dumps({"ema": EDM()}))
    with pytest.raises(ValueError, match=r"asks for lightning_mri\.diffusion\.edm\.EDM; .* write the state dict"):
        import_prior(tmp_path / "network-snapshot-010000.pkl", EDMFamily())


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04", bytes(range(256)) * 9])
def test_a_file_that_is_no_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "odd.pt").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "zip.pt", "w") as archive:
        archive.writestr("data.pkl", content)
    for name in ("odd.pt", "zip.pt"):
        with pytest.raises(ValueError, match=rf"{name} (must|was refused)"):
            import_network(tmp_path / name, ScoreSDE())

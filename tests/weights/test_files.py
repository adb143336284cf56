import contextlib
import json
import os
import pickle
import resource
import zipfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from lightning_mri.diffusion import EDM, VP, NetworkPrior
from lightning_mri.models import LightUNet, UNet
from lightning_mri.scaling import Scaling
from lightning_mri.tensors import complex_noise
from lightning_mri.weights import build_prior, files, load_prior, names, save_prior
from lightning_mri.weights.plain import read_plain
from tests.builders import hostile


def make_prior() -> NetworkPrior:
    net = LightUNet(widths=(8, 12), n_blocks=1, embedding=16, n_labels=3)
    card = {"name": "tiny", "history": [{"phase": "Pretrain", "steps": 3}]}
    prior = NetworkPrior(net, EDM(sigma_data=0.25), Scaling(98.0), ("T1w", "FLAIR", "spare-1"), card)
    generator = torch.Generator().manual_seed(0)
    for parameter in prior.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    return prior.eval()


def weights_of(prior: NetworkPrior) -> dict[str, Any]:
    """Return the weights by their names in a checkpoint."""
    return {f"prior.{name}": value for name, value in prior.state_dict().items()}


def write_checkpoint(path: Path, source: NetworkPrior, /, **changes: Any) -> Path:
    """Write what Lightning writes of a module with a prior."""
    checkpoint = {
        "epoch": 3,
        "global_step": 17,
        "pytorch-lightning_version": "2.6.0",
        "state_dict": {**weights_of(source), "reconstruction.weight": torch.ones(1)},
        "optimizer_states": [{"state": {0: {"step": torch.tensor(17.0)}}, "param_groups": [{"lr": 1e-4}]}],
        "prior": source.describe(),
    }
    torch.save({**checkpoint, **changes}, path)
    return path


def denoised(prior: NetworkPrior) -> Tensor:
    x = complex_noise((2, 9, 11), torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return prior.denoise(x, torch.tensor([0.1, 0.6]), torch.tensor([1, 3]))


def test_a_saved_prior_comes_back_whole_and_rounded_to_half_precision(tmp_path: Path) -> None:
    prior = make_prior()
    save_prior(prior, tmp_path / "tiny.safetensors")
    loaded = load_prior(tmp_path / "tiny.safetensors")
    assert loaded.describe() == prior.describe()
    for name, value in loaded.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, prior.state_dict()[name].half().float())
    torch.testing.assert_close(denoised(loaded), denoised(prior), atol=5e-3, rtol=5e-3)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_checkpoint_of_lightning_is_loaded_to_the_bit(tmp_path: Path) -> None:
    prior = make_prior()
    loaded = load_prior(str(write_checkpoint(tmp_path / "last.ckpt", prior)))
    assert loaded.describe() == prior.describe()
    assert torch.equal(denoised(loaded), denoised(prior))


def test_another_network_and_process_travel_as_well(tmp_path: Path) -> None:
    prior = NetworkPrior(UNet(8, (1, 2), 1, n_labels=0), VP(beta_max=15.0), labels=())
    save_prior(prior, tmp_path / "ddpm.safetensors")
    assert load_prior(tmp_path / "ddpm.safetensors").describe() == prior.describe()


def test_the_header_can_be_read_without_this_package(tmp_path: Path) -> None:
    save_prior(make_prior(), tmp_path / "tiny.safetensors")
    with (tmp_path / "tiny.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    description = json.loads(header["__metadata__"]["prior"])
    assert description["network"]["class"] == "LightUNet"
    assert description["labels"] == ["T1w", "FLAIR", "spare-1"]
    assert [header["net.enter.weight"][key] for key in ("dtype", "shape")] == ["F16", [8, 8, 3, 3]]


def test_equal_priors_give_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_prior(make_prior(), tmp_path / f"{name}.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(b"old")

    def fail(*_: Any) -> None:
        raise OSError(28, "no space left")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        save_prior(make_prior(), path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_stored_is_refused(tmp_path: Path) -> None:
    prior = make_prior()
    with pytest.raises(ValueError, match=r"path must end in .safetensors: got .*tiny.pt"):
        save_prior(prior, tmp_path / "tiny.pt")
    prior.card["when"] = {1, 2}
    with pytest.raises(ValueError, match="card must hold plain values"):
        save_prior(prior, tmp_path / "tiny.safetensors")
    prior.card.clear()
    prior.net.enter.bias.data[0] = 1e6
    with pytest.raises(ValueError, match=r"finite in 16 bits: got others in net.enter.bias"):
        save_prior(prior, tmp_path / "tiny.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_shipped_priors_are_known_by_name_and_others_by_their_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "SHIPPED", tmp_path)
    save_prior(make_prior(), tmp_path / "tiny.safetensors")
    save_prior(make_prior(), tmp_path / "brain.safetensors")
    assert names() == ("brain", "tiny")
    assert load_prior("tiny").card["name"] == "tiny"
    with pytest.raises(ValueError, match=r"prior must be one of brain, tiny, or a path .*: got 'brian'"):
        load_prior("brian")
    with pytest.raises(FileNotFoundError, match=r"prior .*none.ckpt must be a file"):
        load_prior(tmp_path / "none.ckpt")


@pytest.mark.parametrize("name", names())
def test_every_shipped_prior_loads_and_denoises(name: str) -> None:
    prior = load_prior(name)
    x = torch.zeros(1, 40, 56, dtype=torch.complex64)
    x[:, 10:30, 20:40] = 0.7
    noisy = x + 0.2 * complex_noise(x.shape, torch.Generator().manual_seed(0))
    with torch.inference_mode():
        error = (prior.denoise(noisy, 0.2) - x).norm() / (noisy - x).norm()
    assert error < 0.6


@pytest.mark.parametrize("payload", ["system", "eval", "path", "object"])
@pytest.mark.parametrize("place", ["prior", "state_dict", "hyper_parameters", "alone", "bare pickle"])
def test_a_hostile_pickle_is_refused_by_name_and_runs_nothing(tmp_path: Path, payload: str, place: str) -> None:
    trap, path = tmp_path / "trap", tmp_path / "hostile.ckpt"
    content = hostile(trap)[payload]
    if place == "bare pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    elif place == "alone":
        torch.save(content, path)
    else:
        write_checkpoint(path, make_prior(), **{place: content})
    with pytest.raises(ValueError, match=r"hostile.ckpt was refused, as it must hold plain data only: it asks"):
        load_prior(path)
    assert not trap.exists()


def test_a_pickle_of_the_published_code_is_refused_by_the_name_that_is_not_torch_s(tmp_path: Path) -> None:
    """Regression: EDM's `torch_utils` counted as torch's, and a harmless name was named."""
    asked = (b"torch._utils", b"_rebuild"), (b"torch_utils.persistence", b"_load"), (b"collections", b"OrderedDict")
    names = (b"".join(b"\x8c" + bytes([len(word)]) + word for word in pair) + b"\x93" for pair in asked)
    (tmp_path / "edm.pkl").write_bytes(b"\x80\x04" + b"0".join(names) + b".")
    with pytest.raises(ValueError, match=r"edm.pkl was refused, .*: it asks for torch_utils.persistence._load"):
        read_plain(tmp_path / "edm.pkl")


@pytest.mark.parametrize("n_bytes", [0, 1, 10, 200, 3000, -20, -1])
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_a_damaged_file_is_named(tmp_path: Path, n_bytes: int, suffix: str) -> None:
    whole = tmp_path / f"whole{suffix}"
    write_checkpoint(whole, make_prior()) if suffix == ".ckpt" else save_prior(make_prior(), whole)
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(whole.read_bytes()[:n_bytes])
    with pytest.raises(ValueError, match=f"cut{suffix} (must be|was refused)"):
        load_prior(path)


def test_names_in_an_archive_that_are_no_text_are_named(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "a.ckpt", make_prior())
    content = bytearray((tmp_path / "a.ckpt").read_bytes())
    entry = content.index(b"PK\x01\x02")  # of the archive's directory, whose names a flag says to be UTF-8
    content[entry + 9] |= 8
    content[entry + 46] = 0xAD
    (tmp_path / "a.ckpt").write_bytes(content)
    with pytest.raises(ValueError, match=r"a.ckpt must be a checkpoint that torch can read: it is damaged"):
        load_prior(tmp_path / "a.ckpt")


@pytest.mark.parametrize("content", [b"no checkpoint", b"\x80\x02}q\x00.", b"\x89PNG\r\n", bytes(range(256)) * 9])
def test_another_kind_of_file_is_named(tmp_path: Path, content: bytes) -> None:
    for suffix in (".ckpt", ".safetensors"):
        path = tmp_path / f"other{suffix}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=f"other{suffix} (must|was refused)"):
            load_prior(path)
    with zipfile.ZipFile(tmp_path / "zip.ckpt", "w") as archive:
        archive.writestr("data.pkl", content)
    with pytest.raises(ValueError, match=r"zip.ckpt (must|was refused)"):
        load_prior(tmp_path / "zip.ckpt")


def test_every_missing_extra_and_misshaped_weight_is_listed(tmp_path: Path) -> None:
    state = weights_of(make_prior())
    del state["prior.net.enter.bias"], state["prior.net.norm.weight"]
    state["prior.net.surplus"] = torch.ones(1)
    state["prior.net.down.0.bias"] = torch.ones(5)
    path = write_checkpoint(tmp_path / "odd.ckpt", make_prior(), state_dict=state)
    with pytest.raises(ValueError, match=r"odd.ckpt: weights must be exactly those of LightUNet: ") as caught:
        load_prior(path)
    assert str(caught.value).split(": ", 2)[2].split("; ") == [
        "missing net.enter.bias",
        "missing net.norm.weight",
        "extra net.surplus",
        "net.down.0.bias is (5,) instead of (12,)",
    ]


def network(**arguments: Any) -> dict[str, Any]:
    described = make_prior().describe()["network"]
    return {**described, "arguments": {**described["arguments"], **arguments}}


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def prior_with(**fields: Any) -> dict[str, Any]:
    """Return a checkpoint's entry ``prior`` with other fields."""
    return {"prior": {**make_prior().describe(), **fields}}


def bias_of(value: Any) -> dict[str, Any]:
    """Return a checkpoint's entry ``state_dict`` with another bias."""
    return {"state_dict": {**weights_of(make_prior()), "prior.net.enter.bias": value}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prior": [1, 2]}, "must describe its prior by named fields: got list"),
        (prior_with(network={"class": "Sequential", "arguments": {}}), "network must be one of"),
        (prior_with(network=network(depth=2)), "LightUNet must take the arguments"),
        (prior_with(network="LightUNet"), "description must be that of a prior"),
        (prior_with(process={"class": "EDM", "arguments": {"sigma_min": -1.0}}), "EDM needs 0 < sigma_min"),
        (prior_with(scaling={"median": 1.0}), "description must be that of a prior: .*median"),
        (prior_with(scaling={"percentile": 99.0, "fft_norm": "backward"}), "fft_norm must be 'ortho'"),
        (prior_with(labels=["T1w"]), "labels must be as many as the network's: got 1 and 3"),
        (bias_of(torch.full((8,), float("nan"))), "net.enter.bias is not finite"),
        (bias_of(torch.full((8,), float("inf"))), "net.enter.bias is not finite"),
        (bias_of(torch.zeros(1).expand(8)), "net.enter.bias is larger than what the file holds"),
        (bias_of(torch.zeros(8).to_sparse()), "net.enter.bias is no array of numbers"),
        (bias_of(torch.zeros(8, dtype=torch.int64)), "net.enter.bias is no array of numbers"),
        (bias_of([0.0] * 8), "net.enter.bias is no array of numbers"),
        ({"state_dict": [1, 2]}, ""),
        ({"state_dict": {1: torch.ones(2)}}, ""),
        ({"state_dict": None}, ""),
        ({"state_dict": "weights"}, ""),
    ],
    ids=range(18),
)
def test_a_checkpoint_that_cannot_be_followed_is_named(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=rf"odd.ckpt.*{words}"):
        load_prior(write_checkpoint(tmp_path / "odd.ckpt", make_prior(), **changes))


@pytest.mark.parametrize("header", [None, {"prior": "[" * 100_000 + "]" * 100_000}], ids=["none", "nested"])
def test_a_file_that_does_not_describe_itself_is_named(tmp_path: Path, header: dict[str, str] | None) -> None:
    safetensors.torch.save_file({"w": torch.ones(2)}, tmp_path / "plain.safetensors", header)
    with pytest.raises(ValueError, match=r"plain.safetensors must describe its prior as JSON"):
        load_prior(tmp_path / "plain.safetensors")
    torch.save({"state_dict": {}}, tmp_path / "plain.ckpt")
    with pytest.raises(ValueError, match=r"plain.ckpt must hold 'prior' and 'state_dict'"):
        load_prior(tmp_path / "plain.ckpt")


def test_a_description_has_all_its_fields_and_no_other() -> None:
    description = make_prior().describe()
    assert build_prior(description).describe() == description
    for odd in ({**description, "epoch": 3}, {"network": description["network"]}):
        with pytest.raises(ValueError, match="description must have the fields network, process, scaling"):
            build_prior(odd)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": [20000, 20000]}, "at most 1024: got 20000"),
        ({"widths": [1000, 1000]}, r"is \(8, 8, 3, 3\) instead of"),
        ({"widths": [8] * 5000}, "a list of 5000"),
        ({"widths": 8}, "must"),
        ({"widths": {"a": 8}}, "must"),
        ({"widths": []}, "must"),
        ({"n_labels": 1e11}, "at most 1024: got 1e"),
        ({"n_labels": -3}, ""),
        ({"n_blocks": 10**6}, "at most 1024: got 1e"),
        ({"n_blocks": float("nan")}, "at most 1024: got nan"),
        ({"n_blocks": "many"}, "must"),
        ({"n_blocks": nested(100)}, "nested too deeply"),
    ],
    ids=range(12),
)
@pytest.mark.parametrize("suffix", [".ckpt", ".safetensors"])
def test_sizes_that_the_weights_do_not_have_are_not_built(
    tmp_path: Path, suffix: str, changes: dict[str, Any], message: str
) -> None:
    description = {**make_prior().describe(), "network": network(**changes)}
    path = tmp_path / f"odd{suffix}"
    if suffix == ".ckpt":
        write_checkpoint(path, make_prior(), prior=description)
    else:
        safetensors.torch.save_file(make_prior().state_dict(), path, {"prior": json.dumps(description)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=rf"odd{suffix}.*{message}"):
        load_prior(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**19  # kB


def test_every_flipped_byte_of_a_checkpoint_is_found_or_changes_nothing(tmp_path: Path) -> None:
    prior = make_prior()
    whole, expected = write_checkpoint(tmp_path / "whole.ckpt", prior).read_bytes(), denoised(prior)
    path = tmp_path / "flipped.ckpt"
    for position in range(0, len(whole), max(1, len(whole) // 150)):
        flipped = bytearray(whole)
        flipped[position] ^= 0x10
        path.write_bytes(flipped)
        with contextlib.suppress(ValueError):
            assert torch.equal(denoised(load_prior(path)), expected), position


def test_another_zip_archive_is_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("data.pkl", bytes(10**7))
    with pytest.raises(ValueError, match=r"photos.ckpt must be a checkpoint that torch.save wrote: it is another zip"):
        load_prior(tmp_path / "photos.ckpt")

"""``python -m lightning_mri weights``: what a user of somebody's file wants to know, and to do."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lightning_mri.diffusion import EDM, NetworkPrior
from lightning_mri.models import adm
from lightning_mri.scaling import Scaling
from lightning_mri.weights import fingerprint, load_prior, names, save_prior, written_by

from .test_files import make_prior, write_checkpoint
from .test_importers import inverse_bench

Command = Callable[..., str]


def known_prior() -> NetworkPrior:
    """Return a prior with all that a card may tell."""
    prior = make_prior()
    prior.card |= {
        "history": [
            {"phase": "pretrain", "steps": 3000},
            {"phase": "fine-tune", "checkpoint": "brain", "sha256": "ab" * 32},
        ],
        "splits": {"train": [f"subject-{number}" for number in range(17)], "val": ["subject-40"]},
        "factors": [1.1407127380371094, 2.0, 0.0009],
        "note": "bell \x07 and \x1b[2J",
    }
    return prior


def shown(text: str) -> dict[str, str]:
    return {line[:12].strip(): line[13:] for line in text.splitlines()}


def test_show_tells_what_a_later_reader_wants_to_know(command: Command, tmp_path: Path) -> None:
    prior = known_prior()
    save_prior(prior, tmp_path / "tiny.safetensors", torch.float32)
    lines = shown(command("weights", "show", tmp_path / "tiny.safetensors"))
    assert lines["network"].startswith("LightUNet(widths 8, 12, n_blocks 1")
    assert lines["parameters"] == f"{sum(p.numel() for p in prior.parameters()):,}"
    assert lines["noise"].startswith("EDM(sigma_data 0.25")
    assert lines["scale"] == "percentile 98 of abs(image) is 1; FFT norm ortho"
    assert lines["labels"] == "T1w, FLAIR, spare-1"
    assert lines["split train"] == "subject-0, subject-1, subject-2, subject-3 ... (17 in all)"
    assert lines["split val"] == "subject-40"
    assert lines["phase 1"] == "pretrain: steps 3000"
    assert lines["phase 2"] == f"fine-tune: checkpoint brain, sha256 {'ab' * 32}"
    assert lines["factors"] == "1.141, 2, 0.0009"
    assert lines["written by"] == f"lightning_mri {written_by()['version']}"
    assert lines["fingerprint"] == fingerprint(prior)


def test_nothing_in_a_file_can_command_the_terminal(command: Command, tmp_path: Path) -> None:
    save_prior(known_prior(), tmp_path / "tiny.safetensors")
    text = command("weights", "show", tmp_path / "tiny.safetensors")
    assert text.replace("\n", "").isprintable()
    assert r'note         "bell \u0007 and \u001b[2J"' in text


@pytest.mark.parametrize("name", names())
def test_shipped_priors_can_be_shown(command: Command, name: str) -> None:
    assert shown(command("weights", "show", name))["fingerprint"] == fingerprint(load_prior(name))


@pytest.mark.parametrize(("precision", "exact"), [("fp32", True), ("fp16", False)])
def test_export_keeps_the_averaged_weights_and_all_that_is_known_of_them(
    command: Command, tmp_path: Path, precision: str, exact: bool
) -> None:
    prior, output = known_prior(), tmp_path / "out" / "tiny.safetensors"
    path = write_checkpoint(tmp_path / "last.ckpt", prior)
    lines = shown(command("weights", "export", path, "--output", output, "--precision", precision))
    exported = load_prior(output)
    assert "splits" not in exported.card  # names of files, often of patients
    del prior.card["splits"]
    assert exported.describe() == prior.describe()
    assert (fingerprint(exported) == fingerprint(prior)) is exact
    assert lines["fingerprint"] == fingerprint(exported)
    for name, value in exported.state_dict().items():
        torch.testing.assert_close(value, prior.state_dict()[name], atol=1e-4, rtol=0 if exact else 1e-3)


def test_import_writes_a_prior_of_our_own(command: Command, tmp_path: Path) -> None:
    torch.save(inverse_bench(), tmp_path / "mri-brain.pt")
    output = tmp_path / "brain.safetensors"
    told = ("--layout", "EDMFamily", "--labels", "['T2w', 'spare-1']", "--scaling.percentile", "99.5")
    printed = command("weights", "import", tmp_path / "mri-brain.pt", "--output", output, *told)
    lines = shown(printed)
    prior = load_prior(output)
    assert prior.labels == ("T2w", "spare-1")
    assert prior.scaling == Scaling(99.5)
    assert torch.equal(prior.net.enter.weight, inverse_bench()["ema"]["model.enc.16x16_conv.weight"])
    assert lines["phase 1"].startswith(
        "import: file mri-brain.pt, head_width 64, layout EDMFamily, left_out the mean of four"
    )
    assert lines["fingerprint"] == fingerprint(prior)
    assert printed.splitlines()[-1].startswith(f"assumed      {prior.card['history'][0]['assumed']}: ")
    assert command("weights", "show", output) == printed


def test_what_cannot_be_done_is_told_in_one_sentence(failing_command: Command, tmp_path: Path) -> None:
    torch.save({"net": {}}, tmp_path / "odd.pt")
    odd, output = tmp_path / "odd.pt", ("--output", tmp_path / "x.safetensors")
    assert "'ema' of InverseBench" in failing_command("weights", "import", odd, "--layout=EDMFamily", *output)
    assert "must be one of" in failing_command("weights", "show", odd)
    assert "brian" in failing_command("weights", "export", "brian", *output)
    assert not (tmp_path / "x.safetensors").exists()


def test_a_fingerprint_is_of_the_weights_alone() -> None:
    prior = make_prior()
    expected = fingerprint(prior)
    prior.card["note"] = "another"
    assert fingerprint(prior.to(memory_format=torch.channels_last)) == expected
    with torch.no_grad():
        prior.net.enter.bias[0] = torch.nextafter(prior.net.enter.bias[0], torch.tensor(9.0))
    assert fingerprint(prior) != expected
    assert len(fingerprint(NetworkPrior(adm(64, (1,), n_labels=0), EDM(), labels=()))) == 64


def test_altered_weights_are_found(tmp_path: Path) -> None:
    save_prior(make_prior(), tmp_path / "tiny.safetensors")
    content = bytearray((tmp_path / "tiny.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "tiny.safetensors").write_bytes(content)
    with pytest.raises(ValueError, match=r"must hold the weights of its fingerprint [0-9a-f]{64}: they were altered"):
        load_prior(tmp_path / "tiny.safetensors")

"""Where a prior came from: the hash of its weights, and the code that wrote it."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

import lightning_mri
from lightning_mri.diffusion import NetworkPrior
from lightning_mri.origin import commit


def fingerprint(prior: NetworkPrior) -> str:
    """Return the SHA-256 of a prior's weights: names, shapes and values in single precision, in order of name.

    Neither file format nor device, memory layout or card plays a part. Weights that half precision rounded
    are other weights, and have another fingerprint.

    Args:
        prior: Any prior with a network.

    Returns:
        64 hexadecimal digits.
    """
    return hash_of_weights(prior.state_dict())


def hash_of_weights(weights: Mapping[str, Tensor]) -> str:
    """Return the SHA-256 of named tensors, as in `fingerprint`."""
    digest = hashlib.sha256()
    for name, value in sorted(weights.items()):
        digest.update(f"{name} {tuple(value.shape)}\n".encode())
        digest.update(value.detach().to("cpu", torch.float32).contiguous().numpy().tobytes())
    return digest.hexdigest()


def written_by() -> dict[str, str]:
    """Return the version of this package and, in a checkout, its git commit; "-dirty" if files differ from it."""
    version = {"version": lightning_mri.__version__}
    return {**version, "commit": commit()} if commit() else version

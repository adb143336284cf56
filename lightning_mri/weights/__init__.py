"""Weights: priors as files, those that ship with the package and those that a training run wrote.

A file describes itself: network, noise process, scale contract, labels and card travel with the weights.
Published checkpoints of other code bases are imported tensor by tensor. Reading a file never runs code that it
holds.
"""

from lightning_mri.weights.commands import export_weights, import_weights, show
from lightning_mri.weights.files import (
    build_prior,
    check_card_replaceable,
    check_checkpoint,
    find_prior,
    load_prior,
    names,
    replace_card,
    save_prior,
)
from lightning_mri.weights.importers import (
    EDMFamily,
    GuidedDiffusion,
    PublishedLayout,
    ScoreSDE,
    import_network,
    import_prior,
)
from lightning_mri.weights.plain import read_plain
from lightning_mri.weights.provenance import fingerprint, written_by

__all__ = [
    "EDMFamily", "GuidedDiffusion", "PublishedLayout", "ScoreSDE", "build_prior", "check_card_replaceable",
    "check_checkpoint", "export_weights", "find_prior", "fingerprint", "import_network", "import_prior",
    "import_weights", "load_prior", "names", "read_plain", "replace_card", "save_prior", "show", "written_by",
]  # fmt: skip

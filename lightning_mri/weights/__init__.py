"""Weights: priors as files, those that ship with the package and those that a training run wrote.

A file describes itself: network, noise process, scale contract, labels and card travel with the weights.
Reading one never runs code that it holds.
"""

from lightning_mri.weights.files import build_prior, load_prior, names, save_prior

__all__ = ["build_prior", "load_prior", "names", "save_prior"]

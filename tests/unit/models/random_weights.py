"""Weights files for tests, drawn at random or spoiled."""

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save

from retint_models.networks.compact import Compact
from retint_models.weights.cards import Card, Setting
from retint_models.weights.loading import to_half_precision


def make_card(folder: Path, data: bytes, **changed: object) -> Card:
    """Write a weights file and describe it."""
    (folder / "compact.safetensors").write_bytes(data)
    facts = {
        "name": "compact",
        "kind": "colorizer",
        "title": "for tests",
        "file": "compact.safetensors",
        "sha256": hashlib.sha256(data).hexdigest(),
        "license": "Apache-2.0",
        "settings": {"gain": Setting(1.5, 0, 4, 0.1, "gain"), "limit": Setting(1.4, 1, 4, 0.1, "limit")},
        "folder": folder,
    }
    return Card(**(facts | changed))  # type: ignore[arg-type]


def random_weights(seed: int = 0) -> bytes:
    """Weights of the right shapes."""
    torch.manual_seed(seed)
    return to_half_precision(save(Compact().state_dict()))

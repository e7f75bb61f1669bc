"""Weights computed from the tensors' names: the reference outputs were made with them.

The rule is implemented from its description in `../shared/reference/README.md`.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from tests.paths import REFERENCE
from torch import Tensor, nn

from retint_models.networks import registry
from retint_models.weights import cards
from retint_models.weights.cards import Card

BOUNDS = {
    "running_mean": (-0.1, 0.1),
    "running_var": (0.8, 1.2),
    "bias": (-0.1, 0.1),
    "in_proj_bias": (-0.1, 0.1),
    "gamma": (0.4, 0.6),
}
EMBEDDINGS = ("query_feat.weight", "query_embed.weight", "level_embed.weight")
NORMALISED = ("dwconv", "downsample_layers.0.0")
"""Layers of DDColor before a layer norm."""
CONSTANTS = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
GAINS = {
    ".query.": 0.25,
    ".key.": 0.25,
    "in_proj_weight": 0.7,
    "out_proj.weight": 0.25,
    "linear2.weight": 0.3,
    "refine_net.": 1.0,
    **dict.fromkeys((f"{name}.weight" for name in NORMALISED), 0.02),
}
"""Factor of a kernel, by what its name contains; the last layer of other networks has .4."""


def reference_tensors(name: str) -> dict[str, Tensor]:
    """Return all tensors of a network of the reference."""
    keys = json.loads((REFERENCE / f"{name}.keys.json").read_text())
    return {key: torch.from_numpy(np.asarray(fill_tensor(key, tuple(shape)), dtype)) for key, shape, dtype in keys}


def tensors_for(network: nn.Module) -> dict[str, Tensor]:
    """Return all tensors for a network, which may be on the meta device."""
    return {
        key: torch.from_numpy(np.asarray(fill_tensor(key, tuple(tensor.shape)))).to(tensor.dtype)
        for key, tensor in network.state_dict().items()
    }


def write_card(name: str, tensors: Mapping[str, Tensor], folder: Path) -> Card:
    """Write weights and their record into a folder as an import does; return the card."""
    path = folder / f"{name}.safetensors"
    save_file(dict(tensors), path)
    cards.record_path(name, folder).write_text(f'sha256 = "{cards.hash_file(path)}"\n')
    return registry.card(name, folder)


def fill_tensor(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    stem, _, last = name.rpartition(".")
    if name in CONSTANTS:
        return np.reshape(np.array(CONSTANTS[name]), shape)
    if name.endswith(EMBEDDINGS):
        return draw_uniform(name, shape, -1, 1)
    if last == "bias" and stem.endswith(NORMALISED):
        return draw_uniform(name, shape, -0.002, 0.002)
    if last in BOUNDS:
        return draw_uniform(name, shape, *BOUNDS[last])
    if last == "num_batches_tracked":
        return np.full(shape, 1000.0)
    if last == "weight_g":
        return math.sqrt(2) * draw_uniform(name, shape, 0.8, 1.2)
    if last == "weight_orig":
        u, v = draw_signs(f"{stem}.weight_u", shape[0]), draw_signs(f"{stem}.weight_v", math.prod(shape[1:]))
        factor = draw_uniform(f"{stem}.factor", (), 1.5, 2.5)
        return factor * (draw_kernel(name, shape) + np.outer(u, v).reshape(shape))
    if len(shape) > 1:
        return draw_uniform(name, shape, -1, 1) if last == "weight_v" else draw_kernel(name, shape)
    if last in ("weight_u", "weight_v"):
        return draw_signs(name, shape[0])
    return draw_uniform(name, shape, 0.2, 0.4) if stem.endswith(("bn2", "bn3")) else draw_uniform(name, shape, 0.8, 1.2)


def draw_uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return low + (high - low) * np.random.Generator(np.random.PCG64(seed)).random(shape)


def draw_kernel(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    known = (gain for part, gain in GAINS.items() if part in name)
    gain = next(known, 0.4 if shape[0] <= 3 else 1.0)
    half = gain * math.sqrt(6 / math.prod(shape[1:]))
    return draw_uniform(name, shape, -half, half)


def draw_signs(name: str, size: int) -> NDArray[np.float64]:
    return np.where(draw_uniform(name, (size,), 0, 1) < 0.5, -1, 1) / math.sqrt(size)

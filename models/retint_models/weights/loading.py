"""Load weights into networks: verified against their card, and only if they fit."""

import json
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, numpy, safe_open
from torch import Tensor, nn

from retint_models.weights.cards import Card

TYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
}
"""Types of tensors that weights have, as safetensors name them."""


def load_tensors(card: Card) -> dict[str, Tensor]:
    """Read and verify a network's weights: floating-point tensors in float32, counters as they are.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: it is another file than its card describes, or no safetensors file.
    """
    card.verify()
    try:
        kept = read_tensors(card.path)
    except SafetensorError as error:
        raise ValueError(f"{card.path} is no safetensors file: {error}") from error
    return {name: value.to(torch.float32) if value.is_floating_point() else value for name, value in kept.items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file, each tensor into memory of its own.

    The library's own reader maps the file, all of which stays in memory while one tensor does: weights that are
    rearranged for speed would be there twice.

    Raises:
        SafetensorError: it is damaged, or no such file.
    """
    with safe_open(path, "pt"):  # checks the header
        pass
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in sorted(header.items(), key=lambda item: int(item[1]["data_offsets"][0])):
            tensors[name] = torch.empty(entry["shape"], dtype=TYPES[entry["dtype"]])
            file.seek(8 + length + entry["data_offsets"][0])
            file.readinto(tensors[name].reshape(-1).view(torch.uint8).numpy().data)
    return tensors


def fill_network(network: nn.Module, tensors: Mapping[str, Tensor], name: str, unused: Collection[str] = ()) -> None:
    """Fill a network with weights and set it to evaluation mode; names, shapes and values must fit.

    The counters of batch norms (`num_batches_tracked`) may be missing, as in files of old versions of PyTorch: only
    training uses them.

    Args:
        network: May be on the meta device; tensors of the right type are used as they are, not copied.
        tensors: The state, under the names of the network.
        name: Of the network, for error messages.
        unused: Names of tensors that some of the network's files hold, left from its training; they are left out.

    Raises:
        ValueError: a missing or unknown tensor, another shape or type, NaN or infinity; names the first.
    """
    expected = network.state_dict()
    counters = {key: torch.zeros((), dtype=torch.int64) for key in expected if key.endswith("num_batches_tracked")}
    state = {key: tensor for key, tensor in tensors.items() if key not in unused}
    state |= {key: zero for key, zero in counters.items() if key not in state}
    for key in sorted(expected.keys() ^ state.keys()):
        raise ValueError(f"these are not the weights of {name}: {key} is {'missing' if key in expected else 'unknown'}")
    for key, tensor in state.items():
        ours = expected[key]
        if tensor.shape != ours.shape:
            raise ValueError(
                f"these are not the weights of {name}: {key} is {list(tensor.shape)}, not {list(ours.shape)}"
            )
        if tensor.is_floating_point() != ours.is_floating_point() or tensor.is_complex():
            raise ValueError(f"these are not the weights of {name}: {key} is {tensor.dtype}, not {ours.dtype}")
        state[key] = tensor.to(ours.dtype)
        if not all(edge.isfinite() for edge in state[key].aminmax()):  # NaN would be both; 40 times as fast as isfinite
            raise ValueError(f"the weights of {name} are damaged: {key} holds NaN or infinity")
    network.load_state_dict(state, assign=True)
    network.eval().requires_grad_(False)


def to_half_precision(data: bytes) -> bytes:
    """Convert a trained network's safetensors to the form that is shipped.

    Half precision, except the running statistics of batch norms; without the counters of training.
    """
    tensors = {name: value for name, value in numpy.load(data).items() if not name.endswith("num_batches_tracked")}
    smaller = {key: value if "running_" in key else value.astype(np.float16) for key, value in tensors.items()}
    return numpy.save(smaller)

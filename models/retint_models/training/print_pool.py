"""A pool of simulated prints on disk, each with what the frozen encoder sees in it.

The encoder costs more than all the rest of a training step of `compact-defade`, and so does aging a print. So both are
done once: a step reads its prints from the pool, and every print is drawn several times. Prints are numbered; the same
number is always the same print, so that a larger pool begins with a smaller one, and making one can be interrupted.
"""

import hashlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from retint_models.acceleration.folding import fold
from retint_models.datasets.fading import Family, Pair, as_bytes
from retint_models.networks.blocks import TAPS
from retint_models.networks.compact_defade import DEPTH, SIDE, DefadeNet

FAMILIES: tuple[Family, ...] = get_args(Family)

PRINT = np.dtype(
    [
        ("family", "u2"),  # its place in FAMILIES; two bytes, since torch wants the features at even places
        ("print", "u1", (SIDE, SIDE, 3)),
        ("truth", "u1", (SIDE, SIDE, 3)),
        ("features", "f2", (SIDE // 16, SIDE // 16, TAPS[DEPTH])),
    ]
)
"""One print, 113 kB: pixels in sRGB code values, and `DefadeNet.recognize` of it."""

AT_ONCE = 16
"""Prints that are made, and seen by the encoder, together."""

Prints = NDArray[Any]
"""Prints, (n,) of type `PRINT`."""

DrawPair = Callable[[Generator], Pair]
"""Ages a photograph at random; the generator is its only source of randomness."""


def open_print_pool(folder: Path, network: DefadeNet, draw: DrawPair, count: int, seed: int) -> Prints:
    """Open a pool of prints, mapped from its file; make those that it lacks.

    Args:
        folder: Holds pools; made if missing.
        network: Its encoder sees the prints.
        draw: Makes a print. A pool whose first prints are others than those made now is another pool.
        count: How many prints there must be; 113 MB for a thousand.
        seed: Of the prints.

    Raises:
        OSError: the prints cannot be written, such as on a full disk.
    """
    network = make_folded_copy(network)
    first = make_prints(range(AT_ONCE), network, draw, seed)
    name = hashlib.sha256(first["print"].tobytes() + first["truth"].tobytes()).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.prints"
    with path.open("ab") as file:
        while (there := file.tell() // PRINT.itemsize) < count:
            file.truncate(there * PRINT.itemsize)  # a print that was half written is made again
            file.write(make_prints(range(there, min(there + AT_ONCE, count)), network, draw, seed).tobytes())
    return np.memmap(path, PRINT, "r", shape=(count,))


def make_folded_copy(network: DefadeNet) -> DefadeNet:
    """Return a copy of a network that sees the same, in half the time: its norms are folded."""
    copy: Any = fold(deepcopy(network).eval())
    return copy  # type: ignore[no-any-return]


@torch.inference_mode()
def make_prints(numbers: range, network: DefadeNet, draw: DrawPair, seed: int) -> Prints:
    """Make the prints of some numbers."""
    pairs = [draw(np.random.default_rng((seed, number))) for number in numbers]
    prints = np.empty(len(pairs), PRINT)
    prints["family"] = [FAMILIES.index(pair.family) for pair in pairs]
    prints["print"] = [as_bytes(pair.print) for pair in pairs]
    prints["truth"] = [as_bytes(pair.truth) for pair in pairs]
    prints["features"] = network.recognize(as_pictures(prints["print"])).permute(0, 2, 3, 1)
    return prints


def is_of(family: Family, prints: Prints) -> NDArray[np.bool_]:
    """Tell which prints are of a family."""
    return np.asarray(prints["family"] == FAMILIES.index(family))


def as_pictures(pixels: NDArray[np.uint8]) -> Tensor:
    """Turn code values (n, h, w, 3) into pictures (n, 3, h, w) in [0, 1], channels last in memory."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255

"""DeOldify's generators against what the original gives, under weights that follow from the tensors' names.

The rule that fills them is written afresh from its description in the reference's README.
"""

import hashlib
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from retint_models.deoldify import Generator, generator
from retint_models.squares import colored_square, colorized, gray_square, merged

REFERENCE = Path(__file__).parents[3].parent / "shared" / "reference"
BOUNDS = {"running_mean": (-0.1, 0.1), "running_var": (0.8, 1.2), "bias": (-0.1, 0.1), "gamma": (0.4, 0.6)}


def uniform(name: str, shape: tuple[int, ...], low: float, high: float) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return low + (high - low) * np.random.Generator(np.random.PCG64(seed)).random(shape)


def kernel(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    gain = 0.25 if ".query." in name or ".key." in name else 0.4 if shape[0] <= 3 else 1.0
    half = gain * math.sqrt(6 / math.prod(shape[1:]))
    return uniform(name, shape, -half, half)


def signs(name: str, size: int) -> NDArray[np.float64]:
    return np.where(uniform(name, (size,), 0, 1) < 0.5, -1, 1) / math.sqrt(size)


def filled(name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    stem, last = name.rsplit(".", 1)
    if last in BOUNDS:
        return uniform(name, shape, *BOUNDS[last])
    if last == "num_batches_tracked":
        return np.full(shape, 1000.0)
    if last == "weight_g":
        return math.sqrt(2) * uniform(name, shape, 0.8, 1.2)
    if last == "weight_orig":
        u, v = signs(f"{stem}.weight_u", shape[0]), signs(f"{stem}.weight_v", math.prod(shape[1:]))
        factor = uniform(f"{stem}.factor", (), 1.5, 2.5)
        return factor * (kernel(name, shape) + np.outer(u, v).reshape(shape))
    if len(shape) > 1:
        return uniform(name, shape, -1, 1) if last == "weight_v" else kernel(name, shape)
    if last in ("weight_u", "weight_v"):
        return signs(name, shape[0])
    return uniform(name, shape, 0.2, 0.4) if stem.endswith(("bn2", "bn3")) else uniform(name, shape, 0.8, 1.2)


def tensors(name: str) -> dict[str, Tensor]:
    keys = json.loads((REFERENCE / f"{name}.keys.json").read_text())
    return {key: torch.from_numpy(np.asarray(filled(key, tuple(shape)), dtype)) for key, shape, dtype in keys}


def picture(name: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(REFERENCE / name))


@pytest.fixture(scope="module", params=["artistic", "stable", "video"])
def network(request: pytest.FixtureRequest) -> tuple[str, Generator]:
    if not REFERENCE.exists():
        pytest.skip(f"needs the original's outputs at {REFERENCE}")
    return request.param, generator(request.param, tensors(request.param))


@pytest.mark.parametrize("size", ["1x3x64x64", "2x3x96x80"])
def test_the_output_is_that_of_the_original(network: tuple[str, Generator], size: str) -> None:
    name, run = network
    ours = run(torch.from_numpy(np.load(REFERENCE / f"input_{size}.npy"))).numpy()
    theirs = np.load(REFERENCE / f"{name}.output_{size}.npy")
    assert ours.shape == theirs.shape
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() <= 1e-4


def test_a_photo_gets_the_colors_that_the_original_gives_it(network: tuple[str, Generator]) -> None:
    name, run = network
    name = "stable" if name == "video" else name  # one network, and here the same weights
    square = colored_square(run, gray_square(picture("photo.png"), 10))
    assert_alike(square, picture(f"photo.{name}.rf10.square.png"))
    assert_alike(colorized(run, picture("photo.png"), 10), picture(f"photo.{name}.rf10.png"))


def assert_alike(ours: NDArray[np.uint8], theirs: NDArray[np.uint8]) -> None:
    """At most 0.5 % of the values differ, and none by more than 3."""
    assert ours.shape == theirs.shape
    difference = np.abs(ours.astype(int) - theirs)
    assert (difference > 0).mean() <= 0.005
    assert difference.max() <= 3


def test_the_network_is_shown_the_very_gray_that_the_original_shows_it() -> None:
    if not REFERENCE.exists():
        pytest.skip(f"needs the original's pictures at {REFERENCE}")
    assert np.array_equal(gray_square(picture("photo.png"), 10), picture("photo.rf10.input.png"))


@pytest.mark.parametrize("name", ["artistic", "stable"])
def test_chroma_is_merged_exactly_as_in_the_original(name: str) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"needs the original's pictures at {REFERENCE}")
    ours = merged(picture("photo.png"), picture(f"photo.{name}.rf10.raw.png"))
    assert np.array_equal(ours, picture(f"photo.{name}.rf10.png"))

"""A second simulator of faded prints: it shares no formula and no constant with the one that networks are trained on.

`retint_models.datasets.fading` works in optical density, and evaluation draws from it. Here everything happens in code
values, as a person with an image editor would do it: another contrast, warm paper, stains, a dark rim, grain. A gain
that is seen on both sets of prints is no property of a simulator.
"""

import zlib
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.restoration import RestorationSample


def make_second_samples(photos: Photos, every: int = 1) -> list[RestorationSample]:
    """Make a black-and-white and a color print of every n-th photograph; its name decides what is drawn."""
    samples = []
    for number in range(0, len(photos), every):
        name, photo = str(photos.entries[number]["name"]), np.array(photos[number])
        rng = np.random.default_rng((2026, zlib.crc32(PurePath(name).stem.encode())))
        samples.append(RestorationSample(name, "black-white", fade_black_and_white(photo, rng), photo))
        samples.append(RestorationSample(name, "color", fade_color(photo, rng), photo))
    return samples


def fade_black_and_white(photo: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """Make a pale, brown, stained print of a photograph's gray, uint8 (h, w, 3)."""
    gray = np.asarray(Image.fromarray(photo).convert("L"), np.float64) / 255
    toned = flatten(gray, rng)[..., None] * [1.0, rng.uniform(0.86, 0.98), rng.uniform(0.66, 0.92)]
    return finish(toned + rng.uniform(-0.02, 0.02, 3), rng)


def fade_color(photo: NDArray[np.uint8], rng: Generator) -> NDArray[np.uint8]:
    """Make a flat print with a cast of a photograph in color, uint8 (h, w, 3)."""
    saturation = rng.uniform(0.4, 0.9)
    mean = photo.mean(2, keepdims=True)
    dull = (mean + saturation * (photo - mean)) / 255
    channels = [flatten(dull[..., channel], rng) for channel in range(3)]
    return finish(np.stack(channels, -1), rng)


def flatten(values: NDArray[Any], rng: Generator) -> NDArray[Any]:
    """Bend values in [0, 1], lift the blacks and dim the whites."""
    black, white = rng.uniform(0.08, 0.35), rng.uniform(0.72, 0.96)
    return np.asarray(black + (white - black) * np.clip(values, 0, 1) ** rng.uniform(0.75, 1.4))


def finish(values: NDArray[Any], rng: Generator) -> NDArray[np.uint8]:
    """Add stains, a dark rim and grain to values (h, w, 3), and round them to uint8."""
    height, width = values.shape[:2]
    blots = Image.fromarray(rng.integers(0, 256, (4, 5), np.uint8)).resize((width, height), Image.Resampling.BICUBIC)
    amount = np.asarray(blots.filter(ImageFilter.GaussianBlur(5)), np.float64)[..., None] / 255
    stained = values * (1 - rng.uniform(0, 0.25) * amount * [0.15, 0.4, 1.0])
    row, column = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    dark_rim = 1 - rng.uniform(0, 0.25) * ((row**2 + column**2) / 2)[..., None] ** 2
    grain = rng.normal(0, rng.uniform(0, 0.012), (height, width, 1))
    return np.asarray(np.clip(np.rint(255 * (stained * dark_rim + grain)), 0, 255), np.uint8)

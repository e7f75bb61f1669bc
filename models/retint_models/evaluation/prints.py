"""Simulated old prints to judge defaders on.

They share the physics with the prints of training (`datasets.fading`), but not how strengths are drawn: other ranges,
other fields.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image

from retint_models.datasets.fading import (
    Family,
    Floats,
    Pair,
    as_bytes,
    as_floats,
    edge_proximity,
    fade_dyes,
    oxidise,
    relight,
    scan,
    shielded_loss,
    stain,
)
from retint_models.datasets.photographs import Photos
from retint_models.evaluation.pictures import Pixels
from retint_models.layers.color import join_luma_chroma, linear_to_srgb, rec709_chroma, rec709_luma, srgb_to_density

FAMILIES: tuple[Family, ...] = ("dark", "light", "silver", "lighting")

Repair = Callable[[Pixels], Pixels]
"""Takes a print, uint8 (h, w, 3), and returns it repaired."""


@dataclass(frozen=True)
class PrintSample:
    """A simulated print to judge defaders on, uint8 (h, w, 3).

    Attributes:
        family: What happened to the print.
        print: What the defader sees.
        truth: What the print should become.
        clean: The photograph that the print was made of.
    """

    name: str
    stratum: str
    license: str
    family: Family
    print: Pixels
    truth: Pixels
    clean: Pixels


def make_print_samples(photos: Photos, seed: int = 7, every: int = 1) -> list[PrintSample]:
    """Age every n-th photograph once; the families take turns."""
    samples = []
    for turn, number in enumerate(range(0, len(photos), every)):
        entry, photo, family = photos.entries[number], photos[number], FAMILIES[turn % len(FAMILIES)]
        pair = age_photograph(as_floats(photo), family, np.random.default_rng((seed, number)))
        samples.append(
            PrintSample(
                name=entry["name"],
                stratum=str(entry.get("stratum", "")),
                license=str(entry.get("license", "")),
                family=family,
                print=as_bytes(pair.print),
                truth=as_bytes(pair.truth),
                clean=np.array(photo),
            )
        )
    return samples


def age_photograph(truth: Floats, family: Family, rng: Generator) -> Pair:
    """Make a print of a photograph, float32 (h, w, 3) in [0, 1], and age it."""
    if family == "lighting":
        return Pair(relight(truth, rng.uniform(0.35, 1.4), rng.uniform(-1.3, 1.3)), truth, family)
    if family == "clean":
        return Pair(truth, truth, family)
    strength, where = draw_strength(truth.shape[:2], rng)
    color = None
    if family == "silver":
        gray = np.repeat(rec709_luma(truth), 3, axis=-1)
        faded = age_silver(srgb_to_density(gray), strength, where, rng)
        truth, color = (gray, None) if rng.random() < 0.5 else colorize_weakly(truth, rng)
    else:
        faded = age_dyes(srgb_to_density(truth), family, strength, where, rng)
    print_ = scan_stained_print(faded, rng)
    return Pair(print_ if color is None else join_luma_chroma(rec709_luma(print_), color), truth, family)


def make_faded_black_and_white(photo: Floats, rng: Generator) -> Floats:
    """Make a silver print of a photograph in color, age it, and scan it: what archives deposit."""
    strength, where = draw_strength(photo.shape[:2], rng)
    gray = np.repeat(rec709_luma(photo), 3, axis=-1)
    return scan_stained_print(age_silver(srgb_to_density(gray), strength, where, rng), rng)


def draw_strength(size: tuple[int, int], rng: Generator) -> tuple[float, Floats]:
    """Draw how strongly a print has aged, and the relative strength at each pixel, (h, w, 1)."""
    strength = rng.uniform(0.25, 1.1)
    return strength, 1 + np.float32(rng.uniform(0, 0.5) * strength) * uneven_field(size, rng)


def age_silver(densities: Floats, strength: float, where: Floats, rng: Generator) -> Floats:
    """Oxidise a silver print."""
    warmth = np.array([1, rng.uniform(0.8, 0.97), rng.uniform(0.5, 0.88)], np.float32)
    return oxidise(densities, strength * rng.uniform(0.15, 0.7), warmth, rng.uniform(0.4, 1.2), where)


def scan_stained_print(densities: Floats, rng: Generator) -> Floats:
    """Stain a print, most at its rim, and scan it with flare, wrong exposure and noise: gamma-coded sRGB."""
    rim_share = rng.uniform(0, 0.5)
    where = 1 - rim_share + rim_share * edge_proximity(densities.shape[:2], rng.uniform(0.07, 0.18))
    added = rng.uniform(0, 0.36) * np.array([rng.uniform(0.08, 0.28), rng.uniform(0.28, 0.58), 1], np.float32)
    stops = rng.uniform(-0.42, 0.42) + rng.normal(0, 0.06, 3).clip(-0.12, 0.12)
    stained = stain(densities, added, where)
    linear = scan(np.float32(10) ** -stained, rng.uniform(0, 0.06), (2**stops).astype(np.float32))
    noise = rng.standard_normal(linear.shape, np.float32) * np.float32(rng.uniform(0, 0.01))
    return np.clip(linear_to_srgb(linear).astype(np.float32) + noise, 0, 1)


def age_dyes(densities: Floats, family: Family, strength: float, where: Floats, rng: Generator) -> Floats:
    """Fade the three dyes of a color print, in the dark or by light."""
    absorption = np.eye(3, dtype=np.float32)
    absorption[2, 1], absorption[1, 0] = rng.uniform(0.12, 0.38), rng.uniform(0.06, 0.24)
    absorption[[0, 0, 1, 2], [1, 2, 2, 0]] = rng.uniform(0.01, 0.13, 4)
    middle, spread, shield = {
        "dark": ((0.5, 0.22, 0.35), (0.28, 0.16, 0.23), 0.12),
        "light": ((0.28, 0.55, 0.33), (0.16, 0.23, 0.2), 0.45),
    }[family]
    loss = strength * (np.array(middle) + np.array(spread) * rng.uniform(-1, 1, 3))
    return fade_dyes(
        densities, absorption, shielded_loss(densities, np.asarray(loss, np.float32), rng.uniform(0, shield)), where
    )


def colorize_weakly(truth: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """Return the photograph with chroma as a colorizer leaves it, weaker and blurred, and that chroma (h, w, 2)."""
    height, width = truth.shape[:2]
    small = Image.fromarray(np.rint(truth * 255).astype(np.uint8)).resize((max(1, width // 6), max(1, height // 6)))
    blurred = as_floats(np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)))
    color = rec709_chroma(blurred) * np.float32(rng.uniform(0.2, 0.9))
    return join_luma_chroma(rec709_luma(truth), color), color


def uneven_field(size: tuple[int, int], rng: Generator) -> Floats:
    """Return a smooth field within about [-1, 1], (h, w, 1): a slope and three Gaussian blotches."""
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
    field = rng.uniform(-0.5, 0.5) * rows[:, None] + rng.uniform(-0.5, 0.5) * columns
    for _ in range(3):
        (row, column), radius = rng.uniform(-1, 1, 2), rng.uniform(0.3, 0.8)
        squared_distance = (rows[:, None] - row) ** 2 + (columns - column) ** 2
        field = field + rng.uniform(-0.6, 0.6) * np.exp(-squared_distance / (2 * radius**2))
    return field[..., None].astype(np.float32)

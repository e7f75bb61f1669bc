"""How well faded prints are repaired: on simulated prints of photographs that training did not see.

The judge's prints share the physics with training (`fading`), not the way they are drawn: other ranges, other fields.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.random import Generator
from PIL import Image

from retint_models.color import delta_e, lab_of
from retint_models.data import Photos
from retint_models.defade import SIDE, DefadeNet, places, repair
from retint_models.fading import (
    Family,
    Floats,
    Pair,
    as_floats,
    chroma,
    density,
    encode,
    fade_dyes,
    luma,
    oxidise,
    relight,
    rim,
    scan,
    shielded,
    stain,
    tint,
)

FAMILIES: tuple[Family, ...] = ("dark", "light", "silver", "lighting")


def judged_print(truth: Floats, family: Family, rng: Generator) -> Pair:
    """Age a photograph, float32 (h, w, 3) in [0, 1], for judging."""
    if family == "lighting":
        return Pair(relight(truth, rng.uniform(0.35, 1.4), rng.uniform(-1.3, 1.3)), truth, family)
    if family == "clean":
        return Pair(truth, truth, family)
    strength = rng.uniform(0.25, 1.1)
    where = 1 + np.float32(rng.uniform(0, 0.5) * strength) * blotches(truth.shape[:2], rng)
    if family == "silver":
        gray = np.repeat(luma(truth), 3, axis=-1)
        warmth = np.array([1, rng.uniform(0.8, 0.97), rng.uniform(0.5, 0.88)], np.float32)
        faded = oxidise(density(gray), strength * rng.uniform(0.15, 0.7), warmth, rng.uniform(0.4, 1.2), where)
        truth, color = (gray, None) if rng.random() < 0.5 else recolored(truth, rng)
    else:
        faded, color = judged_dyes(density(truth), family, strength, where, rng), None
    rim_share = rng.uniform(0, 0.5)
    reach = 1 - rim_share + rim_share * rim(truth.shape[:2], rng.uniform(0.07, 0.18))
    added = rng.uniform(0, 0.36) * np.array([rng.uniform(0.08, 0.28), rng.uniform(0.28, 0.58), 1], np.float32)
    stops = rng.uniform(-0.42, 0.42) + rng.normal(0, 0.06, 3).clip(-0.12, 0.12)
    linear = scan(np.float32(10) ** -stain(faded, added, reach), rng.uniform(0, 0.06), (2**stops).astype(np.float32))
    noise = rng.standard_normal(linear.shape, np.float32) * np.float32(rng.uniform(0, 0.01))
    print_ = np.clip(encode(linear) + noise, 0, 1)
    return Pair(print_ if color is None else tint(luma(print_), color), truth, family)


def judged_dyes(densities: Floats, family: Family, strength: float, where: Floats, rng: Generator) -> Floats:
    """Fade the three dyes of a color print."""
    absorption = np.eye(3, dtype=np.float32)
    absorption[2, 1], absorption[1, 0] = rng.uniform(0.12, 0.38), rng.uniform(0.06, 0.24)
    absorption[[0, 0, 1, 2], [1, 2, 2, 0]] = rng.uniform(0.01, 0.13, 4)
    middle, spread, shield = {
        "dark": ((0.5, 0.22, 0.35), (0.28, 0.16, 0.23), 0.12),
        "light": ((0.28, 0.55, 0.33), (0.16, 0.23, 0.2), 0.45),
    }[family]
    loss = strength * (np.array(middle) + np.array(spread) * rng.uniform(-1, 1, 3))
    return fade_dyes(
        densities, absorption, shielded(densities, np.asarray(loss, np.float32), rng.uniform(0, shield)), where
    )


def recolored(truth: Floats, rng: Generator) -> tuple[Floats, Floats]:
    """What a colorizer makes of a gray print: the truth with weaker chroma, and that chroma."""
    height, width = truth.shape[:2]
    small = Image.fromarray(np.rint(truth * 255).astype(np.uint8)).resize((max(1, width // 6), max(1, height // 6)))
    blurred = as_floats(np.asarray(small.resize((width, height), Image.Resampling.BICUBIC)))
    color = chroma(blurred) * np.float32(rng.uniform(0.2, 0.9))
    return tint(luma(truth), color), color


def blotches(size: tuple[int, int], rng: Generator) -> Floats:
    """A smooth field within about [-1, 1], (h, w, 1): a slope and three Gaussian blotches."""
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
    field = rng.uniform(-0.5, 0.5) * rows[:, None] + rng.uniform(-0.5, 0.5) * columns
    for _ in range(3):
        (row, column), wide = rng.uniform(-1, 1, 2), rng.uniform(0.3, 0.8)
        distance = (rows[:, None] - row) ** 2 + (columns - column) ** 2
        field = field + rng.uniform(-0.6, 0.6) * np.exp(-distance / (2 * wide**2))
    return field[..., None].astype(np.float32)


def judged_pairs(photos: Photos, seed: int = 7) -> Iterator[tuple[Family, Pair]]:
    """Age each photograph once, its family by its turn."""
    for index, photo in enumerate(photos):
        family = FAMILIES[index % len(FAMILIES)]
        yield family, judged_print(as_floats(photo), family, np.random.default_rng((seed, index)))


@torch.no_grad()
def quick_scores(network: DefadeNet, photos: Photos, most: int = 128) -> dict[str, float]:
    """Score a network at 128 x 128 while it trains: mean dE2000 of prints, harm on clean ones, and second passes."""
    small = [
        as_floats(np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
        for photo in list(photos)[:: max(1, len(photos) // most)]
    ]
    found: dict[str, list[float]] = {"faded": [], "delta_e": [], "lighting": [], "second_pass": [], "harm": []}
    for index, truth in enumerate(small):
        rng, family = np.random.default_rng((7, index)), FAMILIES[index % len(FAMILIES)]
        pair = judged_print(truth, family, rng)
        seen, target = (
            torch.from_numpy(np.stack([p, t])).permute(0, 3, 1, 2)
            for p, t in [(pair.print, truth), (pair.truth, truth)]
        )
        once = pass_of(network, seen)
        moved, harm = delta_e(lab_of(once), lab_of(target)).mean((1, 2)).tolist()
        found["harm"].append(harm)
        found["lighting" if family == "lighting" else "delta_e"].append(moved)
        if family != "lighting":
            found["faded"].append(delta_e(lab_of(seen[:1]), lab_of(target[:1])).mean().item())
            found["second_pass"].append(delta_e(lab_of(pass_of(network, once[:1])), lab_of(once[:1])).mean().item())
    scores = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
    return {"score": scores["delta_e"] + scores["harm"] + scores["second_pass"], **scores}


def pass_of(network: DefadeNet, seen: torch.Tensor) -> torch.Tensor:
    """Repair (B, 3, 128, 128) and round it to 8 bits."""
    out = repair(network(seen), seen.flatten(2), places(SIDE, SIDE)).view_as(seen)
    return (out * 255).round() / 255

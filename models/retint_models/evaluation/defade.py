"""How well faded prints are repaired: on simulated prints of photographs that training did not see.

The judge's prints share the physics with training (`fading`), not the way they are drawn: other ranges, other fields.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

from retint_models.datasets.fading import (
    Family,
    Floats,
    Pair,
    as_bytes,
    as_floats,
    fade_dyes,
    oxidise,
    relight,
    rim,
    scan,
    shielded,
    stain,
)
from retint_models.datasets.photographs import Photos
from retint_models.evaluation.colorize import KNOWN, UNCLEAR, as_pixels, as_tensor
from retint_models.evaluation.measuring import measured
from retint_models.evaluation.metrics import delta_e_2000, interval, intervals, psnr, ssim
from retint_models.layers import rendering
from retint_models.layers.color import join_luma_chroma, linear_to_srgb, rec709_chroma, rec709_luma, srgb_to_density
from retint_models.networks.color import lab_to_rgb, rgb_to_lab
from retint_models.networks.compact_defade import SIDE, DefadeNet, calmed, places, repair
from retint_models.networks.registry import Defader

Pixels = NDArray[np.uint8]
Maker = Callable[[Pixels], Pixels]
"""Takes a print, uint8 (h, w, 3), and returns it repaired."""

FAMILIES: tuple[Family, ...] = ("dark", "light", "silver", "lighting")
NEUTRAL = 4.0
"""CIELAB chroma of the truth below which a repair should be neutral."""

# --- the judge's prints -----------------------------------------------------------------------------------------------


def judged_print(truth: Floats, family: Family, rng: Generator) -> Pair:
    """Age a photograph, float32 (h, w, 3) in [0, 1], for judging."""
    if family == "lighting":
        return Pair(relight(truth, rng.uniform(0.35, 1.4), rng.uniform(-1.3, 1.3)), truth, family)
    if family == "clean":
        return Pair(truth, truth, family)
    strength = rng.uniform(0.25, 1.1)
    where = 1 + np.float32(rng.uniform(0, 0.5) * strength) * blotches(truth.shape[:2], rng)
    if family == "silver":
        gray = np.repeat(rec709_luma(truth), 3, axis=-1)
        warmth = np.array([1, rng.uniform(0.8, 0.97), rng.uniform(0.5, 0.88)], np.float32)
        faded = oxidise(srgb_to_density(gray), strength * rng.uniform(0.15, 0.7), warmth, rng.uniform(0.4, 1.2), where)
        truth, color = (gray, None) if rng.random() < 0.5 else recolored(truth, rng)
    else:
        faded, color = judged_dyes(srgb_to_density(truth), family, strength, where, rng), None
    rim_share = rng.uniform(0, 0.5)
    reach = 1 - rim_share + rim_share * rim(truth.shape[:2], rng.uniform(0.07, 0.18))
    added = rng.uniform(0, 0.36) * np.array([rng.uniform(0.08, 0.28), rng.uniform(0.28, 0.58), 1], np.float32)
    stops = rng.uniform(-0.42, 0.42) + rng.normal(0, 0.06, 3).clip(-0.12, 0.12)
    linear = scan(np.float32(10) ** -stain(faded, added, reach), rng.uniform(0, 0.06), (2**stops).astype(np.float32))
    noise = rng.standard_normal(linear.shape, np.float32) * np.float32(rng.uniform(0, 0.01))
    print_ = np.clip(linear_to_srgb(linear).astype(np.float32) + noise, 0, 1)
    return Pair(print_ if color is None else join_luma_chroma(rec709_luma(print_), color), truth, family)


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
    color = rec709_chroma(blurred) * np.float32(rng.uniform(0.2, 0.9))
    return join_luma_chroma(rec709_luma(truth), color), color


def blotches(size: tuple[int, int], rng: Generator) -> Floats:
    """A smooth field within about [-1, 1], (h, w, 1): a slope and three Gaussian blotches."""
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in size)
    field = rng.uniform(-0.5, 0.5) * rows[:, None] + rng.uniform(-0.5, 0.5) * columns
    for _ in range(3):
        (row, column), wide = rng.uniform(-1, 1, 2), rng.uniform(0.3, 0.8)
        distance = (rows[:, None] - row) ** 2 + (columns - column) ** 2
        field = field + rng.uniform(-0.6, 0.6) * np.exp(-distance / (2 * wide**2))
    return field[..., None].astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A photograph to be judged on: its stratum and license, its print and what the print should become, uint8."""

    name: str
    stratum: str
    license: str
    family: Family
    print: Pixels
    truth: Pixels
    clean: Pixels


def cases_of(photos: Photos, seed: int = 7, every: int = 1) -> list[Case]:
    """Age every n-th photograph once, its family by its turn."""
    cases = []
    for turn, number in enumerate(range(0, len(photos), every)):
        entry, photo, family = photos.entries[number], photos[number], FAMILIES[turn % len(FAMILIES)]
        pair = judged_print(as_floats(photo), family, np.random.default_rng((seed, number)))
        facts = (entry["name"], str(entry.get("stratum", "")), str(entry.get("license", "")), family)
        cases.append(Case(*facts, as_bytes(pair.print), as_bytes(pair.truth), np.array(photo)))
    return cases


# --- rows -------------------------------------------------------------------------------------------------------------


def faded(pixels: Pixels) -> Pixels:
    """Leave a print as it is."""
    return pixels


def auto_levels(pixels: Pixels) -> Pixels:
    """Stretch each channel so that half a percent of it is black and half a percent white."""
    return stretched(pixels, np.percentile(pixels, (0.5, 99.5), axis=(0, 1)))


def auto_levels_joint(pixels: Pixels) -> Pixels:
    """Stretch all channels alike."""
    return stretched(pixels, np.percentile(pixels, (0.5, 99.5)))


def stretched(pixels: Pixels, ends: NDArray[np.float64]) -> Pixels:
    """Stretch code values from `ends` (black, white; single or a channel each) to the full range."""
    black, white = ends
    return as_bytes(np.clip((pixels - black) / np.maximum(white - black, 1), 0, 1).astype(np.float32))


def gray_world(pixels: Pixels) -> Pixels:
    """Scale the channels so that their means are equal (Buchsbaum, J. Franklin Inst. 310(1), 1980)."""
    means = pixels.mean((0, 1))
    return as_bytes(np.clip(pixels / 255 * (means.mean() / np.maximum(means, 1)), 0, 1).astype(np.float32))


def clahe(pixels: Pixels) -> Pixels:
    """Equalize lightness locally, contrast limited (Zuiderveld, Graphics Gems IV, 1994)."""
    from skimage import exposure  # an optional dependency: only this row needs it

    lab = rgb_to_lab(as_tensor(pixels))
    equalized = exposure.equalize_adapthist(lab[0].numpy() / 100, clip_limit=0.01)
    return as_pixels(lab_to_rgb(torch.cat([100 * torch.from_numpy(equalized).float()[None], lab[1:]])))


def by(defader: Defader) -> Maker:
    """Let a defader decide and render its layer."""

    def make(pixels: Pixels) -> Pixels:
        made: Pixels = rendering.apply(pixels, 0, pixels.shape[:2], None, defader([pixels])[0])
        return made

    return make


CLASSICS: dict[str, Maker] = {
    "faded": faded,
    "auto-levels-joint": auto_levels_joint,
    "auto-levels": auto_levels,
    "gray-world": gray_world,
    "clahe": clahe,
}

# --- scores -----------------------------------------------------------------------------------------------------------


def judge(name: str, make: Maker, cases: Sequence[Case]) -> dict[str, Any]:
    """Score one row.

    Means are over the prints without the family `lighting`, which cannot be undone from the picture alone and stands
    in `families` and in `delta_e2000_all`.
    """
    with measured() as cost:
        made = [make(case.print) for case in cases]
    scores = [score(make, picture, case) for picture, case in zip(made, cases, strict=True)]
    kept = [row for row, case in zip(scores, cases, strict=True) if case.family != "lighting"]
    grouped = {family: [r for r, c in zip(scores, cases, strict=True) if c.family == family] for family in FAMILIES}
    strata = {
        stratum: mean_of([row for row, case in zip(scores, cases, strict=True) if case.stratum == stratum])
        for stratum in sorted({case.stratum for case in cases})
    }
    return {
        "name": name,
        "photos": len(kept),
        **{key: mean_of(kept, key) for key in scores[0]},
        "delta_e2000_interval": interval(np.array([row["delta_e2000"] for row in kept])),
        "intervals": intervals(kept, ("delta_e2000", "psnr", "ssim", "neutral", "worse", "harm", "second_pass")),
        "delta_e2000_all": mean_of(scores),
        "families": {family: mean_of(rows) for family, rows in grouped.items() if rows},
        "harm": mean_of(scores, "harm"),
        "harm_worst": max(row["harm"] for row in scores),
        "strata": strata,
        "worst_stratum": max(strata, key=lambda stratum: strata[stratum]),
        "clear_license": without(UNCLEAR, scores, cases),
        "unseen": without(KNOWN, scores, cases),
        "seconds": cost.seconds / len(cases),
        "megabytes": cost.megabytes,
    }


def without(parts: Sequence[str], scores: Sequence[dict[str, float]], cases: Sequence[Case]) -> dict[str, float]:
    """Score a row on the prints, `lighting` apart, whose license text holds none of some parts; empty if none are left.

    Those of unclear license are left out so, or those that encoders may have seen.
    """
    kept = [
        row
        for row, case in zip(scores, cases, strict=True)
        if case.family != "lighting" and not any(part in case.license for part in parts)
    ]
    return {"photos": len(kept), "delta_e2000": mean_of(kept)} if kept else {}


def score(make: Maker, made: Pixels, case: Case) -> dict[str, float]:
    """Score one repair: how near it comes, and whether its maker leaves clean and repaired photographs alone."""
    ours, truth = as_tensor(made), as_tensor(case.truth)
    before, after = delta_e_2000(as_tensor(case.print), truth), delta_e_2000(ours, truth)
    neutral = rgb_to_lab(truth)[1:].norm(dim=0) < NEUTRAL
    chroma_left = rgb_to_lab(ours)[1:].norm(dim=0)[neutral]
    return {
        "delta_e2000": after,
        "psnr": min(psnr(ours, truth), 60.0),
        "ssim": ssim(ours, truth),
        "neutral": float(chroma_left.mean()) if neutral.any() else float("nan"),
        "worse": float(after > before + 0.05),
        "order_kept": order_kept(case.print, made),
        "harm": delta_e_2000(as_tensor(make(case.clean)), as_tensor(case.clean)),
        "second_pass": delta_e_2000(as_tensor(make(made)), ours),
    }


def order_kept(before: Pixels, after: Pixels, pairs: int = 4096) -> float:
    """Tell how many of the pairs of places that differ clearly in luma are still in the same order."""
    places = np.random.default_rng(0).integers(0, before.shape[0] * before.shape[1], (2, pairs))
    one, two = (rec709_luma(as_floats(pixels)).reshape(-1)[places] for pixels in (before, after))
    change, changed = one[0] - one[1], two[0] - two[1]
    clear = np.abs(change) > 8 / 255
    return float((change * changed > 0)[clear].mean()) if clear.any() else 1.0


def mean_of(rows: Sequence[dict[str, float]], key: str = "delta_e2000") -> float:
    """Return the mean of one score, leaving out photographs that have none."""
    values = [row[key] for row in rows if not math.isnan(row[key])]
    return float(np.mean(values)) if values else float("nan")


def rows_of(cases: Sequence[Case], defaders: dict[str, Defader]) -> Iterator[dict[str, Any]]:
    """Score the classic repairs (CLAHE where scikit-image is installed) and each defader, one at a time."""
    classics = {name: make for name, make in CLASSICS.items() if make is not clahe or find_spec("skimage")}
    for name, make in (classics | {name: by(defader) for name, defader in defaders.items()}).items():
        yield judge(name, make, cases)


def heading() -> str:
    """Return the heading of the table."""
    return (
        f"{'':<18}{'dE2000 [95 %]':>21} {'PSNR':>6} {'SSIM':>5} {'neutral':>7} {'worse':>5} {'harm':>5} {'worst':>5}"
        f" {'2nd':>5} {'order':>5} {'clear':>6} {'unseen':>6} {'dark':>5} {'light':>5} {'silver':>6} {'lighting':>8}"
        f" {'s':>5} {'MB':>4}"
    )


def line(row: dict[str, Any]) -> str:
    """Return a row for people; `heading` names its columns."""
    low, high = row["delta_e2000_interval"]
    families = [row["families"].get(family, float("nan")) for family in FAMILIES]
    return (
        f"{row['name']:<18}{row['delta_e2000']:6.2f} [{low:5.2f}, {high:5.2f}] {row['psnr']:6.2f} {row['ssim']:5.3f}"
        f" {row['neutral']:7.2f} {row['worse']:5.2f} {row['harm']:5.2f} {row['harm_worst']:5.1f}"
        f" {row['second_pass']:5.2f} {row['order_kept']:5.3f} {row['clear_license'].get('delta_e2000', math.nan):6.2f}"
        f" {row['unseen'].get('delta_e2000', math.nan):6.2f}"
        f" {families[0]:5.2f} {families[1]:5.2f} {families[2]:6.2f} {families[3]:8.2f}"
        f" {row['seconds']:5.2f} {row['megabytes']:4.0f}"
    )


# --- while a network trains -------------------------------------------------------------------------------------------


@torch.no_grad()
def quick_scores(network: DefadeNet, photos: Photos, most: int = 68) -> dict[str, float]:
    """Score a network at 128 x 128 while it trains: mean dE2000 of prints, harm on clean ones, and second passes."""
    found: dict[str, list[float]] = {"faded": [], "delta_e": [], "lighting": [], "harm": [], "second_pass": []}
    for number, photo in enumerate(list(photos)[:: max(1, len(photos) // most)]):
        clean = as_floats(np.asarray(Image.fromarray(photo).resize((SIDE, SIDE), Image.Resampling.BILINEAR)))
        family = FAMILIES[number % len(FAMILIES)]
        pair = judged_print(clean, family, np.random.default_rng((7, number)))
        print_, truth, untouched = (torch.from_numpy(p).permute(2, 0, 1)[None] for p in (pair.print, pair.truth, clean))
        once = pass_of(network, print_)
        found["lighting" if family == "lighting" else "delta_e"].append(delta_e_2000(once[0], truth[0]))
        found["harm"].append(delta_e_2000(pass_of(network, untouched)[0], untouched[0]))
        if family != "lighting":
            found["faded"].append(delta_e_2000(print_[0], truth[0]))
            found["second_pass"].append(delta_e_2000(pass_of(network, once)[0], once[0]))
    scores = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
    return {"score": scores["delta_e"] + scores["harm"] + scores["second_pass"], **scores}


def pass_of(network: DefadeNet, seen: torch.Tensor) -> torch.Tensor:
    """Repair (B, 3, 128, 128) and round it to 8 bits."""
    out = repair(calmed(network(seen), seen), seen.flatten(2), places(SIDE, SIDE)).view_as(seen)
    return (out * 255).round() / 255

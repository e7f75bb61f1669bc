"""How well colorizers do on photographs whose color is known, beside rows that say what a number is worth.

Each photo is judged at short side 256 in 8 bits. Its gray is its rounded Rec. 709 luma. Means over photos with 95 %
bootstrap intervals; colorfulness always beside the error, since gray has a small error. Scores are given again without
photographs of unclear license, and without those from ImageNet, which pretrained encoders have seen.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.evaluation import metrics
from retint_models.evaluation.measuring import measured
from retint_models.layers.types import ColorLayer
from retint_models.networks.color import join_luma_chroma, lab_to_rgb, rec709_luma, rgb_to_lab
from retint_models.networks.registry import Colorizer

UNCLEAR = ("ImageNet", "unstated", "not stated")
"""Parts of a license text that keep a photo out of the strict score."""
KNOWN = ("ImageNet",)
"""Parts of the license text of photographs that pretrained encoders have seen."""
INTERVALS = ("delta_e2000", "rmse_ab", "psnr", "ssim", "colorfulness", "delta_cf", "delta_cf_absolute", "swd")

Pixels = NDArray[np.uint8]
Maker = Callable[[int, Pixels], Pixels]
"""Takes a photo's number and its gray (h, w, 3), returns it in color."""


@dataclass(frozen=True)
class Shot:
    """A photo to be judged on: its stratum, its license, its true pixels and its gray, uint8 (h, w, 3)."""

    name: str
    stratum: str
    license: str
    true: Pixels
    gray: Pixels


def shots_of(photos: Photos) -> list[Shot]:
    """Prepare photographs for judging; the stratum is what their file name begins with."""
    shots = []
    for entry, pixels in zip(photos.entries, photos, strict=True):
        gray = as_pixels(rec709_luma(as_tensor(pixels)).expand(3, -1, -1))
        stratum = str(entry.get("stratum") or str(entry["name"]).split("-")[0])
        shots.append(Shot(entry["name"], stratum, str(entry.get("license", "")), np.array(pixels), gray))
    return shots


def as_tensor(pixels: Pixels) -> Tensor:
    """Return uint8 (h, w, 3) as (3, h, w) in [0, 1]."""
    return torch.from_numpy(np.array(pixels)).permute(2, 0, 1).float() / 255


def as_pixels(rgb: Tensor) -> Pixels:
    """Return (3, h, w) in [0, 1] rounded to uint8 (h, w, 3)."""
    pixels: Pixels = (255 * rgb.clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    return pixels


# --- rows -------------------------------------------------------------------------------------------------------------


def gray(number: int, seen: Pixels) -> Pixels:
    """Leave a photo gray: small error, no color."""
    return seen


def mean_ab(training: Photos) -> Maker:
    """Give everything the mean color of the training photographs."""
    mean = torch.stack([small_lab(pixels)[1:].mean((1, 2)) for pixels in training]).mean(0)

    def make(number: int, seen: Pixels) -> Pixels:
        lightness = rgb_to_lab(as_tensor(seen))[:1]
        return as_pixels(lab_to_rgb(torch.cat([lightness, mean.view(2, 1, 1).expand(-1, *lightness.shape[1:])])))

    return make


def table(training: Photos, levels: int = 16, rows: int = 8) -> Maker:
    """Give each place the mean color of the training photographs' places as light and as high up."""
    total, count = torch.zeros(2, levels * rows), torch.zeros(levels * rows)
    for pixels in training:
        lab = small_lab(pixels)
        cell = cells(lab[0], levels, rows).flatten()
        total.index_add_(1, cell, lab[1:].flatten(1))
        count.index_add_(0, cell, torch.ones(cell.numel()))
    means = total / count.clamp_min(1)

    def make(number: int, seen: Pixels) -> Pixels:
        lightness = rgb_to_lab(as_tensor(seen))[0]
        return as_pixels(lab_to_rgb(torch.cat([lightness[None], means[:, cells(lightness, levels, rows)]])))

    return make


def cells(lightness: Tensor, levels: int, rows: int) -> Tensor:
    """Number the cells of lightness (h, w) by level and by row of the picture."""
    level = (lightness / 100 * levels).long().clamp(0, levels - 1)
    row = (torch.arange(lightness.shape[0]) * rows // lightness.shape[0])[:, None]
    return level * rows + row


def small_lab(pixels: Pixels, side: int = 32) -> Tensor:
    """Return a photo reduced to a square, in CIELAB."""
    return rgb_to_lab(as_tensor(np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BOX))))


def shuffled(shots: Sequence[Shot], seed: int = 0) -> Maker:
    """Give each photo the color of another one: full color, all of it false."""
    order = np.random.default_rng(seed).permutation(len(shots))
    giver = {int(order[place]): int(order[place - 1]) for place in range(len(order))}

    def make(number: int, seen: Pixels) -> Pixels:
        size = (seen.shape[1], seen.shape[0])
        other = np.asarray(Image.fromarray(shots[giver[number]].true).resize(size, Image.Resampling.BILINEAR))
        return as_pixels(lab_to_rgb(torch.cat([rgb_to_lab(as_tensor(seen))[:1], rgb_to_lab(as_tensor(other))[1:]])))

    return make


def by(colorizer: Colorizer, settings: dict[str, float] | None = None) -> Maker:
    """Let a colorizer decide."""

    def make(number: int, seen: Pixels) -> Pixels:
        return applied(colorizer([seen], settings or {})[0], seen)

    return make


def applied(layer: ColorLayer, seen: Pixels) -> Pixels:
    """Put a color layer on the luma of a picture of about its size."""
    luma = rec709_luma(as_tensor(seen))
    chroma = torch.from_numpy(layer.chroma.astype(np.float32))[None]
    return as_pixels(join_luma_chroma(luma, functional.interpolate(chroma, size=luma.shape[1:], mode="bilinear")[0]))


# --- scores -----------------------------------------------------------------------------------------------------------


def judge(name: str, make: Maker, shots: Sequence[Shot]) -> dict[str, Any]:
    """Score one row: means, intervals, strata, costs, and the scores on photographs that nobody could object to."""
    with measured() as cost:
        made = [make(number, shot.gray) for number, shot in enumerate(shots)]
    smaller = [make(number, halved(shot.gray)) for number, shot in enumerate(shots)]
    scores = [score(*row) for row in zip(made, smaller, shots, strict=True)]
    strata = {
        stratum: mean_of(
            [row for row, shot in zip(scores, shots, strict=True) if shot.stratum == stratum], "delta_e2000"
        )
        for stratum in sorted({shot.stratum for shot in shots})
    }
    means = {key: mean_of(scores, key) for key in scores[0]}
    return {
        "name": name,
        "photos": len(shots),
        **means,
        "delta_e2000_interval": metrics.interval(np.array([row["delta_e2000"] for row in scores])),
        "intervals": metrics.intervals(scores, INTERVALS),
        "ratio": means["colorfulness"] / means["true_colorfulness"],
        "swd_set": metrics.sliced_wasserstein(pooled(made), pooled([shot.true for shot in shots])),
        "strata": strata,
        "worst_stratum": max(strata, key=lambda stratum: strata[stratum]),
        "clear_license": without(UNCLEAR, scores, shots),
        "unseen": without(KNOWN, scores, shots),
        "seconds": cost.seconds / len(shots),
        "megabytes": cost.megabytes,
    }


def without(parts: Sequence[str], scores: Sequence[dict[str, float]], shots: Sequence[Shot]) -> dict[str, float]:
    """Score a row on the photos whose license text holds none of some parts; empty if there are none."""
    kept = [row for row, shot in zip(scores, shots, strict=True) if not any(part in shot.license for part in parts)]
    if not kept:
        return {}
    ratio = mean_of(kept, "colorfulness") / mean_of(kept, "true_colorfulness")
    return {"photos": len(kept), "delta_e2000": mean_of(kept, "delta_e2000"), "ratio": ratio}


def halved(pixels: Pixels) -> Pixels:
    """Return a picture at half its size, box-reduced."""
    size = (max(1, pixels.shape[1] // 2), max(1, pixels.shape[0] // 2))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))


def score(made: Pixels, smaller: Pixels, shot: Shot) -> dict[str, float]:
    """Score one picture against the true photo, and against what came of the photo at half its size."""
    ours, true = as_tensor(made), as_tensor(shot.true)
    colorful, true_colorful = metrics.colorfulness(ours), metrics.colorfulness(true)
    drift, worst_drift = metrics.luma_drift(ours, as_tensor(shot.gray)[:1])
    return {
        "delta_e2000": metrics.delta_e_2000(ours, true),
        "delta_e_chroma": metrics.delta_e_chroma(ours, true),
        "rmse_ab": metrics.rmse_ab(ours, true),
        "psnr": min(metrics.psnr(ours, true), 60.0),
        "ssim": metrics.ssim(ours, true),
        "colorfulness": colorful,
        "true_colorfulness": true_colorful,
        "delta_cf": colorful - true_colorful,
        "delta_cf_absolute": abs(colorful - true_colorful),
        "under": max(0.0, true_colorful - colorful),
        "over": max(0.0, colorful - true_colorful),
        "swd": metrics.sliced_wasserstein(metrics.quantiles_ab(ours), metrics.quantiles_ab(true)),
        "between_sizes": metrics.ab_distance(ours, as_tensor(smaller)),
        "luma_drift": drift,
        "luma_drift_worst": worst_drift,
    }


def mean_of(rows: Sequence[dict[str, float]], key: str) -> float:
    """Return the mean of one score."""
    return float(np.mean([row[key] for row in rows]))


def pooled(pictures: Sequence[Pixels], each: int = 2048) -> Tensor:
    """Return the quantiles of the colors of a whole set, equally many places from each picture."""
    points = []
    for pixels in pictures:
        ab = rgb_to_lab(as_tensor(pixels))[1:].flatten(1)
        points.append(ab[:, torch.linspace(0, ab.shape[1] - 1, each).long()])
    return metrics.quantiles(torch.cat(points, 1))


def rows_of(shots: Sequence[Shot], training: Photos, colorizers: dict[str, Colorizer]) -> Iterator[dict[str, Any]]:
    """Score the calibration rows (two of them need training photographs) and each colorizer, one at a time."""
    makers: dict[str, Maker] = {"gray": gray, "mean-ab": mean_ab(training), "table": table(training)}
    makers |= {"shuffled": shuffled(shots)} | {name: by(colorizer) for name, colorizer in colorizers.items()}
    for name, make in makers.items():
        yield judge(name, make, shots)


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "colorizer      ": lambda row: f"{row['name']:<15}",
    "dE2000 [95 %]       ": lambda row: "{:6.2f} [{:5.2f}, {:5.2f}]".format(
        row["delta_e2000"], *row["delta_e2000_interval"]
    ),
    "   CF": lambda row: f"{row['ratio']:5.2f}",
    "  dCF": lambda row: f"{row['delta_cf']:5.1f}",
    "|dCF|": lambda row: f"{row['delta_cf_absolute']:5.1f}",
    "SWD set": lambda row: f"{row['swd_set']:7.2f}",
    "photo": lambda row: f"{row['swd']:5.2f}",
    "RMSE ab": lambda row: f"{row['rmse_ab']:7.2f}",
    " PSNR": lambda row: f"{row['psnr']:5.2f}",
    " SSIM": lambda row: f"{row['ssim']:5.3f}",
    "sizes": lambda row: f"{row['between_sizes']:5.2f}",
    "luma": lambda row: f"{row['luma_drift_worst']:4.2f}",
    "clear": lambda row: f"{row['clear_license'].get('delta_e2000', float('nan')):5.2f}",
    "    s": lambda row: f"{row['seconds']:5.2f}",
    "  MB": lambda row: f"{row['megabytes']:4.0f}",
    "worst stratum": lambda row: f"{row['worst_stratum']} {row['strata'][row['worst_stratum']]:.1f}",
}
"""What the table shows: colorfulness is the share of the true one, `clear` is CIEDE2000 on clearly licensed photos."""


def heading() -> str:
    """Return the heading of the table."""
    return "  ".join(COLUMNS)


def line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    return "  ".join(show(row) for show in COLUMNS.values())


def write_json(path: Path, rows: Sequence[dict[str, Any]], kind: str = "colorize") -> None:
    """Write the rows under their kind, keeping what else the file holds; a number that is none becomes null.

    Raises:
        ValueError: the file holds something else than JSON.
        OSError: it cannot be written.
    """
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file, so no scores are added to it") from error
    path.write_text(json.dumps(finite(known | {kind: list(rows)}), indent=1, allow_nan=False) + "\n")


def finite(value: Any) -> Any:
    """Replace numbers that JSON has not by None."""
    if isinstance(value, dict):
        return {name: finite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Scores of defaders on simulated prints of photographs that training did not see, beside classic repairs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from retint_models.datasets.fading import as_floats
from retint_models.datasets.halves import HALVES, half_of
from retint_models.evaluation.cost import measure_cost
from retint_models.evaluation.defade_baselines import CLASSICS
from retint_models.evaluation.metrics import (
    bootstrap_interval,
    bootstrap_intervals,
    delta_e_2000,
    mean_score,
    psnr,
    ssim,
)
from retint_models.evaluation.pictures import Pixels, to_tensor
from retint_models.evaluation.prints import FAMILIES, PrintSample, Repair
from retint_models.evaluation.samples import SEEN_BY_ENCODERS, UNCLEAR_LICENSES, is_licensed_as
from retint_models.layers import rendering
from retint_models.layers.color import rec709_luma
from retint_models.networks.color import rgb_to_lab
from retint_models.networks.registry import Defader

NEUTRAL = 4.0
"""CIELAB chroma of the truth below which a repair should be neutral."""
SCORES_WITH_INTERVAL = ("delta_e2000", "psnr", "ssim", "neutral", "worse", "harm", "second_pass")

COMPARED = ("delta_e2000", "psnr", "neutral", "harm", "second_pass")
"""Scores that are compared print by print."""


def repair_with(defader: Defader) -> Repair:
    """Return a repair by a defader: its layer, rendered."""

    def repair(pixels: Pixels) -> Pixels:
        rendered: Pixels = rendering.apply(pixels, 0, pixels.shape[:2], None, defader([pixels])[0])
        return rendered

    return repair


def score_defaders(samples: Sequence[PrintSample], defaders: Mapping[str, Repair]) -> Iterator[dict[str, Any]]:
    """Yield the row of each classic repair (CLAHE only where scikit-image is installed) and of each defader.

    Only the rows of defaders have `each`: classics are not compared print by print.
    """
    classics = {name: repair for name, repair in CLASSICS.items() if name != "clahe" or find_spec("skimage")}
    for name, repair in (classics | dict(defaders)).items():
        row = score_repairs(name, repair, samples)
        if name in classics:
            del row["each"]
        yield row


def score_repairs(name: str, repair: Repair, samples: Sequence[PrintSample]) -> dict[str, Any]:
    """Return one row: mean scores, intervals, CIEDE2000 by family, stratum and half, without some licenses, cost.

    The means leave out the family `lighting`, which cannot be undone from the picture alone. It is part of `families`
    and of `delta_e2000_all`.
    """
    with measure_cost() as cost:
        repairs = [repair(sample.print) for sample in samples]
    scores = [score_repair(repair, repaired, sample) for repaired, sample in zip(repairs, samples, strict=True)]
    pairs = list(zip(scores, samples, strict=True))
    undoable = [row for row, sample in pairs if sample.family != "lighting"]
    families = {family: [row for row, sample in pairs if sample.family == family] for family in FAMILIES}
    strata = {
        stratum: mean_score([row for row, sample in pairs if sample.stratum == stratum])
        for stratum in sorted({sample.stratum for sample in samples})
    }
    return {
        "name": name,
        "photos": len(undoable),
        **{key: mean_score(undoable, key) for key in scores[0]},
        "delta_e2000_interval": bootstrap_interval(np.array([row["delta_e2000"] for row in undoable])),
        "intervals": bootstrap_intervals(undoable, SCORES_WITH_INTERVAL),
        "delta_e2000_all": mean_score(scores),
        "families": {family: mean_score(rows) for family, rows in families.items() if rows},
        "harm": mean_score(scores, "harm"),
        "harm_worst": max(row["harm"] for row in scores),
        "strata": strata,
        "worst_stratum": max(strata, key=lambda stratum: strata[stratum]),
        "clear_license": print_scores_without(UNCLEAR_LICENSES, scores, samples),
        "unseen": print_scores_without(SEEN_BY_ENCODERS, scores, samples),
        "halves": {
            half: summarize_prints(
                [row for row, sample in pairs if sample.family != "lighting" and half_of(sample.name) == half]
            )
            for half in HALVES
        },
        "each": {
            sample.name: {"group": sample.family, **{score: row[score] for score in COMPARED}}
            for row, sample in pairs
            if sample.family != "lighting"
        },
        "seconds": cost.seconds / len(samples),
        "megabytes": cost.megabytes,
    }


def print_scores_without(
    licenses: Sequence[str], scores: Sequence[dict[str, float]], samples: Sequence[PrintSample]
) -> dict[str, Any]:
    """Return mean scores on the prints whose license text contains none of some parts; empty if there are none.

    `lighting` is left out, as in the row's means.
    """
    left = [
        row
        for row, sample in zip(scores, samples, strict=True)
        if sample.family != "lighting" and not is_licensed_as(sample.license, licenses)
    ]
    return summarize_prints(left)


def summarize_prints(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return CIEDE2000 of some prints with its interval; empty if there are none."""
    if not rows:
        return {}
    errors = np.array([row["delta_e2000"] for row in rows])
    return {"photos": len(rows), "delta_e2000": mean_score(rows), "interval": bootstrap_interval(errors)}


def score_repair(repair: Repair, repaired: Pixels, sample: PrintSample) -> dict[str, float]:
    """Score one repaired print, and whether the repair leaves the clean photograph and its own result alone."""
    ours, truth = to_tensor(repaired), to_tensor(sample.truth)
    before, after = delta_e_2000(to_tensor(sample.print), truth), delta_e_2000(ours, truth)
    is_neutral = rgb_to_lab(truth)[1:].norm(dim=0) < NEUTRAL
    chroma_left = rgb_to_lab(ours)[1:].norm(dim=0)[is_neutral]
    return {
        "delta_e2000": after,
        "psnr": min(psnr(ours, truth), 60.0),
        "ssim": ssim(ours, truth),
        "neutral": float(chroma_left.mean()) if is_neutral.any() else float("nan"),
        "worse": float(after > before + 0.05),
        "order_kept": share_in_order(sample.print, repaired),
        "harm": delta_e_2000(to_tensor(repair(sample.clean)), to_tensor(sample.clean)),
        "second_pass": delta_e_2000(to_tensor(repair(repaired)), ours),
    }


def share_in_order(before: Pixels, after: Pixels, pairs: int = 4096) -> float:
    """Return the share of pairs of places, clearly different in luma before, whose order is the same after."""
    places = np.random.default_rng(0).integers(0, before.shape[0] * before.shape[1], (2, pairs))
    luma_before, luma_after = (rec709_luma(as_floats(pixels)).reshape(-1)[places] for pixels in (before, after))
    difference_before, difference_after = luma_before[0] - luma_before[1], luma_after[0] - luma_after[1]
    is_clear = np.abs(difference_before) > 8 / 255
    return float((difference_before * difference_after > 0)[is_clear].mean()) if is_clear.any() else 1.0


def table_heading() -> str:
    """Return the heading of the table."""
    return (
        f"{'dE2000 [95 %]':>21} {'chose':>5} {'judge':>5} {'PSNR':>6} {'SSIM':>5} {'neutral':>7} {'worse':>5}"
        f" {'harm':>5} {'worst':>5} {'2nd':>5} {'order':>5} {'clear':>6} {'unseen':>6} {'dark':>5}"
        f" {'light':>5} {'silver':>6} {'lighting':>8} {'s':>5} {'MB':>4}"
    )


def table_line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    low, high = row["delta_e2000_interval"]
    families = [row["families"].get(family, math.nan) for family in FAMILIES]
    halves = [row["halves"][half].get("delta_e2000", math.nan) for half in HALVES]
    return (
        f"{row['delta_e2000']:6.2f} [{low:5.2f}, {high:5.2f}]"
        f" {halves[0]:5.2f} {halves[1]:5.2f} {row['psnr']:6.2f} {row['ssim']:5.3f}"
        f" {row['neutral']:7.2f} {row['worse']:5.2f} {row['harm']:5.2f} {row['harm_worst']:5.1f}"
        f" {row['second_pass']:5.2f} {row['order_kept']:5.3f} {row['clear_license'].get('delta_e2000', math.nan):6.2f}"
        f" {row['unseen'].get('delta_e2000', math.nan):6.2f}"
        f" {families[0]:5.2f} {families[1]:5.2f} {families[2]:6.2f} {families[3]:8.2f}"
        f" {row['seconds']:5.2f} {row['megabytes']:4.0f}"
    )

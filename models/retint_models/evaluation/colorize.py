"""Scores of colorizers on photographs whose colors are known, beside baselines that say what a number is worth.

Each photo is judged at short side 256 in 8 bits. Its gray is its rounded Rec. 709 luma. Scores are means over photos
with 95 % bootstrap intervals. Colorfulness always stands beside the error, since gray has a small error. Scores are
given again without photographs of unclear license, without those of ImageNet, which pretrained encoders have seen, and
for each half (`datasets.halves`).
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from retint_models.datasets.halves import HALVES, half_of
from retint_models.datasets.photographs import Photos
from retint_models.evaluation import calibration, colorize_baselines, metrics
from retint_models.evaluation.cost import measure_cost
from retint_models.evaluation.pages import make_pages
from retint_models.evaluation.pictures import Pixels, halve, to_tensor
from retint_models.evaluation.samples import (
    SEEN_BY_ENCODERS,
    UNCLEAR_LICENSES,
    Colorize,
    ColorSample,
    Decide,
    is_licensed_as,
)
from retint_models.evaluation.skin import NO_SKIN, score_skin
from retint_models.layers import rendering
from retint_models.networks.color import rec709_chroma, rgb_to_lab
from retint_models.networks.registry import Colorizer

SCORES_WITH_INTERVAL = (
    "delta_e2000",
    "rmse_ab",
    "psnr",
    "ssim",
    "colorfulness",
    "delta_cf",
    "delta_cf_absolute",
    "swd",
    "between_sizes",
    "skin",
    "skin_redder",
    "red_cheeks",
)
COMPARED = ("delta_e2000", "between_sizes", "skin", "skin_redder", "red_cheeks")
"""Scores that are compared photograph by photograph, besides the share of the mean true colorfulness."""
PEOPLE = "people"
"""The stratum in which skin is looked for."""


def decide_with(colorizer: Colorizer, settings: Mapping[str, float]) -> Decide:
    """Return the decision by a colorizer with settings."""
    return lambda gray: colorizer([gray], settings)[0]


def colorize_with(decide: Decide) -> Colorize:
    """Return a colorization by a network: its layer, rendered."""

    def colorize(number: int, gray: Pixels) -> Pixels:
        rendered: Pixels = rendering.colorize_proxy(gray, decide(gray))
        return rendered

    return colorize


def score_colorizers(
    samples: Sequence[ColorSample], training: Photos, networks: Mapping[str, Decide]
) -> Iterator[dict[str, Any]]:
    """Yield the row of each baseline and of each network; two baselines need the training photographs.

    Networks are also scored on pages without a photograph (`pages`), and on how true their confidence is on the half
    that judges (`calibration`). Only their rows have `each`: baselines are not compared photograph by photograph.
    """
    baselines: dict[str, Colorize] = {
        "gray": colorize_baselines.leave_gray,
        "mean-ab": colorize_baselines.colorize_with_mean_ab(training),
        "table": colorize_baselines.colorize_by_table(training),
        "shuffled": colorize_baselines.colorize_with_another_photo(samples),
    }
    gray: dict[str, float] = {}
    for name, colorize in (baselines | {name: colorize_with(decide) for name, decide in networks.items()}).items():
        row = score_colorization(name, colorize, samples)
        gray = gray or row["strata"]
        row["gray_beaten_in"] = [stratum for stratum, error in row["strata"].items() if error < gray[stratum]]
        if name in networks:
            row["pages"] = score_pages(colorize)
            row["calibration"] = judge_confidence(networks[name], samples)
        else:
            del row["each"]
        yield row


def judge_confidence(decide: Decide, samples: Sequence[ColorSample]) -> dict[str, Any]:
    """Return the calibration of a network on the half that judges; empty where it says the same of all photographs."""
    judging = [sample for sample in samples if half_of(sample.name) == "judge"]
    if not judging or np.ptp(decide(judging[0].gray).confidence) == 0:
        return {}
    return calibration.measure_calibration(judging, (decide(sample.gray) for sample in judging))


def score_pages(colorize: Colorize) -> dict[str, Any]:
    """Return the chroma that pages without a photograph are given, mean Rec. 709 chroma of 255: the less, the better.

    Returns:
        `chroma` with `interval` over pages, the mean of each group of pages, and the `worst` page with its chroma.
    """
    given: dict[str, float] = {}
    for number, (name, gray) in enumerate(make_pages()):
        colored = to_tensor(colorize(number, np.repeat(gray[..., None], 3, axis=2)))
        given[name] = 255 * float(rec709_chroma(colored[None]).norm(dim=1).mean())
    groups = list(dict.fromkeys(name.split(":")[0] for name in given))
    worst = max(given, key=lambda name: given[name])
    return {
        "chroma": float(np.mean(list(given.values()))),
        "interval": metrics.bootstrap_interval(np.array(list(given.values()))),
        "groups": {
            group: float(np.mean([chroma for name, chroma in given.items() if name.startswith(f"{group}:")]))
            for group in groups
        },
        "worst": [worst, given[worst]],
    }


def score_colorization(name: str, colorize: Colorize, samples: Sequence[ColorSample]) -> dict[str, Any]:
    """Return one row: mean scores, intervals, CIEDE2000 by stratum, by half and without some licenses, cost a photo."""
    with measure_cost() as cost:
        colored = [colorize(number, sample.gray) for number, sample in enumerate(samples)]
    half_size = [colorize(number, halve(sample.gray)) for number, sample in enumerate(samples)]
    scores = [score_picture(*row) for row in zip(colored, half_size, samples, strict=True)]
    strata = {
        stratum: metrics.mean_score(
            [row for row, sample in zip(scores, samples, strict=True) if sample.stratum == stratum], "delta_e2000"
        )
        for stratum in sorted({sample.stratum for sample in samples})
    }
    means = {key: metrics.mean_score(scores, key) for key in scores[0]}
    return {
        "name": name,
        "photos": len(samples),
        **means,
        "delta_e2000_interval": metrics.bootstrap_interval(np.array([row["delta_e2000"] for row in scores])),
        "intervals": metrics.bootstrap_intervals(scores, SCORES_WITH_INTERVAL),
        "ratio": means["colorfulness"] / means["true_colorfulness"],
        "swd_set": metrics.sliced_wasserstein(
            set_quantiles(colored), set_quantiles([sample.true for sample in samples])
        ),
        "strata": strata,
        "worst_stratum": max(strata, key=lambda stratum: strata[stratum]),
        "clear_license": color_scores_without(UNCLEAR_LICENSES, scores, samples),
        "unseen": color_scores_without(SEEN_BY_ENCODERS, scores, samples),
        "halves": {
            half: summarize_colors(
                [row for row, sample in zip(scores, samples, strict=True) if half_of(sample.name) == half]
            )
            for half in HALVES
        },
        "each": {
            sample.name: {
                "group": sample.stratum,
                "colorfulness": row["colorfulness"] / means["true_colorfulness"],
                **{score: row[score] for score in COMPARED},
            }
            for row, sample in zip(scores, samples, strict=True)
        },
        "seconds": cost.seconds / len(samples),
        "megabytes": cost.megabytes,
    }


def score_picture(colored: Pixels, half_size: Pixels, sample: ColorSample) -> dict[str, float]:
    """Score one picture against the true photo, and against the colorization of the photo at half its size."""
    ours, true = to_tensor(colored), to_tensor(sample.true)
    skin = score_skin(rgb_to_lab(ours), rgb_to_lab(true)) if sample.stratum == PEOPLE else NO_SKIN
    colorful, true_colorful = metrics.colorfulness(ours), metrics.colorfulness(true)
    drift, worst_drift = metrics.luma_drift(ours, to_tensor(sample.gray)[:1])
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
        "between_sizes": metrics.ab_distance(ours, to_tensor(half_size)),
        "luma_drift": drift,
        "luma_drift_worst": worst_drift,
        **skin,
    }


def color_scores_without(
    licenses: Sequence[str], scores: Sequence[dict[str, float]], samples: Sequence[ColorSample]
) -> dict[str, Any]:
    """Return mean scores on the samples whose license text contains none of some parts; empty if there are none."""
    return summarize_colors(
        [row for row, sample in zip(scores, samples, strict=True) if not is_licensed_as(sample.license, licenses)]
    )


def summarize_colors(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return CIEDE2000 with its interval, and the share of the true colorfulness, of some photos; empty if none."""
    if not rows:
        return {}
    return {
        "photos": len(rows),
        "delta_e2000": metrics.mean_score(rows, "delta_e2000"),
        "interval": metrics.bootstrap_interval(np.array([row["delta_e2000"] for row in rows])),
        "ratio": metrics.mean_score(rows, "colorfulness") / metrics.mean_score(rows, "true_colorfulness"),
    }


def set_quantiles(pictures: Sequence[Pixels], each: int = 2048) -> Tensor:
    """Return the quantiles of the colors of a set of pictures, taken at the same number of places in each."""
    points = []
    for pixels in pictures:
        ab = rgb_to_lab(to_tensor(pixels))[1:].flatten(1)
        points.append(ab[:, torch.linspace(0, ab.shape[1] - 1, each).long()])
    return metrics.quantiles(torch.cat(points, 1))


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "dE2000 [95 %]        ": lambda row: "{:6.2f} [{:5.2f}, {:5.2f}]".format(
        row["delta_e2000"], *row["delta_e2000_interval"]
    ),
    "chose": lambda row: f"{row['halves']['choose'].get('delta_e2000', math.nan):5.2f}",
    "judge": lambda row: f"{row['halves']['judge'].get('delta_e2000', math.nan):5.2f}",
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
    " skin": lambda row: f"{row['skin']:5.2f}",
    "redder": lambda row: f"{row['skin_redder']:6.2f}",
    "cheeks": lambda row: f"{row['red_cheeks']:6.2f}",
    "pages": lambda row: f"{row.get('pages', {}).get('chroma', math.nan):5.1f}",
    " gray": lambda row: f"{len(row['gray_beaten_in']):2}/{len(row['strata']):<2}",
    "clear": lambda row: f"{row['clear_license'].get('delta_e2000', math.nan):5.2f}",
    "    s": lambda row: f"{row['seconds']:5.2f}",
    "  MB": lambda row: f"{row['megabytes']:4.0f}",
    "worst stratum": lambda row: f"{row['worst_stratum']} {row['strata'][row['worst_stratum']]:.1f}",
}
"""Columns of the table. `CF` is the share of the true colorfulness; `chose`, `judge` and `clear` are CIEDE2000 on the
half that may choose, on the half that only judges, and on clearly licensed photos; `skin`, `redder` and `cheeks` are
those of `skin.score_skin`; `pages` is the chroma that blank and written pages get; `gray` in how many strata it is
beaten."""


def table_heading() -> str:
    """Return the heading of the table."""
    return "  ".join(COLUMNS)


def table_line(row: dict[str, Any]) -> str:
    """Return a row of the table."""
    return "  ".join(format_cell(row) for format_cell in COLUMNS.values())

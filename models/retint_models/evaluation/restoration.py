"""Scores of whole restorations: prints of photographs in color go in, and what comes out is compared with them.

The networks alone are judged on what the other one is spared: colorizers see clean gray, defaders are asked for gray
where the photograph was gray. Here both work on one print, through whatever restores it, and the truth is the
photograph in color.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, get_args

import numpy as np

from retint_models.datasets.fading import as_bytes, as_floats
from retint_models.datasets.halves import HALVES, half_of
from retint_models.datasets.photographs import Photos
from retint_models.evaluation import metrics
from retint_models.evaluation.pictures import Pixels, to_pixels, to_tensor
from retint_models.evaluation.prints import age_photograph, make_faded_black_and_white
from retint_models.networks.color import rec709_luma

PrintFamily = Literal["silver", "gray", "dark", "light"]
"""Black-and-white: faded (`silver`) or as good as new (`gray`). Color: faded in the dark, or by light."""
FAMILIES: tuple[PrintFamily, ...] = get_args(PrintFamily)
IN_TURN: tuple[PrintFamily, ...] = ("gray", "dark", "light")
"""Besides its faded black-and-white print, each photograph has a print of one of these."""


@dataclass(frozen=True)
class RestorationSample:
    """A print, and the photograph in color that it was made of: uint8 (h, w, 3), sRGB.

    Attributes:
        name: The photograph's file.
        family: What kind of print it is, and how it aged.
    """

    name: str
    family: str
    print: Pixels
    truth: Pixels


Restore = Callable[[RestorationSample], Pixels]
"""Restores a sample's print, and returns it at its size."""


def make_restoration_samples(photos: Photos, seed: int = 11, every: int = 1) -> list[RestorationSample]:
    """Make two prints of every n-th photograph; its name decides what is drawn, so that others change nothing."""
    samples = []
    for number in range(0, len(photos), every):
        name, photo = str(photos.entries[number]["name"]), np.array(photos[number])
        key = zlib.crc32(PurePath(name).stem.encode(errors="surrogateescape"))
        for turn, family in enumerate(("silver", IN_TURN[key % len(IN_TURN)])):
            aged = make_print(photo, family, np.random.default_rng((seed, key, turn)))
            samples.append(RestorationSample(name, family, aged, photo))
    return samples


def make_print(photo: Pixels, family: PrintFamily, rng: np.random.Generator) -> Pixels:
    """Make a print of a photograph, uint8 (h, w, 3), and age it as its family does."""
    if family == "gray":
        return to_pixels(rec709_luma(to_tensor(photo)).expand(3, -1, -1))
    if family == "silver":
        return as_bytes(make_faded_black_and_white(as_floats(photo), rng))
    return as_bytes(age_photograph(as_floats(photo), family, rng).print)


def score_restored(restored: Pixels, sample: RestorationSample) -> dict[str, float]:
    """Score one restored print against its photograph."""
    ours, truth = to_tensor(restored), to_tensor(sample.truth)
    return {
        "before": metrics.delta_e_2000(to_tensor(sample.print), truth),
        "delta_e2000": metrics.delta_e_2000(ours, truth),
        "colorfulness": metrics.colorfulness(ours),
        "true_colorfulness": metrics.colorfulness(truth),
    }


def score_restorations(
    samples: Sequence[RestorationSample],
    restorations: Mapping[str, Restore],
    report_progress: Callable[[], object] = lambda: None,
) -> list[dict[str, Any]]:
    """Restore all samples in several ways; return a row for each family and each way, in that order.

    Args:
        samples: Prints of photographs.
        restorations: By name.
        report_progress: Called after each restored print.
    """
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in restorations}
    for name, restore in restorations.items():  # one way after the other, so that few networks are loaded at a time
        for sample in samples:
            scores[name].append(score_restored(restore(sample), sample))
            report_progress()
    return [
        {"family": family, "name": name} | summarize_family(family, samples, scores[name])
        for family in dict.fromkeys(sample.family for sample in samples)
        for name in restorations
    ]


def summarize_family(
    family: str, samples: Sequence[RestorationSample], scores: Sequence[dict[str, float]]
) -> dict[str, Any]:
    """Return the mean scores of a family's prints, those by half, and those of `each` print."""
    members = [(sample, row) for sample, row in zip(samples, scores, strict=True) if sample.family == family]
    halves = {half: [row for sample, row in members if half_of(sample.name) == half] for half in HALVES}
    true_colorfulness = float(np.mean([row["true_colorfulness"] for _, row in members]))
    return {
        **summarize([row for _, row in members]),
        "halves": {half: summarize(rows) for half, rows in halves.items() if rows},
        "each": {
            sample.name: {
                "group": "",
                "delta_e2000": row["delta_e2000"],
                "colorfulness": row["colorfulness"] / true_colorfulness,
            }
            for sample, row in members
        },
    }


def summarize(scores: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Return mean scores of prints with a 95 % interval."""
    means = {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}
    return {
        "prints": len(scores),
        "before": means["before"],
        "delta_e2000": means["delta_e2000"],
        "interval": metrics.bootstrap_interval(np.array([score["delta_e2000"] for score in scores])),
        "colorfulness_ratio": means["colorfulness"] / means["true_colorfulness"],
    }


def table_heading() -> str:
    """Return the heading of the table."""
    return f"{'prints':<12} {'n':>4} {'before':>6} {'dE2000 [95 %]':>21} {'chose':>5} {'judge':>5} {'CF':>5}"


def table_line(row: Mapping[str, Any]) -> str:
    """Return a row of the table."""
    low, high = row["interval"]
    halves = [row["halves"].get(half, {}).get("delta_e2000", float("nan")) for half in HALVES]
    return (
        f"{row['family']:<12} {row['prints']:>4} {row['before']:6.2f} {row['delta_e2000']:6.2f}"
        f" [{low:5.2f}, {high:5.2f}] {halves[0]:5.2f} {halves[1]:5.2f} {row['colorfulness_ratio']:5.2f}"
    )

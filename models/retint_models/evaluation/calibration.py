"""Whether a colorizer's confidence is true: the error that it expects against the error that it makes.

A reliability diagram (DeGroot and Fienberg, 1983) of errors instead of probabilities: all places of all photographs,
parted by their confidence into five parts of the same size. A confidence that is calibrated expects in each part what
is found there. It is worth something on photographs that chose nothing: neither weights nor the confidence's own
numbers.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from retint_models.evaluation.metrics import bootstrap_interval
from retint_models.evaluation.pictures import to_tensor
from retint_models.evaluation.samples import ColorSample
from retint_models.layers import rendering
from retint_models.layers.types import CONFIDENCE_SCALE, ColorLayer
from retint_models.networks.color import ciede2000, rgb_to_lab

Floats = NDArray[np.float64]

PLACES = 2048
"""Places that are looked at in each photograph, so that large ones do not count more."""
PARTS = 5


def measure_calibration(samples: Sequence[ColorSample], layers: Iterable[ColorLayer]) -> dict[str, Any]:
    """Compare what layers expect with the CIEDE2000 error of the photographs that they are rendered to.

    Args:
        samples: Photographs.
        layers: One for each, decided on its gray at the settings that are to be judged.

    Returns:
        See `tabulate`.
    """
    pairs = [errors_at_places(sample, layer) for sample, layer in zip(samples, layers, strict=True)]
    return tabulate(np.stack([expected for expected, _ in pairs]), np.stack([true for _, true in pairs]))


def errors_at_places(sample: ColorSample, layer: ColorLayer) -> tuple[Floats, Floats]:
    """Return the expected and the true CIEDE2000 error at places of a photograph, two arrays (PLACES,)."""
    height, width = sample.true.shape[:2]
    confidence = np.asarray(Image.fromarray(layer.confidence).resize((width, height), Image.Resampling.BILINEAR))
    rendered = to_tensor(rendering.colorize_proxy(sample.gray, layer))
    true = ciede2000(rgb_to_lab(rendered)[None], rgb_to_lab(to_tensor(sample.true))[None])
    at = torch.linspace(0, height * width - 1, PLACES).long().numpy()
    return expected_error(confidence.ravel()[at]), true.double().numpy().ravel()[at]


def expected_error(confidence: NDArray[np.uint8]) -> Floats:
    """Return the CIEDE2000 error that a layer's confidence (0 to 255) stands for; 0 is taken for half a step."""
    return -CONFIDENCE_SCALE * np.log(np.maximum(confidence, 0.5) / 255)


def tabulate(expected: Floats, true: Floats, parts: int = PARTS) -> dict[str, Any]:
    """Tabulate expected and true errors by the expected one.

    Places that expect the same error are in the same part, so that a network that always says the same has one part.

    Args:
        expected: Errors that are expected, (photographs, places).
        true: Errors that are made, of the same shape.
        parts: How many parts of the same size there are.

    Returns:
        `parts`, from the surest to the least sure: `share` of all places, `expected`, `true` (means), and `interval`
        (95 % of the true one, by bootstrap over photographs). `gap`: the mean distance between expected and true error
        of the parts, by share. `rank_correlation` of all places (Spearman); NaN where there is one part.
    """
    edges = np.quantile(expected, np.arange(1, parts) / parts)
    numbers = np.searchsorted(edges, expected)
    rows = [summarize_part(expected, true, numbers == number) for number in np.unique(numbers)]
    return {
        "photos": len(expected),
        "parts": rows,
        "gap": sum(row["share"] * abs(row["expected"] - row["true"]) for row in rows),
        "rank_correlation": rank_correlation(expected.ravel(), true.ravel()),
    }


def summarize_part(expected: Floats, true: Floats, is_in: NDArray[np.bool_]) -> dict[str, Any]:
    """Return the row of one part, see `tabulate`."""
    counts = is_in.sum(1)
    means = (true * is_in).sum(1) / np.maximum(counts, 1)
    return {
        "share": float(is_in.mean()),
        "expected": float(expected[is_in].mean()),
        "true": float(true[is_in].mean()),
        "interval": bootstrap_interval(means, counts.astype(float)),
    }


def rank_correlation(one: Floats, two: Floats) -> float:
    """Return Spearman's rank correlation of two rows of numbers; NaN where one of them is the same everywhere."""
    first, second = (ranks - ranks.mean() for ranks in (mean_ranks(one), mean_ranks(two)))
    spread = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum()) / spread if spread else float("nan")


def mean_ranks(values: Floats) -> Floats:
    """Return the rank of each value; equal ones share the mean of their ranks."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Floats = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def table_lines(calibration: dict[str, Any]) -> list[str]:
    """Return the table, a line a part, and a last line for all of them."""
    lines = [f"{'confidence':<14}{'share':>6} {'expected':>8} {'true dE2000 [95 %]':>21}"]
    for number, row in enumerate(calibration["parts"], start=1):
        low, high = row["interval"]
        title, share, expected = f"part {number} of {len(calibration['parts'])}", row["share"], row["expected"]
        lines.append(f"{title:<14}{share:6.2f} {expected:8.2f} {row['true']:6.2f} [{low:5.2f}, {high:5.2f}]")
    lines.append(f"gap {calibration['gap']:.2f}, rank correlation {calibration['rank_correlation']:.2f}")
    return lines

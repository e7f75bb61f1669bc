"""How colorizers are scored and shown while they train; the same for all networks, so that runs can be compared."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.metrics import colorfulness
from retint_models.evaluation.pictures import to_pixels
from retint_models.networks.color import ciede2000, join_luma_chroma, rec709_luma, rgb_to_lab
from retint_models.training.loop import DrawSamples, Judge
from retint_models.training.precision import device_of

DecideChroma = Callable[[nn.Module, Tensor], Tensor]
"""Runs a network on Rec. 709 luma (1, 1, H, W) in [0, 1] and returns Cb and Cr (1, 2, h, w), of any size."""

GAINS = (0.7, 1.0, 1.3, 1.6, 2.0, 2.5)
"""Factors of the chroma that are tried first."""
FURTHER, SMALLEST_GAIN, LARGEST_GAIN = 1.5, 0.02, 40.0
"""Where these gains do not lead to the wanted colorfulness, more are tried, each so many times the one before, up to
these limits."""
NOT_REACHED = 200.0
"""Score of a network that has no color; more than CIEDE2000 can be (two colors of sRGB differ by at most about 120)."""


class Measured(NamedTuple):
    """Colorizations of all photographs at one gain.

    Attributes:
        gain: Factor of the chroma.
        share: Colorfulness, as a share of the true one.
        error: Mean CIEDE2000.
    """

    gain: float
    share: float
    error: float


class Decided(NamedTuple):
    """A photograph at half the size that a network sees, sRGB (1, 3, h, w), and the network's chroma (1, 2, h, w)."""

    rgb: Tensor
    chroma: Tensor


def make_colorizer_judge(photos: Photos, decide_chroma: DecideChroma, *, ratio: float = 0.68) -> Judge:
    """Return a judge whose score is the mean CIEDE2000 at the gain that gives a share of the true colorfulness.

    At a fixed gain a drab network beats a better one; at a fixed colorfulness the two can be compared. A network that
    no gain makes so colorful is worse than every one that can be: its score is `NOT_REACHED` minus the largest share
    that it has, its `gain` is NaN, and `reached` is 0. A network that gives NaN gets the score NaN.

    The scores `delta_e` and `share` are error and colorfulness at gain 1.

    Args:
        photos: Photographs that choose (`datasets.halves`).
        decide_chroma: Runs the network.
        ratio: The share of the true colorfulness.
    """

    def judge(network: nn.Module) -> dict[str, float]:
        decided = [decide_at_half_size(network, decide_chroma, photo) for photo in photos]
        true_colorfulness = float(np.mean([colorfulness(rgb[0]) for rgb, _ in decided]))

        def measure(gain: float) -> Measured:
            rows = [score_photo(one, gain) for one in decided]
            error, colorful = np.mean(rows, 0)
            return Measured(gain, float(colorful) / true_colorfulness, float(error))

        tried = try_gains(measure, ratio)
        plain = next(one for one in tried if one.gain == 1)
        return score_at_share(tried, ratio) | {"delta_e": plain.error, "share": plain.share}

    return judge


def try_gains(measure: Callable[[float], Measured], ratio: float) -> list[Measured]:
    """Measure at `GAINS`, and at smaller or larger ones until the share lies between two of them; in order of gain."""
    tried = [measure(gain) for gain in GAINS]
    while tried[-1].share < ratio and tried[-1].gain * FURTHER <= LARGEST_GAIN:
        tried.append(measure(tried[-1].gain * FURTHER))
    while tried[0].share > ratio and tried[0].gain / FURTHER >= SMALLEST_GAIN:
        tried.insert(0, measure(tried[0].gain / FURTHER))
    return tried


def score_at_share(tried: Sequence[Measured], ratio: float) -> dict[str, float]:
    """Return `score`, `gain` and `reached`, see `make_colorizer_judge`; linear between the two gains around the share.

    Args:
        tried: In order of gain.
        ratio: The wanted share.
    """
    if not all(math.isfinite(one.share) and math.isfinite(one.error) for one in tried):
        return {"score": math.nan, "gain": math.nan, "reached": 0.0}
    for below, above in pairwise(tried):
        if below.share <= ratio <= above.share:
            way = (ratio - below.share) / (above.share - below.share) if above.share > below.share else 0.0
            score, gain = (a + way * (b - a) for a, b in ((below.error, above.error), (below.gain, above.gain)))
            return {"score": score, "gain": gain, "reached": 1.0}
    return {"score": NOT_REACHED - max(one.share for one in tried), "gain": math.nan, "reached": 0.0}


def decide_at_half_size(network: nn.Module, decide_chroma: DecideChroma, photo: NDArray[np.uint8]) -> Decided:
    """Run a network on a photo, and return both at half the size that it was seen at."""
    rgb = to_network_size(photo, device_of(network))
    half = functional.avg_pool2d(rgb, 2)
    return Decided(half, decide_at_size(network, decide_chroma, rgb, (half.shape[-2], half.shape[-1])))


def score_photo(decided: Decided, gain: float) -> tuple[float, float]:
    """Return CIEDE2000 and colorfulness of a photo's colorization at a gain."""
    rgb, chroma = decided
    colored = join_luma_chroma(rec709_luma(rgb), gain * chroma)
    return float(ciede2000(rgb_to_lab(colored), rgb_to_lab(rgb)).mean()), colorfulness(colored[0])


def make_sample_drawer(photos: Photos, decide_chroma: DecideChroma, count: int = 12, side: int = 128) -> DrawSamples:
    """Return a function that draws a contact sheet; its rows are a photo's gray, the network's colors and the photo."""
    chosen = [photos[index] for index in np.linspace(0, len(photos) - 1, min(count, len(photos))).astype(int)]
    squares = [np.asarray(Image.fromarray(photo).resize((side, side), Image.Resampling.BILINEAR)) for photo in chosen]

    def draw(network: nn.Module) -> NDArray[np.uint8]:
        rows = []
        for square in squares:
            rgb = to_network_size(square, device_of(network))
            luma = rec709_luma(rgb)
            colored = join_luma_chroma(luma, decide_at_size(network, decide_chroma, rgb, (side, side)))
            rows.append(torch.cat([luma.expand(-1, 3, -1, -1), colored, rgb], 3))
        return to_pixels(torch.cat(rows, 2)[0])

    return draw


def to_network_size(photo: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Resize a photo so that its sides are multiples of 32 and at least 64: (1, 3, h, w) in [0, 1]."""
    height, width = (max(64, round(side / 32) * 32) for side in photo.shape[:2])
    resized = np.array(Image.fromarray(photo).resize((width, height), Image.Resampling.BILINEAR))
    return torch.from_numpy(resized).permute(2, 0, 1)[None].to(device).float() / 255


def decide_at_size(network: nn.Module, decide_chroma: DecideChroma, rgb: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a network's Cb and Cr for the luma of a picture, resized to (height, width)."""
    chroma = decide_chroma(network, rec709_luma(rgb)).float()
    return functional.interpolate(chroma, size=size, mode="bilinear", antialias=True)

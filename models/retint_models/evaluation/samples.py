"""Photographs to judge colorizers on, and which ones some scores leave out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from retint_models.datasets.photographs import Photos
from retint_models.evaluation.pictures import Pixels, to_pixels, to_tensor
from retint_models.layers.types import ColorLayer
from retint_models.networks.color import rec709_luma

UNCLEAR_LICENSES = ("ImageNet", "unstated", "not stated")
"""Parts of a license text that keep a photo out of the score on clearly licensed photographs."""
SEEN_BY_ENCODERS = ("ImageNet",)
"""Parts of the license text of photographs that pretrained encoders have seen."""

Decide = Callable[[Pixels], ColorLayer]
"""Takes a photo's gray (h, w, 3), and returns a network's decision."""
Colorize = Callable[[int, Pixels], Pixels]
"""Takes a sample's number and its gray (h, w, 3), and returns it in color."""


@dataclass(frozen=True)
class ColorSample:
    """A photo to judge colorizers on: its true pixels and its gray, uint8 (h, w, 3)."""

    name: str
    stratum: str
    license: str
    true: Pixels
    gray: Pixels


def make_color_samples(photos: Photos) -> list[ColorSample]:
    """Make samples of photographs; without a manifest the stratum is the file name's part before the first hyphen."""
    samples = []
    for entry, pixels in zip(photos.entries, photos, strict=True):
        gray = to_pixels(rec709_luma(to_tensor(pixels)).expand(3, -1, -1))
        stratum = str(entry.get("stratum") or str(entry["name"]).split("-")[0])
        samples.append(ColorSample(entry["name"], stratum, str(entry.get("license", "")), np.array(pixels), gray))
    return samples


def is_licensed_as(license_text: str, parts: Sequence[str]) -> bool:
    """Return whether a license text contains one of some parts."""
    return any(part in license_text for part in parts)

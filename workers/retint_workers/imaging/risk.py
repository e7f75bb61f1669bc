"""How likely a result is wrong, from what its layers say: reviewers look at the riskiest first."""

from typing import Final

import numpy as np

from retint_models.layers.color import join_luma_chroma, rec709_chroma
from retint_models.layers.types import ColorLayer, DensityLayer

STEP: Final = 4
"""Every fourth row and column of a layer is looked at: shares do not need more."""
SEEN: Final = 2 / 255
"""Chroma that is lost at the gamut's edge counts from here on."""
COLORLESS: Final = 0.15
"""What a remark that the result has no color adds to its risk."""


def measure_risk(color: ColorLayer | None, density: DensityLayer | None) -> float:
    """Estimate how likely a picture with these layers is wrong: 0, nothing speaks against it, to 0.85.

        risk = 0.5 * doubt + 0.2 * edge + 0.15 * gate, and `COLORLESS` where the result has no color

    Each summand is between 0 and its weight. The weights are a judgement, not a fit: no verdicts were there to fit to.
    Of a file with several pages the riskiest counts.

    - *doubt*: 1 - the mean confidence of the color layer; 0.5 where the network does not say (one value everywhere).
      0 without a color layer.
    - *edge*: the share of the picture whose color lies beyond what its luma has room for, so that it loses chroma.
    - *gate*: 1 - |2 g - 1| of the defader's gate g: it is undecided whether the print has faded.
    """
    doubt = edge = 0.0
    if color is not None:
        confidence = color.confidence[::STEP, ::STEP]
        doubt = 0.5 if confidence.min() == confidence.max() else 1 - float(confidence.mean()) / 255
        edge = _measure_edge(color)
    gate = 0.0 if density is None else 1 - abs(2 * density.gate - 1)
    return 0.5 * doubt + 0.2 * edge + 0.15 * gate


def _measure_edge(color: ColorLayer) -> float:
    """Return the share of the picture whose chroma is reduced, because its luma has no room for it."""
    luma = color.luma[::STEP, ::STEP, None].astype(np.float32)
    chroma = np.moveaxis(color.chroma[:, ::STEP, ::STEP], 0, -1).astype(np.float32)
    lost = np.linalg.norm(rec709_chroma(join_luma_chroma(luma, chroma)) - chroma, axis=-1)
    return float((lost > SEEN).mean())

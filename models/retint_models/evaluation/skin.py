"""Errors on skin: where a wrong color is seen first.

Skin is found on the true photograph, by its color alone: hue 30 to 65 degrees, chroma 12 to 36 and lightness 20 to 92
in CIELAB, in patches of at least 5 x 5 pixels. The limits were set by eye, on masks of the people of dev, before a
network was scored. The rule sees light and dark skin, but not what is in the picture: it also takes brick, fallen
leaves, wood and brown cloth, and it misses small faces and skin in orange light. So compare networks by it, and do not
take its numbers for those of faces.
"""

import math

from torch import Tensor
from torch.nn import functional

from retint_models.networks.color import ciede2000

HUE, CHROMA, LIGHTNESS = (30.0, 65.0), (12.0, 36.0), (20.0, 92.0)
PATCH = 5
"""Side of the smallest patch, in pixels of a picture of short side 256."""
LEAST = 0.01
"""Share of the picture below which there is too little skin to judge."""
RED = 8.0
"""How much larger CIELAB's a must be than the truth's for a cheek to be called red."""
NO_SKIN = dict.fromkeys(("skin", "skin_redder", "red_cheeks"), math.nan)
"""The scores of a picture in which there is too little skin to judge."""


def score_skin(ours: Tensor, true: Tensor) -> dict[str, float]:
    """Score the skin of a picture against the true photograph, both CIELAB (3, h, w); NaN where there is too little.

    Returns:
        `skin`: mean CIEDE2000; `skin_redder`: how much larger CIELAB's a is than the truth's, on average; `red_cheeks`:
        the share of the skin where that is more than `RED`.
    """
    is_skin = find_skin(true)
    if float(is_skin.float().mean()) < LEAST:
        return NO_SKIN
    redder = (ours[1] - true[1])[is_skin]
    return {
        "skin": float(ciede2000(ours, true)[is_skin].mean()),
        "skin_redder": float(redder.mean()),
        "red_cheeks": float((redder > RED).float().mean()),
    }


def find_skin(lab: Tensor) -> Tensor:
    """Return where a photograph, CIELAB (3, h, w), has the color of skin: bool (h, w)."""
    lightness, a, b = lab
    found = _is_between(b.atan2(a).rad2deg(), HUE) & _is_between(a.hypot(b), CHROMA) & _is_between(lightness, LIGHTNESS)
    # Morphological opening: what is left when every patch that the square does not fit into is taken away.
    eroded = -functional.max_pool2d(-found.float()[None, None], PATCH, 1, PATCH // 2)
    return functional.max_pool2d(eroded, PATCH, 1, PATCH // 2)[0, 0] > 0


def _is_between(values: Tensor, limits: tuple[float, float]) -> Tensor:
    return (values >= limits[0]) & (values <= limits[1])

"""Draw what is no photograph, for networks to learn that it has no color: blank sheets, writing, drawings, negatives.

Everything is made by program, since collections of photographs hold none of it. Variety counts for more than likeness.
Pictures are drawn large, then scanned as pages are: a part of them, a little askew, small, flat, blurred, noisy. A
gradient without grain might as well be a sky, so such pictures are rare here.
"""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageFilter

from retint_models.datasets import drawings, papers, reproductions, writing
from retint_models.datasets.fading import Floats

LEAST_SIDE = 64
ENLARGED = 2
"""How much larger than the result pictures are drawn."""

DRAWN: dict[str, tuple[float, Callable[[Generator, int], Floats]]] = {
    "uniform": (0.10, papers.draw_uniform),
    "paper": (0.14, papers.draw_paper),
    "fog": (0.07, papers.draw_fog),
    "album page": (0.06, papers.draw_album_page),
    "card back": (0.09, writing.draw_card_back),
    "text page": (0.12, writing.draw_text_page),
    "form": (0.04, writing.draw_form),
    "label": (0.06, writing.draw_label),
    "figures": (0.06, drawings.draw_figures),
    "map": (0.03, drawings.draw_map),
    "plan": (0.03, drawings.draw_plan),
    "chart": (0.02, drawings.draw_chart),
    "radiograph": (0.03, drawings.draw_radiograph),
}
"""Kinds that are drawn from nothing, with their shares: most for what networks color most, blank sheets."""

FROM_PHOTOGRAPHS: dict[str, tuple[float, Callable[[Generator, Floats], Floats]]] = {
    "newspaper": (0.02, reproductions.make_newspaper),
    "negative": (0.06, reproductions.make_negative),
    "pencil drawing": (0.03, reproductions.make_pencil_drawing),
    "engraving": (0.02, reproductions.make_engraving),
    "halftone": (0.01, reproductions.make_halftone),
    "photocopy": (0.01, reproductions.make_photocopy),
}
"""Kinds that are made from a photograph, with their shares."""

SCREENED = ("pencil drawing", "engraving", "halftone", "photocopy")
"""Kinds that look like the photograph itself where their lines and dots are blurred."""


def draw_not_photograph(rng: Generator, side: int, photograph: Floats | None = None, kind: str | None = None) -> Floats:
    """Draw a picture that is no photograph.

    Args:
        rng: The only source of randomness.
        side: Of the picture, in pixels, at least `LEAST_SIDE`.
        photograph: Luma (h, w) in [0, 1] of a photograph, gamma-coded, of any size. Without one, no kind is drawn that
            is made from photographs.
        kind: A key of `DRAWN` or `FROM_PHOTOGRAPHS`; drawn by their shares if None.

    Returns:
        Gray, float32 (side, side) in [0, 1], gamma-coded.

    Raises:
        ValueError: the side is too small, or the kind is unknown or made from photographs, and there is none.
    """
    if side < LEAST_SIDE:
        raise ValueError(f"a picture of {side} pixels is too small to show anything: draw at least {LEAST_SIDE}")
    shares = {name: share for name, (share, _) in DRAWN.items()}
    if photograph is not None:
        shares |= {name: share for name, (share, _) in FROM_PHOTOGRAPHS.items()}
    if kind is None:
        kind = str(rng.choice(list(shares), p=np.array(list(shares.values())) / sum(shares.values())))
    if kind not in shares:
        raise ValueError(f"no kind {kind!r} can be drawn here; choose one of {', '.join(shares)}")
    large = ENLARGED * side
    if photograph is None or kind in DRAWN:
        picture = DRAWN[kind][1](rng, large)
    else:
        picture = FROM_PHOTOGRAPHS[kind][1](rng, cut_square(photograph, large))
    return scan_at_random(picture, side, rng, is_sharp=kind in SCREENED)


def cut_square(photograph: Floats, side: int) -> Floats:
    """Cut the largest square from the middle of a photograph (h, w), and resize it."""
    height, width = photograph.shape
    extent = min(height, width)
    left, top = (width - extent) / 2, (height - extent) / 2
    image = Image.fromarray(np.asarray(photograph, np.float32))
    box = (left, top, left + extent, top + extent)
    return np.array(image.resize((side, side), Image.Resampling.BICUBIC, box))


def scan_at_random(picture: Floats, side: int, rng: Generator, *, is_sharp: bool = False) -> Floats:
    """Scan a picture: turned, cut, reduced to a side, in uneven light, with other levels and noise, perhaps blurred."""
    image = Image.fromarray(np.clip(picture, 0, 1))
    turn = rng.choice((0.0, rng.normal(0, 1.5), rng.uniform(-25, 25)), p=(0.3, 0.55, 0.15))
    image = image.rotate(90 * int(rng.choice(4, p=(0.79, 0.07, 0.07, 0.07))))
    if turn:
        bed = float(rng.choice((rng.uniform(0, 1), 0.02, 0.98)))
        image = image.rotate(turn, Image.Resampling.BILINEAR, fillcolor=bed)
    extent = image.width * rng.choice((1.0, rng.uniform(0.5, 1)))
    left, top = rng.uniform(0, image.width - extent, 2)
    image = image.resize((side, side), Image.Resampling.HAMMING, (left, top, left + extent, top + extent))
    scanned = np.array(image, np.float32)
    if rng.random() < 0.5:
        scanned *= papers.shade(rng, side)
    if not is_sharp and rng.random() < 0.25:
        soft = Image.fromarray((255 * np.clip(scanned, 0, 1)).astype(np.uint8))
        scanned = np.asarray(soft.filter(ImageFilter.GaussianBlur(rng.uniform(0.4, 2))), np.float32) / np.float32(255)
    if rng.random() < 0.4:
        scanned = change_levels(scanned, rng)
    noise = rng.standard_normal(scanned.shape, np.float32) * np.float32(rng.choice((0.0, rng.uniform(0, 0.03))))
    return np.asarray(np.clip(scanned + noise, 0, 1), np.float32)


def change_levels(picture: Floats, rng: Generator) -> Floats:
    """Flatten a picture into a part of the range, or stretch it towards all of the range, as networks' views are."""
    if rng.random() < 0.5:
        contrast = np.float32(rng.uniform(0.15, 1))
        return contrast * picture + np.float32(rng.uniform(0, 1 - contrast))
    low, high = np.quantile(picture, (0.005, 0.995)).astype(np.float32)
    share = np.float32(rng.uniform(0, 0.85))
    stretched: Floats = (picture - share * low) / (1 - share * (1 - high + low))
    return stretched

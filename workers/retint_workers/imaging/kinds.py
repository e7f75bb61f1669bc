"""Tells gray, toned and color photographs apart, and these from what is no photograph."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from retint_models.layers.color import CB_SCALE, CR_SCALE, LUMA
from retint_workers.imaging.outlines import dilate, draw_ellipse

Floats = NDArray[np.float64]

# Limits of chroma in code values of 255. Of 1,589 color photographs 1.1 % are taken for toned or neutral, of 481
# simulated old prints none for color; of 35 real old photographs all 6 in color and all 29 monochrome ones are told.
GRAY_CHROMA = 4.0
WEAK_CHROMA = 9.0
MAX_RESIDUAL_95 = 8.0
MAX_ACROSS_95 = 2.8
MAX_ACROSS_99 = 4.3
LUMA_GROUPS = 24
SIDE = 96
RIM = 1 / 20
"""Share of each side that is ignored: rests of mounts and scanner beds lie there."""

SPOT = 5
"""How far around a colored spot, in pixels of `SIDE`, all is left out."""
MOST_SPOTTED = 0.1
"""Share of a picture that a stamp or a label of another color takes at most."""

MOST_BLANK = 6.0
"""How far, in code values, 95 % of a blank picture's pixels are from a smooth surface at most. Of 1,830 photographs and
simulated prints the flattest has 11; paper and noise have 1 to 7.4, a gray ramp .5."""

# Limits for documents. Of 2,300 photographs and simulated prints none comes closer than .11 to an even page; typed and
# handwritten pages and drawings have .02 to .05.
TEXT_SIDE = 256
LEAST_TEXT_SIDE = 24
STROKE = 9
"""What is thinner, in pixels, is ink; what is left without it is the page."""
LEAST_INK = 25
"""How much darker than the page ink is, in code values."""
MOST_UNEVEN = 0.08
"""How far 90 % of a page is from a smooth surface at most, as a share of the contrast between page and ink."""
INKED = (0.005, 0.4)
"""Share of a page that ink covers."""
CELLS = 8
LEAST_CELLS = 0.4
"""Share of the page's 8 x 8 cells that have ink: an aeroplane in the sky is no text."""


def detect_kind(pixels: NDArray[np.uint8]) -> str:
    """Tell what a picture (h, w, 3) is.

    `blank`: nothing to see. `document`: text or line art. Photographs: `neutral` (gray), `toned` (one hue, such as
    sepia or cyanotype) or `color`.
    """
    rgb = _shrink(pixels, SIDE)
    if _is_blank(rgb):
        return "blank"
    if _is_document(_shrink(pixels, TEXT_SIDE) @ LUMA):
        return "document"
    inside = draw_ellipse(*rgb.shape[:2])  # burns, yellowing and oval mounts lie in the corners
    luma = rgb @ LUMA
    chroma = np.stack([(rgb[..., 2] - luma) / CB_SCALE, (rgb[..., 0] - luma) / CR_SCALE], -1)
    residual = np.zeros_like(chroma)
    residual[inside] = _subtract_tone(luma[inside], chroma[inside])
    spots = dilate(np.hypot(residual[..., 0], residual[..., 1]) > MAX_RESIDUAL_95, SPOT)
    if spots[inside].mean() <= MOST_SPOTTED:
        inside &= ~spots
    strength = np.percentile(np.hypot(*chroma[inside].T), 99)
    if strength < GRAY_CHROMA:
        return "neutral"
    single = strength < WEAK_CHROMA or _has_single_hue(luma[inside], chroma[inside])
    return "toned" if single else "color"


def _shrink(pixels: NDArray[np.uint8], side: int) -> Floats:
    """Shrink a picture to a long side of at most `side` pixels, and cut off its rim."""
    scale = min(1.0, side / max(pixels.shape[:2]))
    size = tuple(max(1, round(length * scale)) for length in pixels.shape[1::-1])
    rgb = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX), np.float64)
    rows, columns = (round(length * RIM) for length in rgb.shape[:2])
    return rgb[rows : len(rgb) - rows, columns : rgb.shape[1] - columns]


def _is_blank(rgb: Floats) -> bool:
    """Whether there is nothing in a picture (h, w, 3) but slow changes: paper, fog, a scanner's bed, uneven light."""
    return bool(np.percentile(_subtract_surface(rgb), 95, axis=(0, 1)).max() < MOST_BLANK)


def _is_document(luma: Floats) -> bool:
    """Whether a picture (h, w), in code values, is an even page with thin dark ink all over it."""
    height, width = luma.shape
    if min(height, width) < LEAST_TEXT_SIDE:
        return False
    page = 255 - dilate(255 - dilate(luma, STROKE), STROKE)
    ink = page - luma > LEAST_INK
    contrast = np.percentile(luma, 90) - np.percentile(luma, 2)
    if not INKED[0] < ink.mean() < INKED[1] or np.percentile(_subtract_surface(page), 90) > MOST_UNEVEN * contrast:
        return False
    cells = ink[: height - height % CELLS, : width - width % CELLS].reshape(CELLS, height // CELLS, CELLS, -1)
    return bool((cells.mean(axis=(1, 3)) > 0.01).mean() >= LEAST_CELLS)


def _subtract_surface(pixels: Floats) -> Floats:
    """Return how far pixels (h, w) or (h, w, 3) are from the surface of the second degree that fits best."""
    height, width = pixels.shape[:2]
    down, across = np.meshgrid(np.linspace(-1, 1, height), np.linspace(-1, 1, width), indexing="ij")
    terms = np.stack([np.ones_like(down), down, across, down**2, across**2, down * across], -1).reshape(-1, 6)
    values = pixels.reshape(height * width, -1)
    surface = terms @ np.linalg.lstsq(terms, values, rcond=None)[0]
    return np.asarray(np.abs(values - surface).reshape(pixels.shape))


def _has_single_hue(luma: Floats, chroma: Floats) -> bool:
    """Whether chroma (n, 2) follows from luma (n,), as in a toned print.

    There the residual after subtracting the median chroma of each luma is small. Across the print's own hue it is
    smaller still, because stains and uneven toning lie along the hue.
    """
    residual = _subtract_tone(luma, chroma)
    mean = chroma.mean(axis=0)
    hue = mean / max(np.hypot(*mean), 1e-6)
    across = np.abs(residual @ (-hue[1], hue[0]))
    return bool(
        np.percentile(np.hypot(*residual.T), 95) < MAX_RESIDUAL_95
        and np.percentile(across, 95) < MAX_ACROSS_95
        and np.percentile(across, 99) < MAX_ACROSS_99
    )


def _subtract_tone(luma: Floats, chroma: Floats) -> Floats:
    """Subtract from each chroma (n, 2) the median chroma of its luma (n,)."""
    residual = chroma.copy()
    for group in np.array_split(np.argsort(luma, kind="stable"), LUMA_GROUPS):
        if len(group):
            residual[group] -= np.median(chroma[group], axis=0)
    return residual

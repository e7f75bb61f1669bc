"""Tells color targets from pictures: rows of even patches of many hues."""

from collections.abc import Iterator

import numpy as np

from retint_workers.imaging.outlines import Floats, measure_difference

FLAT = 14.0
"""By how many code values, at most, neighbours in a patch or in the card differ: noise, and JPEG."""
SAME = 0.85
"""Share of a row's pixels that are as in the row before, inside a row of patches."""
LEAST_ROWS = 4
MARGIN = 1
"""The card's edge beyond the last patch, in pixels."""
LEAST_PATCH = 3
"""Shortest side of a patch, in pixels."""
LEAST_CHROMA = 30.0
HUES = 12
LEAST_HUES = 6
"""In how many twelfths of the color circle a target has patches."""
LEAST_COVERED = 0.4
"""Share of a row that patches and the card between them cover."""
MOST_DEPTH = 0.34
"""A strip with a target takes at most this share of the page."""


def is_target(colors: Floats) -> bool:
    """Whether pixels (h, w, 3) show a color target."""
    views = colors, colors.swapaxes(0, 1)
    return any(_has_patches(view[start:end]) for view in views for start, end in _find_bands(view))


def measure_strip(page: Floats) -> int:
    """Return how many rows at the top of a page (h, w, 3) are a color target and its card; 0 if there is none."""
    limit = int(len(page) * MOST_DEPTH)
    depth = 0
    for start, end in _find_bands(page[: limit + 1]):
        is_next = start - depth <= LEAST_ROWS or _is_card(page[depth + 1 : start - 1])
        if end > limit or not is_next:
            break
        if _has_patches(page[start:end]):
            depth = end
    return depth + MARGIN if depth else 0


def _find_bands(colors: Floats) -> Iterator[tuple[int, int]]:
    """Yield the first row of each band of rows that are alike, and the one past its last."""
    alike = (measure_difference(colors[1:], colors[:-1]) < FLAT).mean(axis=1) >= SAME
    edges = np.flatnonzero(np.diff(np.concatenate([[False], alike, [False]]).astype(np.int8)))
    for start, end in edges.reshape(-1, 2):
        if end + 1 - start >= LEAST_ROWS:
            yield int(start), int(end) + 1


def _is_card(rows: Floats) -> bool:
    """Whether rows (n, w, 3) have one color."""
    return not rows.size or bool(np.percentile(measure_difference(rows, np.median(rows, axis=(0, 1))), 90) < FLAT)


def _has_patches(band: Floats) -> bool:
    """Whether a band of like rows (n, w, 3) consists of even patches, of many hues."""
    colors = np.median(band, axis=0)
    starts = np.flatnonzero(np.concatenate([[True], measure_difference(colors[1:], colors[:-1]) >= FLAT * 0.7]))
    lengths = np.diff(np.append(starts, len(colors)))
    drift = (np.maximum.reduceat(colors, starts) - np.minimum.reduceat(colors, starts)).max(axis=1)
    even = (lengths >= LEAST_PATCH) & (drift < 1.5 * FLAT)
    if lengths[even].sum() < LEAST_COVERED * len(colors):
        return False
    patches = (np.add.reduceat(colors, starts) / lengths[:, None])[even]
    red_green = patches[:, 0] - patches[:, 1]
    yellow_blue = (patches[:, 0] + patches[:, 1]) / 2 - patches[:, 2]
    hues = np.arctan2(yellow_blue, red_green)[np.hypot(red_green, yellow_blue) > LEAST_CHROMA]
    return len(np.unique(np.floor(hues / (2 * np.pi) * HUES))) >= LEAST_HUES

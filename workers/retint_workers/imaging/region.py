"""Finds the pictures in a scan."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint.region import WHOLE, Rectangle, Region


def find_region(page: NDArray[np.uint8]) -> Region:
    """Find the pictures on an upright page, (h, w, 3) sRGB, long side about 768."""
    return WHOLE


def crop(page: NDArray[Any], rectangle: Rectangle) -> NDArray[Any]:
    """Return the pixels (h, w, ...) of a page inside a rectangle; a view."""
    left, top, right, bottom = rectangle.to_pixels(page.shape[1], page.shape[0])
    return page[top:bottom, left:right]

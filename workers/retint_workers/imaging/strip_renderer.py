"""Applies the layers of one picture to its strips, and measures on the way what verification needs."""

import zlib
from typing import Any

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint_models.layers.rendering import Rendering, luma_drift
from retint_models.layers.types import Layers
from retint_workers.imaging.color import spaces
from retint_workers.imaging.color.spaces import ColorSpace
from retint_workers.imaging.decoding.formats import Header
from retint_workers.imaging.stored_region import Picture
from retint_workers.imaging.verify import MarkedPixels
from retint_workers.imaging.watermark import Watermark

SAMPLED_ROWS = 8
"""Rows of a strip on which the change of luma by color is measured where that costs two more renderings."""


class StripRenderer:
    """Renders the strips of one photo in order, and measures what verification needs.

    Attributes:
        checksum: CRC-32 of the rendered pixels so far.
        drift: the largest change of luma by color alone so far, as a fraction of full scale.
    """

    def __init__(
        self,
        layers: Layers,
        header: Header,
        space: ColorSpace,
        bands: int,
        picture: Picture,
        *,
        has_watermark: bool,
    ) -> None:
        self.checksum = 0
        self.drift = 0.0
        self._picture, self._bands = picture, bands
        self._size = picture.region.bounds_size
        self._has_layers = any(layers)
        self._source, self._space = header.space, space
        threads = pyvips.concurrency_get()  # a child's share of the machine
        self._layers = Rendering(*layers, orientation=header.orientation, encoding=space.encoding, threads=threads)
        where = picture.region.largest
        self._watermark = Watermark.fit(where, bands, header.orientation, space) if has_watermark else None
        self._bare: list[NDArray[Any]] = []
        self._marked: list[NDArray[Any]] = []

    def render(self, strip: NDArray[Any], top: int) -> NDArray[Any]:
        """Render the strip that begins with this row."""
        if not self._source.has_way_back and self._space is not self._source:
            strip = spaces.convert(strip, self._source, self._space)
        rendered = self._picture.region.change_pixels(strip, top, self._bands, self._restore)
        if self._watermark is not None:
            self._bare.append(self._watermark.pixels_under(rendered, top).copy())
            self._watermark.draw_on(rendered, top)
            self._marked.append(self._watermark.pixels_under(rendered, top).copy())
        self.checksum = zlib.crc32(rendered.data, self.checksum)
        return rendered

    def _restore(self, pixels: NDArray[Any], top: int) -> NDArray[Any]:
        """Render pixels of the region's bounds, whose row `top` they begin with."""
        # Contiguous, because to numba others are of another type.
        pixels = np.invert(pixels) if self._picture.is_inverted else np.ascontiguousarray(pixels)
        if not self._has_layers:
            return pixels.copy()
        rendered = self._layers.apply(pixels, top, self._size)
        self._measure_drift(pixels, top, rendered)
        return rendered

    def _measure_drift(self, strip: NDArray[Any], top: int, rendered: NDArray[Any]) -> None:
        if not self._layers.has_color:
            return
        if self._layers.has_density:
            drift = self._layers.measure_color_drift(strip[:SAMPLED_ROWS], top, self._size)
        else:
            drift = luma_drift(strip, rendered)
        self.drift = max(self.drift, drift)

    def marked_pixels(self) -> MarkedPixels | None:
        """Return the pixels under the watermark after the last strip; None without a watermark."""
        if self._watermark is None:
            return None
        return MarkedPixels(self._watermark, np.concatenate(self._bare), np.concatenate(self._marked))

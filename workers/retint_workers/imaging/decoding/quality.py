"""Estimates with which quality a lossy file was written, so that its result is no worse.

Sources: ITU-T T.81, B.2.4.1 and table K; RFC 6386 (VP8), sections 7 and 9.
"""

import struct
from bisect import bisect_right
from collections.abc import Iterable

DEFAULT_QUALITY = 90
"""Where nothing tells the quality."""
LUMINANCE = (
    16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51,
    87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121, 120, 101,
    72, 92, 95, 98, 112, 100, 103, 99,
)  # fmt: skip
CHROMINANCE = (17, 18, 24, 47, 18, 21, 26, 66, 24, 26, 56, 99, 47, 66, 99, 99, *(99,) * 48)
"""Quantization at quality 50 (tables K.1 and K.2, in any order)."""
VP8_INDICES = (
    127, 115, 111, 107, 104, 102, 100, 98, 96, 94, 92, 90, 89, 87, 86, 85, 83, 82, 81, 80, 78, 77, 76, 75, 74, 73,
    72, 71, 70, 69, 68, 67, 66, 65, 64, 64, 63, 62, 61, 60, 59, 59, 58, 57, 56, 55, 55, 54, 53, 52, 52, 51, 50, 50,
    49, 48, 48, 47, 46, 46, 45, 44, 44, 43, 42, 42, 41, 40, 40, 39, 39, 38, 37, 37, 36, 36, 34, 32, 30, 29, 27, 26,
    24, 23, 21, 20, 18, 17, 15, 14, 12, 11, 10, 8, 7, 6, 5, 3, 2, 1, 0,
)  # fmt: skip
"""Quantizer index that libwebp 1.6 writes for each quality from 0 to 100, measured."""


def estimate_jpeg_quality(tables: Iterable[bytes]) -> int:
    """Estimate the quality, 1 to 100, from all tables of DQT segments: libjpeg's scale, the best of all tables.

    Args:
        tables: the segments' data; each holds one table or more.
    """
    found: dict[int, tuple[int, int]] = {}
    for data in tables:
        at = 0
        while at < len(data):
            size = 128 if data[at] >> 4 else 64
            values = data[at + 1 : at + 1 + size]
            if len(values) < size:
                break
            steps = struct.unpack(">64H", values) if size == 128 else values
            found[data[at] & 15] = sum(steps), 255 if size == 64 else 32767
            at += 1 + size
    estimates = [
        _nearest_quality(total, most, CHROMINANCE if number else LUMINANCE) for number, (total, most) in found.items()
    ]
    return max(estimates, default=DEFAULT_QUALITY)


def _nearest_quality(total: int, most: int, standard: tuple[int, ...]) -> int:
    """Return the quality whose table, with steps of so many at most, has the sum nearest to this one."""

    def sum_at(quality: int) -> int:
        scale = 5000 // quality if quality < 50 else 200 - 2 * quality
        return sum(min(max((step * scale + 50) // 100, 1), most) for step in standard)

    return min(range(100, 0, -1), key=lambda quality: abs(sum_at(quality) - total))


def estimate_vp8_quality(frame: bytes) -> int:
    """Estimate the quality, 1 to 100, from the head of a VP8 key frame: its quantizer index (RFC 6386, 9.2 to 9.6)."""
    bits = _BoolDecoder(frame[10:])
    bits.read(2)  # color space, clamping
    if bits.read(1):
        _skip_segmentation(bits)
    bits.read(1 + 6 + 3)  # the loop filter: type, level, sharpness
    if bits.read(1) and bits.read(1):
        for _ in range(8):
            if bits.read(1):
                bits.read(6 + 1)
    bits.read(2)  # partitions
    index = bits.read(7)
    falling = [-value for value in VP8_INDICES]
    return max(1, bisect_right(falling, -index) - 1)


def _skip_segmentation(bits: "_BoolDecoder") -> None:
    """Pass over the segments (section 9.3); the frame's own index is that of the first, which is coarsest."""
    has_map = bits.read(1)
    if bits.read(1):
        bits.read(1)
        for size in (7, 7, 7, 7, 6, 6, 6, 6):
            if bits.read(1):
                bits.read(size + 1)
    if has_map:
        for _ in range(3):
            if bits.read(1):
                bits.read(8)


class _BoolDecoder:
    """Reads bits of even probability from arithmetic code (section 7.3)."""

    def __init__(self, data: bytes) -> None:
        self._data = iter(data)
        self._value = self._next() << 8 | self._next()
        self._range = 255
        self._shifts = 0

    def _next(self) -> int:
        return next(self._data, 0)

    def read(self, count: int) -> int:
        """Read an unsigned number of so many bits."""
        number = 0
        for _ in range(count):
            split = 1 + ((self._range - 1) * 128 >> 8)
            bit = self._value >= split << 8
            self._range = self._range - split if bit else split
            self._value -= (split << 8) * bit
            while self._range < 128:
                self._value <<= 1
                self._range <<= 1
                self._shifts += 1
                if self._shifts == 8:
                    self._shifts = 0
                    self._value |= self._next()
            number = number << 1 | bit
        return number

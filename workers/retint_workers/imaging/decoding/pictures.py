"""Pictures as decoders give them, before they are converted: in any color model, of any depth."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Strips = Iterator[NDArray[Any]]


@dataclass(frozen=True)
class Picture:
    """A picture that is converted while it is read.

    Attributes:
        name: what it is, for people: `JPEG 2000`, `TIFF in CMYK`.
        width: of the pixels as stored.
        height: likewise.
        model: `gray`, `rgb`, `cmyk`, `cielab`, `icclab`, `itulab` or `ycbcr`.
        kind: `u`, `i` or `f`: unsigned, signed, floating point.
        bits: significant bits of unsigned and signed samples; of floating point the size.
        read: yields strips from top to bottom, (rows, width, samples): the color's samples, then the extras.
        extras: ExtraSamples, a number for each channel beside the color (TIFF 6.0, page 31).
        is_inverted: whether 0 is white.
        profile: its own color profile.
        orientation: EXIF's.
        resolution: pixels per millimeter, across and down; None where the file states none, or no unit.
        ycbcr: weights of red and green and blue in luma, and the black and white of Y, Cb and Cr (TIFF 6.0, 20 and 21).
    """

    name: str
    width: int
    height: int
    model: str
    kind: str
    bits: int
    read: Callable[[], Strips]
    extras: tuple[int, ...] = ()
    is_inverted: bool = False
    profile: bytes | None = None
    orientation: int = 1
    resolution: tuple[float, float] | None = None
    ycbcr: tuple[float, ...] = field(default=(0.299, 0.587, 0.114))

    @property
    def bands(self) -> int:
        """Samples of the color."""
        return {"gray": 1, "cmyk": 4}.get(self.model, 3)

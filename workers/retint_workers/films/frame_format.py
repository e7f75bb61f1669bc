"""What a film's pixels mean: size, depth, matrix, range, orientation, fields. What is not understood is refused.

Numbers of matrices, primaries and transfer curves are those of ITU-T H.273.
"""

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Self

import av

from retint.errors import InvalidPhoto
from retint_workers.films.fields import read_field_order
from retint_workers.films.orientation import Matrix, orientation_of, read_matrix

SHORTEST_SIDE = 16
LONGEST_RATIO = 40
MATRICES = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
"""Supported Y'CbCr matrices: MatrixCoefficients of H.273, and libswscale's number for each."""
UNSPECIFIED = {0, 2, 3}
"""Matrices of Y'CbCr, primaries and curves that say nothing: RGB's matrix, unspecified, reserved."""
CURVES = {0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 15}
"""Transfer curves that are near sRGB's: BT.709 and its kin, gamma 2.2 and 2.8, sRGB; and those that say nothing."""
CURVE_NAMES = {
    8: "linear light",
    9: "logarithmic",
    10: "logarithmic",
    16: "PQ, high dynamic range",
    17: "digital cinema",
    18: "HLG, high dynamic range",
}
LIMITED_RANGE, FULL_RANGE = 1, 2
"""FFmpeg's color ranges: luma from 16 to 235, or from 0 to 255."""
SAMPLINGS = {(16, 16): "444", (8, 16): "422", (8, 8): "420", (4, 16): "411", (4, 4): "410", (16, 8): "440"}
"""Names of chroma subsamplings, by the width and height of chroma for 16 × 16 pixels."""
LARGEST_ASPECT = 4
"""Pixels are shown at most so many times as wide as high, and as high as wide."""


@dataclass(frozen=True)
class FrameFormat:
    """How frames are to be interpreted: those of the original, or those that are written.

    Attributes:
        width: of the frames as stored, before the display matrix turns them.
        height: likewise.
        pixel_format: FFmpeg's name; planar Y'CbCr or R'G'B'.
        bits: of a sample.
        sampling: of chroma: `420`, `422`, `444`, `411`, `410` or `440`; None for R'G'B'.
        matrix: see `MATRICES`; of no meaning for R'G'B'.
        is_matrix_said: whether the film names its matrix.
        is_full_range: whether luma goes from 0 to 255 rather than from 16 to 235.
        primaries: H.273, ColourPrimaries; as in the original.
        transfer: H.273, TransferCharacteristics; as in the original.
        display_matrix: how a player turns and mirrors the frames; None for not at all.
        pixel_aspect: width of a pixel over its height.
        field_order: `tff` or `bff` where frames are two interlaced fields, else None.
    """

    width: int
    height: int
    pixel_format: str
    bits: int
    sampling: str | None
    matrix: int
    is_matrix_said: bool
    is_full_range: bool
    primaries: int
    transfer: int
    display_matrix: Matrix | None
    pixel_aspect: Fraction
    field_order: str | None

    @classmethod
    def read(cls, frame: av.VideoFrame, stream: av.VideoStream) -> Self:
        """Read the format from a film's first frame.

        Raises:
            InvalidPhoto: the pixels mean something that is not understood.
        """
        source = frame.format
        matrix = read_matrix(frame)
        orientation_of(matrix)
        return cls(
            width=frame.width,
            height=frame.height,
            pixel_format=source.name.replace("yuvj", "yuv"),
            bits=max(channel.bits for channel in source.components),
            sampling=None if source.is_rgb else SAMPLINGS[source.chroma_width(16), source.chroma_height(16)],
            matrix=_read_color_matrix(frame),
            is_matrix_said=frame.colorspace not in UNSPECIFIED,
            is_full_range=not source.is_rgb and (frame.color_range == FULL_RANGE or "yuvj" in source.name),
            primaries=frame.color_primaries,
            transfer=_read_transfer(frame),
            display_matrix=matrix,
            pixel_aspect=Fraction(stream.sample_aspect_ratio or 1) or Fraction(1),
            field_order=read_field_order(frame),
        )

    @property
    def is_rgb(self) -> bool:
        """Whether pixels are R'G'B'."""
        return self.sampling is None

    @property
    def orientation(self) -> int:
        """The display matrix as an EXIF orientation."""
        return orientation_of(self.display_matrix)

    @property
    def upright_size(self) -> tuple[int, int]:
        """Width and height as displayed: turned, with square pixels of the frame's own height."""
        aspect = min(max(self.pixel_aspect, Fraction(1, LARGEST_ASPECT)), Fraction(LARGEST_ASPECT))
        width = max(1, round(self.width * aspect))
        return (self.height, width) if self.orientation >= 5 else (width, self.height)

    @property
    def color_range(self) -> int:
        """FFmpeg's number of the color range."""
        return FULL_RANGE if self.is_full_range else LIMITED_RANGE

    def for_browsers(self, longest_side: int) -> Self:
        """Return a format that any browser plays: 8 bits, 4:2:0, upright, even sides of at most `longest_side`."""
        scale = min(1.0, longest_side / max(self.width, self.height))
        width, height = (max(2, round(length * scale / 2) * 2) for length in (self.width, self.height))
        is_turned = self.orientation >= 5
        return replace(
            self,
            width=height if is_turned else width,
            height=width if is_turned else height,
            pixel_format="yuv420p",
            bits=8,
            sampling="420",
            is_full_range=False,
            display_matrix=None,
            pixel_aspect=1 / self.pixel_aspect if is_turned else self.pixel_aspect,
            field_order=None,
        )


def _read_color_matrix(frame: av.VideoFrame) -> int:
    """Return a matrix of `MATRICES`: the frame's, or where it names none the one that players take for its size."""
    if frame.format.is_rgb or frame.colorspace in UNSPECIFIED:
        return 1 if frame.width >= 1280 or frame.height > 576 else 6
    if frame.colorspace not in MATRICES:
        raise InvalidPhoto(
            f"The film's colors are coded by a matrix that is unknown here (number {frame.colorspace} of ITU-T H.273): "
            "convert the film to BT.709.",
            code="unknown_matrix",
        )
    return frame.colorspace


def _read_transfer(frame: av.VideoFrame) -> int:
    """Return a transfer curve of `CURVES`."""
    source = frame.format
    is_real = max(channel.bits for channel in source.components) > 16
    if frame.color_trc in CURVES and not is_real and not source.name.startswith("xyz"):
        return frame.color_trc
    name = CURVE_NAMES.get(frame.color_trc, f"number {frame.color_trc} of ITU-T H.273")
    name = "floating-point" if is_real else "digital cinema" if source.name.startswith("xyz") else name
    raise InvalidPhoto(
        f"The film's brightness is coded by a curve that is not supported ({name}): convert the film to the ordinary "
        "range (BT.709).",
        code="unknown_transfer",
    )

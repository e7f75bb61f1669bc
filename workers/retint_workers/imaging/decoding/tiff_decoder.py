"""Opens TIFFs that libvips does not stream as gray or RGB of 8 or 16 bits, strip by strip or tile row by tile row.

tifffile and imagecodecs decode: packed and signed samples, floating point, Lab, CMYK, YCbCr, planes in tiles, and
compressions that libvips' libtiff lacks. Source: TIFF 6.0 (Adobe, 1992).
"""

from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from retint.errors import InvalidPhoto
from retint_workers.containers import tiff
from retint_workers.containers.tiff_pixels import PixelLayout
from retint_workers.imaging.decoding import old_jpeg
from retint_workers.imaging.decoding.bounds import refuse_beyond_memory
from retint_workers.imaging.decoding.decoders import translate_decoder_errors
from retint_workers.imaging.decoding.pictures import Picture, Strips
from retint_workers.imaging.decoding.tiff_pages import Choice, choose_photograph
from retint_workers.imaging.vips import damaged_file, incomplete_file

MODELS = {0: "gray", 1: "gray", 2: "rgb", 5: "cmyk", 6: "ycbcr", 8: "cielab", 9: "icclab", 10: "itulab"}
LOG_LUV = {32844, 32845}
STREAMED_COMPRESSIONS = {1, 2, 3, 4, 5, 7, 8, 32773, 32946, 50001}
"""What libvips' libtiff decodes."""
JPEG = 7
JPEGS = (JPEG, old_jpeg.OLD_JPEG)
KINDS = {1: "u", 2: "i", 3: "f"}
PACKED_BITS = range(1, 17)
INK_SET, COEFFICIENTS, SUBSAMPLING = 332, 529, 530
ORIENTATION, X_RESOLUTION, Y_RESOLUTION, RESOLUTION_UNIT, PROFILE = 274, 282, 283, 296, 34675
MILLIMETERS = {2: 25.4, 3: 10.0}
WORDS = {
    "cmyk": "TIFF in CMYK",
    "cielab": "TIFF in Lab",
    "icclab": "TIFF in Lab",
    "itulab": "TIFF in Lab",
    "ycbcr": "TIFF in YCbCr",
}


def streams(layout: PixelLayout) -> bool:
    """Whether libvips reads a TIFF's pixels in strips, as gray or RGB of 8 or 16 bits."""
    if layout.compression not in STREAMED_COMPRESSIONS or layout.sample_format != 1 or len(set(layout.bits)) > 1:
        return False
    if layout.planar == 2 and layout.tile:
        return False
    bits = layout.bits[0]
    if layout.photometric == 6:
        return layout.compression == JPEG and bits == 8
    if layout.photometric == 3:
        return bits in (1, 2, 4, 8) and layout.samples == 1
    if bits in (1, 2, 4):
        return layout.photometric in (0, 1) and layout.samples == 1
    return layout.photometric in (0, 1, 2) and bits in (8, 16)


def open_tiff(path: Path) -> Picture | None:
    """Open a TIFF that has to be converted; None where libvips streams it.

    Raises:
        InvalidPhoto: it cannot be converted either.
    """
    with path.open("rb") as file:
        try:
            choice = choose_photograph(tiff.Reader(file))
            if streams(choice.page.layout):
                return None
            _refuse_strange(choice)
            if not choice.page.layout.is_complete(file.seek(0, 2)):
                raise incomplete_file()
            return _make_picture(path, choice)
        except ValueError as error:
            raise incomplete_file() from error


def _make_picture(path: Path, choice: Choice) -> Picture:
    layout, directory = choice.page.layout, choice.directory
    kind = KINDS[layout.sample_format]
    model = MODELS[layout.photometric]
    name, read = WORDS.get(model) or _describe_samples(kind, layout), partial(_read, path, layout)
    if layout.compression == old_jpeg.OLD_JPEG:
        name = "TIFF with JPEG in its old form"
        read = partial(old_jpeg.read_strips, path, *old_jpeg.find_stream(directory, layout), layout)
    if layout.photometric == 6 and layout.compression in JPEGS:
        model = "rgb"  # the decoder converts
    size = (layout.width, layout.height)
    rows = layout.tile[1] if layout.tile else layout.rows
    need = layout.width * rows * layout.samples * (8 + 3 * np.dtype(f"u{ceil(layout.bits[0] / 8)}").itemsize)
    refuse_beyond_memory("A TIFF of few large strips", size, need, "save it with strips of some rows")
    return Picture(
        name=name,
        width=layout.width,
        height=layout.height,
        model=model,
        kind=kind,
        bits=layout.bits[0],
        read=read,
        extras=layout.extras,
        is_inverted=layout.photometric == 0,
        profile=directory[PROFILE].data if PROFILE in directory else None,
        orientation=tiff.first_number(directory, ORIENTATION, 1),
        resolution=_read_resolution(directory),
        ycbcr=_rationals(directory, COEFFICIENTS) or (0.299, 0.587, 0.114),
    )


def _describe_samples(kind: str, layout: PixelLayout) -> str:
    if kind == "f":
        return "TIFF of floating point"
    if kind == "u" and layout.bits[0] in (8, 16):
        return "TIFF with an unusual arrangement or compression"
    return f"TIFF of {layout.bits[0]} bits" + (", signed" if kind == "i" else "")


def _refuse_strange(choice: Choice) -> None:
    """Refuse what is no photograph in a color model and depth that is known.

    Raises:
        InvalidPhoto: says why.
    """
    layout, directory = choice.page.layout, choice.directory
    if layout.photometric in LOG_LUV:
        raise InvalidPhoto(
            "The picture is coded for high dynamic range (LogLuv): map it to 16 bits and save it as TIFF.",
            code="unsupported_color",
        )
    is_known = layout.photometric in MODELS and layout.sample_format in KINDS and len(set(layout.bits)) == 1
    bits = layout.bits[0]
    fits = bits in {1: (*PACKED_BITS, 32), 2: (8, 16, 32), 3: (16, 32, 64)}.get(layout.sample_format, ())
    if layout.photometric == 5 and tiff.first_number(directory, INK_SET, 1) != 1:
        is_known = False
    if layout.photometric in (8, 9, 10) and (bits not in (8, 16) or layout.sample_format == 3):
        is_known = False
    if layout.photometric == 6 and layout.compression not in JPEGS and _subsampling(directory) != (1, 1):
        raise InvalidPhoto(
            "The TIFF holds YCbCr with halved chroma and without JPEG: save it as TIFF in RGB.",
            code="unsupported_color",
        )
    if not is_known or not fits or layout.samples < {"gray": 1, "cmyk": 4}.get(MODELS[layout.photometric], 3):
        raise InvalidPhoto(
            "The picture's samples are of a kind that photographs do not have: save it as gray or RGB of 8 or 16 bits.",
            code="unsupported_color",
        )


def _subsampling(directory: tiff.Directory) -> tuple[int, ...]:
    return directory[SUBSAMPLING].numbers[:2] if SUBSAMPLING in directory else (2, 2)


def _rationals(directory: tiff.Directory, tag: int) -> tuple[float, ...]:
    if tag not in directory or directory[tag].kind != 5:
        return ()
    numbers = np.frombuffer(directory[tag].data, f"{directory[tag].order}u4").astype(float)
    return tuple(numbers[::2] / np.maximum(numbers[1::2], 1))


def _read_resolution(directory: tiff.Directory) -> tuple[float, float] | None:
    """Return pixels per millimeter; None where the file does not say."""
    unit = MILLIMETERS.get(tiff.first_number(directory, RESOLUTION_UNIT, 2))
    across, down = _rationals(directory, X_RESOLUTION), _rationals(directory, Y_RESOLUTION)
    return (across[0] / unit, down[0] / unit) if unit and across and down and across[0] and down[0] else None


def _read(path: Path, layout: PixelLayout) -> Strips:
    """Decode the strips, or rows of tiles, of all planes."""
    with path.open("rb") as file, translate_decoder_errors(), tifffile.TiffFile(path) as opened:
        page = _find_page(opened, layout)
        counts = layout.true_counts(file.seek(0, 2))
        planes = layout.samples if layout.planar == 2 else 1
        across = ceil(layout.width / layout.tile[0]) if layout.tile else 1
        rows = layout.tile[1] if layout.tile else layout.rows
        down = ceil(layout.height / rows)
        for row in range(down):
            height = min(rows, layout.height - row * rows)
            strip: NDArray[Any] | None = None
            for plane in range(planes):
                for column in range(across):
                    index = (plane * down + row) * across + column
                    file.seek(layout.offsets[index])
                    decoded = page.decode(
                        file.read(counts[index]), index, jpegtables=page.jpegtables, jpegheader=page.jpegheader
                    )[0]
                    if decoded is None:
                        raise damaged_file()
                    block = decoded.reshape(decoded.shape[-3:])[:height]
                    if strip is None:
                        strip = np.zeros((height, layout.width, layout.samples), block.dtype)
                    left = column * (layout.tile[0] if layout.tile else 0)
                    width = min(block.shape[1], layout.width - left)
                    if len(block) < height:
                        raise incomplete_file()
                    place = slice(plane, plane + 1) if planes > 1 else slice(None)
                    strip[:, left : left + width, place] = block[:, :width]
            if strip is not None:
                yield strip


def _find_page(opened: tifffile.TiffFile, layout: PixelLayout) -> Any:
    """Return tifffile's page whose pixels begin at the same place."""
    for page in opened.pages:
        for candidate in (page, *(page.pages or ())):
            if candidate.dataoffsets and candidate.dataoffsets[0] == layout.offsets[0]:
                return candidate
    raise damaged_file()

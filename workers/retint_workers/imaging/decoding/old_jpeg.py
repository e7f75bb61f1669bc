"""Opens TIFFs with JPEG in the form of TIFF 6.0, section 22, which Technical Note 2 (1995) replaced.

Scanner software of the nineties wrote it. The fields name a JPEG stream, whole or up to where its scan begins; then the
strips hold the scan.
"""

from pathlib import Path
from typing import BinaryIO

import pyvips

from retint.errors import InvalidPhoto
from retint_workers.containers import tiff
from retint_workers.containers.tiff_pixels import PixelLayout
from retint_workers.imaging.decoding.decoders import fetch_samples
from retint_workers.imaging.decoding.pictures import Strips
from retint_workers.imaging.vips import damaged_file, translate_errors

OLD_JPEG = 6
"""Its number as a compression."""
STREAM, STREAM_BYTES = 513, 514
GRAY, YCBCR = (0, 1), 6
START, END = b"\xff\xd8", b"\xff\xd9"


def find_stream(directory: tiff.Directory, layout: PixelLayout) -> tuple[int, int]:
    """Return where the stream begins, and how many bytes the file says it has.

    Raises:
        InvalidPhoto: it is no stream of gray or YCbCr, but has its tables apart or its colors in planes.
    """
    is_known = layout.photometric in (*GRAY, YCBCR) and layout.planar == 1 and not layout.tile
    if STREAM not in directory or not is_known:
        raise InvalidPhoto(
            "The TIFF holds JPEG in the way that TIFF 6 had and later gave up: open it and save it as TIFF again.",
            code="unsupported_format",
        )
    return tiff.first_number(directory, STREAM, 0), tiff.first_number(directory, STREAM_BYTES, 0)


def read_strips(path: Path, begin: int, length: int, layout: PixelLayout) -> Strips:
    """Decode the picture, in gray or RGB; arguments from `find_stream`.

    Raises:
        InvalidPhoto: it cannot be decoded, or has another size than the TIFF says.
    """
    with path.open("rb") as file:
        stream = _join_stream(file, begin, length, layout)
    with translate_errors():
        image = pyvips.Image.jpegload_buffer(stream, access="sequential", fail_on="warning")
        if (image.width, image.height, image.bands) != (layout.width, layout.height, layout.samples):
            raise damaged_file()
        yield from fetch_samples(image)


def _join_stream(file: BinaryIO, begin: int, length: int, layout: PixelLayout) -> bytes:
    end = file.seek(0, 2)
    length = min(length or end, max(0, end - begin))
    file.seek(begin)
    stream = file.read(length)
    if not stream.startswith(START):
        raise damaged_file()
    if not begin <= layout.offsets[0] < begin + length:  # the scan lies in the strips
        for offset, count in zip(layout.offsets, layout.true_counts(end), strict=True):
            file.seek(offset)
            stream += file.read(count)
    return stream if stream.rstrip(b"\0").endswith(END) else stream + END

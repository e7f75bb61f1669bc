"""Opens what libvips does not stream as gray or RGB: one function for each format, one library for each.

JPEG 2000, JPEG of 12 bits and without loss: imagecodecs (OpenJPEG, libjpeg-turbo). HEIC: pi-heif (libde265). BMP:
Pillow. AVIF, GIF, CMYK in JPEG: libvips. TIFF: see `tiff_decoder`.
"""

import io
import mmap
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pi_heif
import pyvips
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from retint.errors import InvalidPhoto
from retint_workers.containers import exif, jp2, jpeg, tiff
from retint_workers.imaging.color import declarations, profiles
from retint_workers.imaging.decoding.bounds import refuse_beyond_memory
from retint_workers.imaging.decoding.encoding import animation
from retint_workers.imaging.decoding.pictures import Picture, Strips
from retint_workers.imaging.streams import fetch_strips
from retint_workers.imaging.vips import damaged_file, incomplete_file, read_resolution, translate_errors

ORIENTATION = 274
ROWS = 256
"""Rows of a strip of a picture that is in memory as a whole."""
SRGB_CODE_POINTS = (1, 13)
UNSPECIFIED = 2
"""Color primaries and transfer characteristics (ITU-T H.273, tables 2 and 3)."""


@contextmanager
def translate_decoder_errors() -> Iterator[None]:
    """Raise Retint's errors for what imagecodecs, Pillow and pi-heif say about a file.

    Raises:
        InvalidPhoto: the file is damaged or incomplete.
    """
    try:
        yield
    except (imagecodecs.DelayedImportError, MemoryError):
        raise
    except (UnidentifiedImageError, EOFError, ValueError, RuntimeError, SyntaxError, OSError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        is_short = any(word in str(error).lower() for word in ("truncated", "premature", "end of file", "incomplete"))
        raise (incomplete_file() if is_short else damaged_file()) from error


def split_rows(pixels: NDArray[Any]) -> Strips:
    """Yield a picture in memory as strips, (rows, width, samples)."""
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    for top in range(0, len(pixels), ROWS):
        yield pixels[top : top + ROWS]


# --- JPEG -------------------------------------------------------------------------------------------------------------


def open_jpeg(path: Path) -> Picture | None:
    """Open a JPEG in CMYK, of more than 8 bits or without loss; None where it is none of these."""
    frame = None
    with path.open("rb") as file:
        frame = jpeg.read_frame(file)
    if frame is None:
        return None
    is_lossless = frame.marker in jpeg.LOSSLESS
    if frame.bits == 8 and not is_lossless:
        return _open_cmyk_jpeg(path) if frame.components == 4 else None
    if frame.components not in (1, 3):
        raise InvalidPhoto(
            "The JPEG is in CMYK and of more than 8 bits or without loss: save it as TIFF in RGB.",
            code="unsupported_color",
        )
    if not has_whole_scans(path, is_lossless=is_lossless):
        raise InvalidPhoto(
            "The file says that it is a lossless JPEG or one of more than 8 bits, and is incomplete or coded "
            "otherwise: save it again, as TIFF.",
            code="truncated",
        )
    name = "lossless JPEG" if is_lossless else f"JPEG of {frame.bits} bits"
    pixels = frame.width * frame.height * frame.components
    need = pixels * (1 if frame.bits == 8 else 2) + path.stat().st_size
    refuse_beyond_memory(f"A {name}", (frame.width, frame.height), need, "save it as TIFF")

    def read() -> Strips:
        with translate_decoder_errors():
            decoded = imagecodecs.jpeg_decode(path.read_bytes())
        yield from split_rows(decoded)

    return Picture(
        name=name,
        width=frame.width,
        height=frame.height,
        model="gray" if frame.components == 1 else "rgb",
        kind="u",
        bits=frame.bits,
        read=read,
        profile=_read_profile(path),
        orientation=_read_orientation(path),
    )


def has_whole_scans(path: Path, *, is_lossless: bool) -> bool:
    """Whether a JPEG has its end, and scans of the kind that its frame says (T.81, B.2.3).

    libjpeg's warnings do not reach us through imagecodecs; a lossless scan's first number is a predictor, 1 to 7.
    """
    with path.open("rb") as file:
        at = max((segment.at + len(segment.data) for segment in jpeg.read_segments(file)), default=2)
        file.seek(at)
        scan = file.read(16)
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if data.rfind(b"\xff\xd9", at) < 0:
                return False
    if scan[:2] != b"\xff\xda" or len(scan) < 16:
        return False
    predictor = scan[5 + 2 * scan[4]] if scan[4] <= 4 else 0
    return not is_lossless or 1 <= predictor <= 7


def _open_cmyk_jpeg(path: Path) -> Picture:
    image = _open_vips("jpeg", path)

    def read() -> Strips:
        with translate_errors():
            yield from fetch_samples(_open_vips("jpeg", path, fail_on="warning"))

    return Picture(
        name="JPEG in CMYK",
        width=image.width,
        height=image.height,
        model="cmyk",
        kind="u",
        bits=8,
        read=read,
        profile=image.get(profiles.ICC_FIELD) if image.get_typeof(profiles.ICC_FIELD) else None,
        orientation=image.get("orientation") if image.get_typeof("orientation") else 1,
        resolution=read_resolution(image),
    )


def _read_profile(path: Path) -> bytes | None:
    """Join the parts of a JPEG's color profile (ICC.1:2022, B.4)."""
    with path.open("rb") as file:
        parts = {
            segment.data[12]: segment.data[14:]
            for segment in jpeg.read_segments(file)
            if segment.marker == 0xE2 and segment.data[:12] == b"ICC_PROFILE\0" and len(segment.data) > 14
        }
    return b"".join(parts[number] for number in sorted(parts)) or None


def _read_orientation(path: Path) -> int:
    """Read EXIF's orientation of a JPEG; 1 where it has none or is damaged."""
    with path.open("rb") as file, suppress(ValueError):
        for segment in jpeg.read_segments(file):
            if segment.marker == jpeg.APP1 and segment.data.startswith(exif.SIGNATURE):
                reader = tiff.Reader(io.BytesIO(segment.data.removeprefix(exif.SIGNATURE)))
                return tiff.first_number(next(reader.directories(), {}), ORIENTATION, 1)
    return 1


# --- libvips ----------------------------------------------------------------------------------------------------------


def _open_vips(loader: str, path: Path, **options: Any) -> pyvips.Image:
    with path.open("rb") as file, translate_errors():
        source = pyvips.Source.new_from_descriptor(file.fileno())
        options = {"access": "sequential", "fail_on": "error", **options}
        return pyvips.Operation.call(f"{loader}load_source", source, **options)


def fetch_samples(image: pyvips.Image) -> Strips:
    """Compute an image from top to bottom: strips of (rows, width, samples)."""
    for _, strip in fetch_strips(image):
        yield strip.reshape(len(strip), image.width, image.bands)


def open_gif(path: Path) -> Picture:
    """Open a GIF with one picture."""
    image = _open_vips("gif", path)
    if image.get_typeof("n-pages") and image.get("n-pages") > 1:
        raise animation()
    return _from_vips("GIF", image, lambda: _open_vips("gif", path, fail_on="warning"))


def open_avif(path: Path) -> Picture:
    """Open an AVIF."""
    profile = _read_code_points(path)
    image = _open_vips("heif", path)
    samples = 2 if image.format == "ushort" else 1
    need = image.width * image.height * (18 if samples == 1 else 25)
    refuse_beyond_memory("An AVIF", (image.width, image.height), need, "save it as TIFF")
    picture = _from_vips("AVIF", image, lambda: _open_vips("heif", path))
    return replace(picture, profile=picture.profile or profile)


def _from_vips(name: str, image: pyvips.Image, open_again: Callable[[], pyvips.Image]) -> Picture:
    model = "rgb" if image.interpretation in ("srgb", "rgb16") else "gray"
    bands = 3 if model == "rgb" else 1
    bits = 8
    if image.format == "ushort":
        bits = image.get("bits-per-sample") if image.get_typeof("bits-per-sample") else 16

    def read() -> Strips:
        with translate_errors():
            for strip in fetch_samples(open_again()):
                yield strip >> 16 - bits if bits > 8 else strip  # libheif's 10 bits are the upper ones of 16

    return Picture(
        name=name,
        width=image.width,
        height=image.height,
        model=model,
        kind="u",
        bits=bits,
        read=read,
        extras=(2,) * (image.bands - bands),
        profile=image.get(profiles.ICC_FIELD) if image.get_typeof(profiles.ICC_FIELD) else None,
        resolution=read_resolution(image),
    )


def _read_code_points(path: Path) -> bytes | None:
    """Return a profile for what a HEIC or AVIF says of its colors by numbers; None for sRGB, or where it says nothing.

    Source: ISO/IEC 14496-12, 12.1.5 (`colr` of type `nclx`).

    Raises:
        InvalidPhoto: the picture is coded for high dynamic range, or in a way that is not understood.
    """
    with path.open("rb") as file:
        head = file.read(1 << 16)
    at = head.find(b"colrnclx")
    primaries, transfer = (int.from_bytes(head[at + n : at + n + 2], "big") for n in (8, 10))
    if at < 0 or UNSPECIFIED in (primaries, transfer) or (primaries, transfer) == SRGB_CODE_POINTS:
        return None
    return declarations.from_code_points(primaries, transfer).equivalent


# --- HEIC, JPEG 2000, BMP ---------------------------------------------------------------------------------------------


def open_heic(path: Path) -> Picture:
    """Open the primary picture of a HEIC; it comes upright."""
    declared = _read_code_points(path)

    def load() -> Any:
        return pi_heif.open_heif(path, convert_hdr_to_8bit=False, hdr_to_16bit=True)

    with translate_decoder_errors():
        heif = load()
        width, height = heif.size
        mode = heif.mode
        profile = heif.info.get("icc_profile") or declared
    bits = 16 if ";" in mode else 8
    refuse_beyond_memory("A HEIC", (width, height), width * height * (10 if bits == 8 else 20), "save it as TIFF")
    letters = mode.partition(";")[0]
    model = "gray" if letters.startswith("L") else "rgb"

    def read() -> Strips:
        with translate_decoder_errors():
            pixels = np.asarray(load())
        yield from split_rows(pixels)

    extras = (1 if letters.endswith("a") else 2,) if letters[-1:] in ("A", "a") else ()
    return Picture(
        name="HEIC",
        width=width,
        height=height,
        model=model,
        kind="u",
        bits=bits,
        read=read,
        extras=extras,
        profile=profile,
    )


def open_jp2(path: Path) -> Picture:
    """Open a JPEG 2000: a file with boxes or a bare codestream, gray or RGB."""
    with path.open("rb") as file:
        try:
            head = jp2.read_jp2(file)
        except ValueError as error:
            raise incomplete_file() from error
    bands = 3 if len(head.bits) >= 3 else 1
    model = head.color or ("gray" if bands == 1 else "rgb")
    is_fit = head.is_whole and not head.has_palette and len(set(head.bits)) == 1 and (model != "gray") == (bands == 3)
    if head.is_signed or not is_fit or max(head.bits) > 16 or len(head.bits) > bands + 1:
        raise InvalidPhoto(
            "The JPEG 2000 is neither gray nor RGB of up to 16 bits: save it as TIFF.", code="unsupported_color"
        )
    pixels = head.width * head.height * len(head.bits)
    need = pixels * (4 + (1 if head.bits[0] <= 8 else 2)) + path.stat().st_size
    refuse_beyond_memory("A JPEG 2000", (head.width, head.height), need, "save it as TIFF")

    def read() -> Strips:
        with translate_decoder_errors():
            decoded = imagecodecs.jpeg2k_decode(path.read_bytes())
        if decoded.shape[:2] != (head.height, head.width):
            raise damaged_file()
        yield from split_rows(decoded)

    return Picture(
        name="JPEG 2000",
        width=head.width,
        height=head.height,
        model=model,
        kind="u",
        bits=head.bits[0],
        read=read,
        extras=(head.alpha,) * (len(head.bits) - bands),
        profile=head.profile,
        resolution=head.resolution,
    )


def open_bmp(path: Path) -> Picture:
    """Open a Windows bitmap."""
    with translate_decoder_errors(), _open_pillow(path) as image:
        mode = {"1": "L", "L": "L", "RGBA": "RGBA"}.get(image.mode, "RGB")
        width, height = image.size
    need = width * height * len(mode) * 2
    refuse_beyond_memory("A BMP", (width, height), need, "save it as TIFF")

    def read() -> Strips:
        with translate_decoder_errors(), _open_pillow(path) as image:
            pixels = np.asarray(image.convert(mode))
        yield from split_rows(pixels)

    return Picture(
        name="BMP",
        width=width,
        height=height,
        model="gray" if mode == "L" else "rgb",
        kind="u",
        bits=8,
        read=read,
        extras=(2,) * (len(mode) - len(mode.rstrip("A"))),
    )


def _open_pillow(path: Path) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None  # our own limits are tested first
    return Image.open(path, formats=["BMP", "DIB"])

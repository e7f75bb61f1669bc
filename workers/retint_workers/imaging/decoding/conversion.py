"""Opens a deposited photo: as it is, as a mended copy, or converted into a working TIFF that streams.

Ingest and render open a photo in the same way and see the same pixels. Working files lie in a scratch folder.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import tifffile

from retint_workers import scratch
from retint_workers.containers import jpeg, png, tiff
from retint_workers.containers.mending import write_mended
from retint_workers.imaging.decoding import color_models, decoders, dialects
from retint_workers.imaging.decoding.bounds import can_reorder, refuse_greedy
from retint_workers.imaging.decoding.encoding import Options, read_encoding
from retint_workers.imaging.decoding.formats import Header, is_lossy, read_header, refuse_size, sniff_file
from retint_workers.imaging.decoding.pictures import Picture
from retint_workers.imaging.decoding.tiff_decoder import open_tiff
from retint_workers.imaging.decoding.tiff_pages import choose_photograph
from retint_workers.imaging.vips import incomplete_file

OPENERS: Mapping[str, Callable[[Path], Picture | None]] = {
    "jpeg": decoders.open_jpeg,
    "tiff": open_tiff,
    "jp2": decoders.open_jp2,
    "avif": decoders.open_avif,
    "heic": decoders.open_heic,
    "bmp": decoders.open_bmp,
    "gif": decoders.open_gif,
}
"""Functions that open what has to be converted; they return None for what streams as it is."""
WORKING_FILE = "working.tif"
LOSSLESS_TIFF: Options = {"compression": "deflate", "predictor": "horizontal", "bigtiff": False}
"""How the result of a file is written whose own format cannot hold it."""
PALETTE_NOTE = "The original's colors are those of a palette; the result has 8 bits a sample."
ORDER_NOTE = (
    "The picture is too large to be written in progressive or interlaced order; the result is written row by row."
)
FEW_BITS_NOTE = "The original has fewer than 8 bits a sample; the result has 8."


def open_photo(original: Path, pixel_limit_mp: int, folder: Path) -> Header:
    """Read a photo's header; make a file whose pixels stream, where the original's do not.

    Args:
        original: the file as deposited.
        pixel_limit_mp: limit of the size.
        folder: for the working file; `Header.pixels` may lie in it.

    Raises:
        InvalidPhoto: the file is not a photograph that can be restored.
        DiskUnavailable: there is no room for the working file.
    """
    file_format = sniff_file(original)
    opener = OPENERS.get(file_format)
    picture = opener(original) if opener else None
    if picture is not None:
        header = _convert(original, file_format, picture, pixel_limit_mp, folder)
    else:
        header = read_header(_mend(original, file_format, folder), pixel_limit_mp)
    header = replace(header, notes=[*header.notes, *_tell_form(original, file_format)])
    if not header.encoding.get("interlace") or can_reorder(header.width * header.height * (3 + header.extras)):
        return header
    encoding = {**header.encoding, "interlace": False}
    return replace(header, encoding=encoding, notes=[*header.notes, ORDER_NOTE])


def _mend(original: Path, file_format: str, folder: Path) -> Path:
    """Return a file that streams and whose decoder warns of nothing but damage: the original, or a copy in a folder."""
    with original.open("rb") as file:
        read_encoding(file, file_format)  # refuses what is no single photograph
    refuse_greedy(original, file_format)
    mend = dialects.find_mend(original, file_format)
    if not mend:
        return original
    working = folder / f"working.{file_format}"
    with scratch.translate_errors():
        write_mended(original, working, mend)
    return working


def _tell_form(original: Path, file_format: str) -> list[str]:
    """Return a sentence for each thing about the file's form that its result does not have."""
    with original.open("rb") as file:
        if file_format == "png":
            head = next(png.read_chunks(file)).read(file)
            return [PALETTE_NOTE] if head[9] == 3 else [FEW_BITS_NOTE] if head[8] < 8 else []
        if file_format != "tiff":
            return []
        choice = choose_photograph(tiff.Reader(file))
    layout = choice.page.layout
    few = [PALETTE_NOTE] if layout.photometric == 3 else [FEW_BITS_NOTE] if layout.bits[0] < 8 else []
    return [*choice.notes, *few]


def find_result_format(original: Path) -> str:
    """Tell the format of a photo's result without opening its pixels.

    Raises:
        InvalidPhoto: the file is of no format that is restored.
    """
    file_format = sniff_file(original)
    if file_format == "jpeg":
        with original.open("rb") as file:
            frame = jpeg.read_frame(file)
        return "tiff" if frame and (frame.bits > 8 or frame.marker in jpeg.LOSSLESS) else "jpeg"
    return file_format if file_format in ("png", "webp") else "tiff"


def _convert(original: Path, file_format: str, picture: Picture, pixel_limit_mp: int, folder: Path) -> Header:
    refuse_size(picture.width, picture.height, pixel_limit_mp)
    working = folder / WORKING_FILE
    with scratch.translate_errors():
        _write_working_file(picture, working)
    header = read_header(working, pixel_limit_mp)
    result_format = find_result_format(original)
    encoding = _choose_encoding(original, file_format, result_format)
    return replace(
        header,
        format=file_format,
        result_format=result_format,
        encoding=encoding,
        lossy=is_lossy(result_format, encoding),
        notes=[*header.notes, _tell(picture, header, result_format)],
    )


def _write_working_file(picture: Picture, working: Path) -> None:
    """Write a picture as an uncompressed TIFF in strips of some rows.

    Raises:
        InvalidPhoto: it cannot be decoded, or has values that no photograph has.
    """
    color = 1 if picture.model == "gray" else 3
    bits = color_models.result_bits(picture)
    profile = color_models.result_profile(picture)
    samples = color + len(picture.extras)
    pixels = tifffile.memmap(
        working,
        shape=(picture.height, picture.width, samples) if samples > 1 else (picture.height, picture.width),
        dtype=np.uint8 if bits == 8 else np.uint16,
        photometric="rgb" if color == 3 else "minisblack",
        planarconfig="contig" if samples > 1 else None,
        extrasamples=picture.extras or None,
        rowsperstrip=max(1, (1 << 18) // (picture.width * samples * (bits // 8))),
        bigtiff=picture.height * picture.width * samples * (bits // 8) > 4_000_000_000,
        metadata=None,
        software=False,
        iccprofile=profile,
        resolution=picture.resolution and tuple(per_mm * 10 for per_mm in picture.resolution),
        resolutionunit="centimeter" if picture.resolution else None,
        extratags=[(274, 3, 1, picture.orientation if 1 <= picture.orientation <= 8 else 1, True)],
    )
    top = 0
    for strip in picture.read():
        converted = color_models.convert_strip(picture, strip)
        pixels[top : top + len(converted)] = converted if samples > 1 else converted[..., 0]
        top += len(converted)
    if top != picture.height:
        raise incomplete_file()
    pixels.flush()


def _choose_encoding(original: Path, file_format: str, result_format: str) -> Options:
    """Return the options of the result's saver: the original's, as far as it says any."""
    if file_format != result_format:
        return dict(LOSSLESS_TIFF)
    with original.open("rb") as file:
        return read_encoding(file, file_format)


def _tell(picture: Picture, header: Header, result_format: str) -> str:
    """Say what became of a picture."""
    through = ""
    if picture.model == "cmyk":
        profile = "its own profile" if picture.profile else "a profile for common inks since it has none"
        through = f", through {profile},"
    color = "gray" if header.bands == 1 else "RGB"
    name = {"jpeg": "JPEG", "tiff": "TIFF"}[result_format]
    return f"Converted from {picture.name}{through} to {name} in {color} of {header.bits} bits."

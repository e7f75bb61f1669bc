"""Hostile files: good ones with bytes changed, and bombs made by hand."""

import io
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tests import films, photo_files, photographs

SIZE = (64, 48)


def small_photo(dtype: type[np.generic] = np.uint8) -> NDArray[np.generic]:
    photo = np.asarray(Image.fromarray(photographs.color_photo(0, 128)).resize(SIZE))
    if dtype is np.float32:
        return (photo / 255).astype(dtype)
    return photo.astype(dtype) * (257 if dtype is np.uint16 else 1)


def pillow(file_format: str, mode: str = "RGB", **options: Any) -> Callable[[], bytes]:
    def encode() -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(small_photo()).convert(mode).save(buffer, file_format, **options)
        return buffer.getvalue()

    return encode


def tiff(dtype: type[np.generic] = np.uint8, **options: Any) -> Callable[[], bytes]:
    def encode() -> bytes:
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, small_photo(dtype), photometric="rgb", metadata=None, **options)
        return buffer.getvalue()

    return encode


def film(suffix: str, **options: Any) -> Callable[[], bytes]:
    def encode() -> bytes:
        with tempfile.TemporaryDirectory() as folder:
            pictures = [np.ascontiguousarray(small_photo()[::-1] if n % 2 else small_photo()) for n in range(6)]
            path = films.write(Path(folder) / f"film{suffix}", pictures, **options)
            return path.read_bytes()

    return encode


PROFILE = photo_files.make_icc_profile("gray", 2.2)
GOOD: Mapping[str, Callable[[], bytes]] = {
    "baseline.jpg": pillow("JPEG", quality=85),
    "progressive.jpg": pillow("JPEG", quality=85, progressive=True),
    "gray.jpg": pillow("JPEG", "L", icc_profile=PROFILE),
    "cmyk.jpg": pillow("JPEG", "CMYK"),
    "metadata.jpg": lambda: photo_files.encode_photo("JPEG", exif=photo_files.make_exif(artist="x" * 200)),
    "rgb.png": pillow("PNG"),
    "palette.png": pillow("PNG", "P"),
    "alpha.png": pillow("PNG", "RGBA"),
    "gray.png": pillow("PNG", "L"),
    "deep.png": lambda: bytes(imagecodecs.png_encode(small_photo(np.uint16))),
    "lossy.webp": pillow("WEBP"),
    "lossless.webp": pillow("WEBP", lossless=True),
    "plain.tif": tiff(),
    "lzw.tif": tiff(compression="lzw"),
    "deflate.tif": tiff(compression="deflate", predictor=True),
    "packbits.tif": tiff(compression="packbits"),
    "jpeg.tif": tiff(compression="jpeg"),
    "zstd.tif": tiff(compression="zstd"),
    "deep.tif": tiff(np.uint16, compression="deflate"),
    "float.tif": tiff(np.float32),
    "tiled.tif": tiff(tile=(16, 16), compression="deflate"),
    "big.tif": tiff(bigtiff=True, byteorder=">"),
    "strips.tif": tiff(rowsperstrip=1),
    "two copyrights.tif": tiff(extratags=[(33432, 2, 13, b"maker\0editor\0", True)]),
    "photo.jp2": lambda: bytes(imagecodecs.jpeg2k_encode(small_photo(), level=0)),
    "photo.avif": pillow("AVIF"),
    "photo.bmp": pillow("BMP"),
    "photo.gif": pillow("GIF", "P"),
    "film.mp4": film(".mp4"),
    "film.mkv": film(".mkv", sound=None),
    "film.avi": film(".avi", codec="mpeg4", sound=None),
}
"""Small files that are restored, one of each kind."""
NASTY = (
    *(b"\0", b"\xff", b"\x7f", b"\x80", b"\xff\xff"),
    *(b"\x7f\xff\xff\xff", b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x80\0\0\0"),
)
"""Lengths and counts at which programs break."""
HEAD_BYTES = 400
"""Where most lengths are."""


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a file in one of six ways."""
    data = bytearray(content)
    place = int(rng.integers(len(data)))
    way = int(rng.integers(6))
    if way == 0:
        for at in rng.integers(len(data), size=int(rng.integers(1, 17))):
            data[at] ^= 1 << int(rng.integers(8))
    elif way == 1:
        del data[max(1, place) :]
    elif way == 2:
        start, length = int(rng.integers(len(data))), int(rng.integers(1, 200))
        data[place : place + length] = data[start : start + length]
    elif way == 3:
        at, value = int(rng.integers(min(HEAD_BYTES, len(data)))), NASTY[int(rng.integers(len(NASTY)))]
        data[at : at + len(value)] = value
    elif way == 4:
        length = int(rng.integers(1, 400))
        data[place:place] = data[place : place + length] * int(rng.integers(1, 20))
    else:
        del data[place : place + int(rng.integers(1, 100))]
    return bytes(data)


def mutations(count: int, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yield names and contents of changed files, the same ones every time."""
    rng = np.random.default_rng(seed)
    contents = {name: make() for name, make in GOOD.items()}
    for number in range(count):
        name = list(contents)[number % len(contents)]
        yield f"{number:04}-{name}", mutate(contents[name], rng)


# --- bombs ------------------------------------------------------------------------------------------------------------


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    made = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + made


def png_of(width: int, height: int, pixels: bytes, bits: int = 8, color: int = 2, interlace: int = 0) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, interlace)
    return png([(b"IHDR", head), (b"IDAT", pixels), (b"IEND", b"")])


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A good PNG with more chunks after its head."""
    good = GOOD["rgb.png"]()
    made = png(list(chunks))[8:]
    return good[:33] + made + good[33:]


def deflated_zeros(size: int) -> bytes:
    """Zeros as zlib packs them, by one packed block again and again."""
    packer = zlib.compressobj(9, wbits=-15)
    block = bytes(1 << 20)
    packed = packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH)
    checksum = 1
    for _ in range(size >> 20):
        checksum = zlib.adler32(block, checksum)
    return b"\x78\xda" + packed * (size >> 20) + packer.flush() + struct.pack(">I", checksum)


def tiff_of(entries: list[tuple[int, int, int, int]], rest: bytes = b"", following: int = 0) -> bytes:
    """A little-endian TIFF with one directory of entries (tag, type, count, value or offset)."""
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0\x08\0\0\0" + directory + struct.pack("<I", following) + rest


BASIC = [
    (256, 4, 1, 64), (257, 4, 1, 48), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
    (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 48), (279, 4, 1, 3072),
]  # fmt: skip


def basic(**changes: tuple[int, int, int]) -> list[tuple[int, int, int, int]]:
    """The entries of a small gray TIFF, some changed: type, count and value by `t` and the tag."""
    entries = {entry[0]: entry for entry in BASIC}
    for name, (kind, count, value) in changes.items():
        entries[int(name[1:])] = (int(name[1:]), kind, count, value)
    return sorted(entries.values())


def tiff_of_many_directories(directories: int, fields: int) -> bytes:
    size = 2 + 12 * fields + 4
    made = bytearray(b"II*\0\x08\0\0\0")
    for number in range(directories):
        entries = [*BASIC, *((65000 - fields + at, 1, 4, at) for at in range(fields - len(BASIC)))]
        made += struct.pack("<H", fields) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
        made += struct.pack("<I", 8 + (number + 1) * size if number + 1 < directories else 0)
    return bytes(made)


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    good = GOOD["baseline.jpg"]()
    made = b"".join(bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data for marker, data in segments)
    return good[:2] + made + good[2:]


def jpeg_claiming(width: int, height: int) -> bytes:
    good = bytearray(GOOD["baseline.jpg"]())
    frame = good.index(b"\xff\xc0")
    good[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(good)


def jpeg_of_many_scans(scans: int, side: int) -> bytes:
    """A progressive JPEG whose last scan is there again and again, each of which refines all blocks."""
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((side, side), np.uint8)).save(buffer, "JPEG", progressive=True)
    good = buffer.getvalue()
    start = good.rindex(b"\xff\xda")
    return good[:start] + good[start:-2] * scans + good[-2:]


LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ha">'
    + b"".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">'.encode() for n in range(1, 10))
    + b']><x:xmpmeta xmlns:x="adobe:ns:meta/">&a9;</x:xmpmeta>'
)
DEEP_XML = b'<x:xmpmeta xmlns:x="adobe:ns:meta/">' + b"<a>" * 8000 + b"</a>" * 8000 + b"</x:xmpmeta>"
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def looping_exif() -> bytes:
    """EXIF whose directory is its own next one, its own EXIF directory, and its own GPS directory."""
    entries = [(34665, 4, 1, 8), (34853, 4, 1, 8), (0x927C, 7, 0xFFFFFFFF, 8), (270, 2, 0x7FFFFFFF, 8)]
    return b"Exif\0\0" + tiff_of(sorted(entries), following=8)


def icc_of(size: int, tags: int) -> bytes:
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"mntr", b"RGB ", b"XYZ ").ljust(36, b"\0") + b"acsp"
    table = b"".join(struct.pack(">4sII", b"desc", 128, size - 200) for _ in range(min(tags, 5000)))
    return (head.ljust(128, b"\0") + struct.pack(">I", tags) + table).ljust(min(size, 60_000), b"\0")


def box(kind: bytes, content: bytes, size: int | None = None) -> bytes:
    return struct.pack(">I", 8 + len(content) if size is None else size) + kind + content


def mp4_with(old: bytes, new: bytes) -> bytes:
    return GOOD["film.mp4"]().replace(old, new, 1)


BOMBS: Mapping[str, Callable[[], bytes]] = {
    "next directory is itself.tif": lambda: tiff_of(BASIC, bytes(3072), following=8),
    "1000 directories.tif": lambda: tiff_of_many_directories(1000, 4096)[: 60 << 20],
    "100000 directories.tif": lambda: tiff_of_many_directories(20_000, 12),
    "subdirectory is itself.tif": lambda: tiff_of(basic(t330=(4, 1, 8)), bytes(3072)),
    "exif directory is itself.tif": lambda: tiff_of(basic(t34665=(4, 1, 8), t34853=(4, 1, 8)), bytes(3072)),
    "four billion strips.tif": lambda: tiff_of(basic(t273=(4, 0xFFFFFFFF, 8), t279=(4, 0xFFFFFFFF, 8)), bytes(3072)),
    "huge sides.tif": lambda: tiff_of(basic(t256=(4, 1, 0xFFFFFFFF), t257=(4, 1, 0xFFFFFFFF)), bytes(3072)),
    "no sides.tif": lambda: tiff_of(basic(t256=(4, 1, 0), t257=(4, 1, 0)), bytes(3072)),
    "no rows a strip.tif": lambda: tiff_of(basic(t278=(4, 1, 0)), bytes(3072)),
    "many samples.tif": lambda: tiff_of(basic(t277=(3, 1, 65535)), bytes(3072)),
    "many bits.tif": lambda: tiff_of(basic(t258=(3, 1, 65535)), bytes(3072)),
    "huge tiles.tif": lambda: tiff_of(
        basic(t322=(4, 1, 0x7FFFFFF0), t323=(4, 1, 0x7FFFFFF0), t324=(4, 1, 8), t325=(4, 1, 9)), bytes(3072)
    ),
    "no tiles.tif": lambda: tiff_of(basic(t322=(4, 1, 0), t323=(4, 1, 0), t324=(4, 1, 8), t325=(4, 1, 9)), bytes(3072)),
    "profile of 4 GB.tif": lambda: tiff_of(basic(t34675=(7, 0xFFFFFFF0, 8)), bytes(3072)),
    "description of 4 GB.tif": lambda: tiff_of(basic(t270=(2, 0xFFFFFFF0, 8)), bytes(3072)),
    "deflate bomb.tif": lambda: deflate_bomb_tiff(),
    "BigTIFF of nonsense.tif": lambda: b"II+\0\x08\0\0\0" + b"\xff" * 16,
    "BigTIFF directory of all numbers.tif": lambda: b"II+\0\x08\0\0\0\x10" + bytes(7) + b"\xff" * 200,
    "2 ** 31.png": lambda: png_of((1 << 31) - 1, (1 << 31) - 1, zlib.compress(b"")),
    "65536 × 65536.png": lambda: png_of(65536, 65536, zlib.compress(b"")),
    "31000 × 31000 interlaced.png": lambda: png_of(31000, 31000, zlib.compress(bytes(1000)), 16, 2, 1),
    "gray of zeros.png": lambda: png_of(20_000, 20_000, deflated_zeros(400 << 20), 8, 0),
    "zTXt bomb.png": lambda: png_with((b"zTXt", b"Comment\0\0" + deflated_zeros(1 << 30))),
    "iTXt bomb.png": lambda: png_with((b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + deflated_zeros(1 << 30))),
    "iCCP bomb.png": lambda: png_with((b"iCCP", b"icc\0\0" + deflated_zeros(1 << 30))),
    "100000 texts.png": lambda: png_with(*[(b"tEXt", b"Comment\0x")] * 100_000),
    "laughs.png": lambda: png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + LAUGHS)),
    "EXIF loop.png": lambda: png_with((b"eXIf", looping_exif()[6:])),
    "65500 × 65500.jpg": lambda: jpeg_claiming(65500, 65500),
    "30000 × 30000.jpg": lambda: jpeg_claiming(30000, 30000),
    "no rows.jpg": lambda: jpeg_claiming(64, 0),
    "3000 scans.jpg": lambda: jpeg_of_many_scans(3000, 2000),
    "laughs.jpg": lambda: jpeg_with((0xE1, XMP + LAUGHS)),
    "deep XMP.jpg": lambda: jpeg_with((0xE1, XMP + DEEP_XML[:60_000])),
    "EXIF loop.jpg": lambda: jpeg_with((0xE1, looping_exif())),
    "wrong profile.jpg": lambda: jpeg_with((0xE2, b"ICC_PROFILE\0\1\1" + icc_of(0xFFFFFFF0, 0xFFFFFFFF))),
    "many tags in a profile.jpg": lambda: jpeg_with((0xE2, b"ICC_PROFILE\0\1\1" + icc_of(60_000, 5000))),
    "profile in 255 parts.jpg": lambda: jpeg_with(
        *[(0xE2, b"ICC_PROFILE\0" + bytes([n, 255]) + bytes(60_000)) for n in range(1, 256)]
    ),
    "Photoshop loop.jpg": lambda: jpeg_with((0xED, b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\xff\xff\xff\xff" * 100)),
    "20000 comments.jpg": lambda: jpeg_with(*[(0xFE, b"x" * 100)] * 20_000),
    "16383 × 16383.webp": lambda: webp_claiming(16383),
    "a chunk of 4 GB.webp": lambda: GOOD["lossy.webp"]().replace(b"VP8 ", b"VP8X", 1)[:16] + b"\xff" * 40,
    "huge sides.bmp": lambda: GOOD["photo.bmp"]()[:18] + struct.pack("<ii", 60_000, -60_000) + bytes(100),
    "65535 × 65535.gif": lambda: b"GIF89a" + struct.pack("<HH", 65535, 65535) + GOOD["photo.gif"]()[10:],
    "boxes without end.mp4": lambda: box(b"ftyp", b"isom\0\0\0\0isom") + box(b"moov", b"") * 200_000,
    "nested boxes.mp4": lambda: nested_boxes(5000),
    "sample table of 4 billion.mp4": lambda: huge_table(b"stsz", 12),
    "time table of 4 billion.mp4": lambda: huge_table(b"stts", 8),
    "chunk table of 4 billion.mp4": lambda: huge_table(b"stco", 8),
    "moov of 4 GB.mp4": lambda: box(b"ftyp", b"isom\0\0\0\0isom") + box(b"moov", b"", 0xFFFFFFFF),
    "huge frames.avi": lambda: huge_avi(),
    "index of nonsense.avi": lambda: GOOD["film.avi"]().replace(b"idx1", b"idx1\xff\xff\xff\x7f", 1),
    "frames a second.avi": lambda: fast_avi(),
    "empty.jpg": lambda: b"",
    "one byte.tif": lambda: b"I",
}


def deflate_bomb_tiff() -> bytes:
    """A TIFF that says 64 × 48 and whose only strip unpacks to a gigabyte."""
    packed = deflated_zeros(1 << 30)
    entries = basic(t259=(3, 1, 8), t279=(4, 1, len(packed)))
    offset = 8 + 2 + 12 * len(entries) + 4
    return tiff_of(basic(t259=(3, 1, 8), t279=(4, 1, len(packed)), t273=(4, 1, offset)), packed)


def webp_claiming(side: int) -> bytes:
    good = bytearray(GOOD["lossy.webp"]())
    start = good.index(b"\x9d\x01\x2a")
    good[start + 3 : start + 7] = struct.pack("<HH", side, side)
    return bytes(good)


def nested_boxes(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = box(b"moov", inner)
    return box(b"ftyp", b"isom\0\0\0\0isom") + inner


def huge_table(kind: bytes, at: int) -> bytes:
    good = bytearray(GOOD["film.mp4"]())
    start = good.index(kind) + 4
    good[start + at - 4 : start + at] = b"\xff\xff\xff\xff"
    return bytes(good)


def huge_avi() -> bytes:
    good = bytearray(GOOD["film.avi"]())
    start = good.index(b"strf") + 8
    good[start + 4 : start + 12] = struct.pack("<ii", 30_000, 30_000)
    return bytes(good)


def fast_avi() -> bytes:
    good = bytearray(GOOD["film.avi"]())
    start = good.index(b"vids") + 20
    good[start : start + 8] = struct.pack("<II", 1, 0xFFFFFFFF)
    return bytes(good)

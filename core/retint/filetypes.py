"""The suffix and the content type of every kind of file that Retint keeps."""

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

OCTETS: Final = "application/octet-stream"
"""Content type of bytes of which nothing is known, such as an original's."""

PHOTO_SUFFIXES: Final[Mapping[str, str]] = {"jpeg": ".jpg", "png": ".png", "webp": ".webp", "tiff": ".tif"}
"""Suffix of a result in each format of a photo."""

FILM_SUFFIXES: Final[Mapping[str, str]] = {"mp4": ".mp4", "mov": ".mov", "matroska": ".mkv"}
"""Suffix of a result in each container of a film."""

CONTENT_TYPES: Final[Mapping[str, str]] = {
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".tif": "image/tiff",
    ".json": "application/json",
    ".szi": "application/zip",
    ".zip": "application/zip",
    ".mp4": "video/mp4",
    ".mov": "video/quicktime",
    ".mkv": "video/x-matroska",
    ".webm": "video/webm",
}
"""Content type by suffix, in the spelling of `normalize_suffix`."""

SPELLINGS: Final[Mapping[str, str]] = {".jpeg": ".jpg", ".jpe": ".jpg", ".tiff": ".tif"}
"""Other spellings of a suffix."""

SUFFIXES_OF_FILMS: Final = frozenset(
    (
        *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".dv", ".mpg", ".mpeg", ".mpe", ".m2v", ".vob"),
        *(".ts", ".mts", ".m2ts", ".mxf", ".wmv", ".asf", ".flv", ".f4v", ".3gp", ".3g2", ".ogv", ".ogm", ".ogg"),
    )
)
"""Suffixes of films, also of kinds that Retint refuses."""

PICTURE_SUFFIXES: Final = SUFFIXES_OF_FILMS | frozenset(
    (
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".png", ".webp", ".tif", ".tiff", ".btf", ".gif", ".bmp", ".dib"),
        *(".jp2", ".j2k", ".jpf", ".jpx", ".jxl", ".avif", ".heic", ".heif", ".psd", ".psb", ".tga", ".pcx", ".pcd"),
        *(".pbm", ".pgm", ".ppm", ".pnm", ".exr", ".hdr", ".dpx", ".cin"),
        *(".dng", ".nef", ".nrw", ".cr2", ".cr3", ".crw", ".arw", ".srf", ".sr2", ".raf", ".orf", ".rw2", ".raw"),
        *(".pef", ".srw", ".3fr", ".fff", ".iiq", ".mos", ".mrw", ".dcr", ".kdc", ".erf"),
    )
)
"""Suffixes of photos and films, also of kinds that Retint refuses. What follows the last dot of a name is a suffix only
if it is one of these: an accession number such as `1923.45.12` has none."""


def normalize_suffix(suffix: str) -> str:
    """Return a suffix in its usual spelling: `.JPEG` becomes `.jpg`."""
    return SPELLINGS.get(suffix.lower(), suffix.lower())


def content_type_for(name: str) -> str:
    """Return the content type for a file's name or a key, judged by the suffix; `OCTETS` where it says nothing."""
    return CONTENT_TYPES.get(normalize_suffix(PurePosixPath(name).suffix), OCTETS)

"""What makes the names of deposited files safe: to show, and to write into a folder or a zip."""

import re
import unicodedata
from typing import Final

from retint.errors import InvalidRequest
from retint.filetypes import normalize_suffix

MAX_LENGTH: Final = 1024
"""Most characters of a deposited name, its folders included."""
MAX_PART_BYTES: Final = 200
"""Most bytes of one part of a path, in UTF-8: file systems stop at 255."""

_INVISIBLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters, zero-width characters, changes of the writing direction, and lone surrogates."""
_FORBIDDEN: Final = str.maketrans(dict.fromkeys('<>:"|?*', "_"))
"""What Windows forbids in names."""
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
)
"""Names that Windows keeps for devices, whatever their suffix."""


def clean_name(name: str) -> str:
    """Make a file's name safe to show: an invisible or direction-changing character is written out, as `<U+202E>`.

    Raises:
        InvalidRequest: no name, or more than `MAX_LENGTH` characters.
    """
    name = _INVISIBLE.sub(lambda match: f"<U+{ord(match[0]):04X}>", name)
    if not name.strip():
        raise InvalidRequest("The file needs a name.", code="invalid_name")
    if len(name) > MAX_LENGTH:
        raise InvalidRequest(f"The file's name is longer than {MAX_LENGTH} characters.", code="invalid_name")
    return name


def unique_path(name: str, suffix: str, taken: set[str]) -> str:
    """Return a deposited name as a relative path that is safe to unpack anywhere, and unique.

    Folders stay; `..`, drives and roots go; what Windows forbids becomes `_`. A name that is taken gets a number.
    Many file systems treat names as the same that differ only in case or in how accents are encoded (NFC, NFD).

    Args:
        name: as deposited.
        suffix: the file's suffix, such as `.tif`; the name keeps its own spelling of it, such as `.TIFF`.
        taken: normalized paths that are in use; the returned one is added.
    """
    parts = [_make_safe(part) for part in name.replace("\\", "/").split("/")]
    parts = [part for part in parts if part] or ["photo"]
    stem, ending = _split_suffix(parts[-1], suffix)
    folder = "/".join(parts[:-1])
    for n in range(1, len(taken) + 2):
        number = "" if n == 1 else f" ({n})"
        path = f"{folder}/{stem}{number}{ending}" if folder else f"{stem}{number}{ending}"
        normalized = unicodedata.normalize("NFC", path).casefold()
        if normalized not in taken:
            taken.add(normalized)
            return path
    raise AssertionError("more names than taken ones were tried")


def _split_suffix(part: str, suffix: str) -> tuple[str, str]:
    """Split a file's name into its stem and the suffix to write: its own spelling if that is the same suffix."""
    stem, dot, old = part.rpartition(".")
    if not (dot and stem):
        return part, suffix
    if normalize_suffix(f".{old}") == normalize_suffix(suffix):
        return stem, f".{old}"
    return (stem if len(old) <= 5 else part), suffix


def _make_safe(part: str) -> str:
    """Make one part of a path safe on any file system; empty where nothing is left of it."""
    part = part.translate(_FORBIDDEN).strip().rstrip(".")
    part = _shorten(part, MAX_PART_BYTES)
    return f"_{part}" if part.split(".")[0].lower() in _DEVICES else part


def _shorten(part: str, size: int) -> str:
    """Shorten one part of a path to at most `size` UTF-8 bytes; a short suffix stays."""
    if len(part.encode()) <= size:
        return part
    stem, dot, ending = part.rpartition(".")
    if not dot or len(ending) > 5:
        stem, dot, ending = part, "", ""
    return stem.encode()[: size - len(ending.encode()) - 1].decode(errors="ignore") + dot + ending

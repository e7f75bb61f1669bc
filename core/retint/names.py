"""What makes the names of deposited files safe: to show, and to write into a folder or a zip."""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from retint.errors import InvalidRequest
from retint.filetypes import PICTURE_SUFFIXES, normalize_suffix

MAX_LENGTH: Final = 1024
"""Most characters of a deposited name, its folders included."""
NAME_BYTES: Final = 255
"""Most bytes of a file's name on most file systems."""
MAX_PART_BYTES: Final = 200
"""Most bytes of one part of a path to be unpacked anywhere: there is room left for a number and a sidecar's ending."""

_INVISIBLE: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]"
)
"""Control characters, zero-width characters, changes of the writing direction, and lone surrogates."""
_SURROGATE: Final = re.compile(r"[\ud800-\udfff]")
_FORBIDDEN: Final = str.maketrans(dict.fromkeys('<>:"|?*', "_"))
"""What Windows forbids in names."""
_DEVICES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))}
)
"""Names that Windows keeps for devices, whatever their suffix."""


class InvalidName(InvalidRequest):
    """The file's name cannot be shown, or is too long when it is."""

    code = "invalid_name"
    status = 422


def escape_surrogates(text: str) -> str:
    """Write out what cannot be encoded: a byte of a file's name that is not UTF-8 as `%F1`, others as `<U+D800>`."""
    return _SURROGATE.sub(_write_out, text)


def show_name(name: str) -> str:
    """Write out what nobody sees: an invisible or direction-changing character as `<U+202E>`, a stray byte as `%F1`."""
    return _INVISIBLE.sub(_write_out, name)


def clean_name(name: str) -> str:
    """Make a file's name safe to show, as `show_name` does.

    Raises:
        InvalidName: no name, or more than `MAX_LENGTH` characters.
    """
    name = show_name(name)
    if not name.strip():
        raise InvalidName("The file needs a name.")
    if len(name) > MAX_LENGTH:
        raise InvalidName(f"The file's name is longer than {MAX_LENGTH} characters.")
    return name


def unique_path(name: str, suffix: str, taken: set[int]) -> str:
    """Return a deposited name as a relative path that is safe to unpack anywhere, and unique.

    Folders stay; `..`, drives and roots go; what Windows forbids becomes `_`. A name that is taken gets a number.
    Many file systems treat names as the same that differ only in case or in how accents are encoded (NFC, NFD).

    Args:
        name: as deposited.
        suffix: the file's suffix, such as `.tif`; the name keeps its own spelling of it, such as `.TIFF`.
        taken: digests of the paths that are in use, a few bytes each; the returned path's is added.
    """
    parts = [_make_safe(part) for part in name.replace("\\", "/").split("/")]
    parts = [part for part in parts if part] or ["photo"]
    stem, ending = split_suffix(parts[-1], suffix)
    folder = "".join(f"{part}/" for part in parts[:-1])

    def path(number: int) -> str:
        return f"{folder}{stem}{ending}" if number == 1 else f"{folder}{stem} ({number}){ending}"

    chosen = path(_find_free(lambda number: _digest(path(number)) in taken))
    taken.add(_digest(chosen))
    return chosen


def split_suffix(name: str, suffix: str) -> tuple[str, str]:
    """Split a file's name into its stem and the suffix of its result: its own spelling if that is the same suffix.

    Only the suffix of a picture is cut off: the result of `1923.45.12` is `1923.45.12.jpg`.
    """
    stem, dot, old = name.rpartition(".")
    if not stem or f"{dot}{old}".lower() not in PICTURE_SUFFIXES:
        return name, suffix
    return stem, f".{old}" if normalize_suffix(f".{old}") == normalize_suffix(suffix) else suffix


def shorten(name: str, size: int) -> str:
    """Shorten a name to at most `size` bytes of UTF-8; no character is cut in half."""
    return name if len(name.encode()) <= size else name.encode()[:size].decode(errors="ignore").rstrip(" .")


def _find_free(is_taken: Callable[[int], bool]) -> int:
    """Return a number from 1 that is free: the first one where all before it are taken, else a later one.

    Takes logarithmic time, so that a hundred thousand equal names are no more work each than ten.
    """
    free = 1
    while is_taken(free):
        free *= 2
    taken = free // 2
    while free - taken > 1:
        middle = (taken + free) // 2
        if is_taken(middle):
            taken = middle
        else:
            free = middle
    return free


def _digest(path: str) -> int:
    """Return 64 bits for a path. Two paths of one digest cost a needless number, nothing else."""
    normalized = unicodedata.normalize("NFC", path).casefold()
    return int.from_bytes(hashlib.blake2b(normalized.encode(), digest_size=8).digest())


def _write_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    # Python reads a byte of a name that is not UTF-8 as U+DC80 to U+DCFF (PEP 383).
    return f"%{code - 0xDC00:02X}" if 0xDC80 <= code <= 0xDCFF else f"<U+{code:04X}>"


def _make_safe(part: str) -> str:
    """Make one part of a path safe on any file system; empty where nothing is left of it."""
    part = part.translate(_FORBIDDEN).strip().rstrip(".")
    stem, suffix = split_suffix(part, "")
    suffix = part[len(stem) :]
    part = shorten(stem, MAX_PART_BYTES - len(suffix)) + suffix
    return f"_{part}" if part.split(".")[0].lower() in _DEVICES else part

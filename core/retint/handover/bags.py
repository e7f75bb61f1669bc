"""How a bag is written: BagIt 1.0 (RFC 8493), and its profile.

A bag is a folder: `data/` with the payload, manifests of it, and tag files about it. One hand-over is one bag or
several, which `Bag-Group-Identifier` and `Bag-Count` keep together.
"""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from retint.names import unique_path

ALGORITHMS: Final = ("sha256", "sha512")
"""Every file has a digest of each."""
DECLARATION: Final = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
MOST_NAME: Final = 60
"""Most characters of a bag's name: archives make paths of it, and some break beyond 83."""
PAYLOAD: Final = "data/"

_SPACES: Final = re.compile(r"\s+")
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Member:
    """A file of a bag: payload or tag file.

    Attributes:
        path: within the bag, such as `data/originals/box 7/a.tif`.
        size: its bytes.
        sha256: their digest, in lower-case hex.
        sha512: their digest, in lower-case hex.
    """

    path: str
    size: int
    sha256: str
    sha512: str

    @classmethod
    def of(cls, path: str, data: bytes) -> "Member":
        """Describe a file by its bytes."""
        return cls(path, len(data), hashlib.sha256(data).hexdigest(), hashlib.sha512(data).hexdigest())


def make_path(folder: str, name: str, suffix: str, taken: set[int]) -> str:
    """Return where a deposited file lies in a bag: as `names.unique_path`, and without `%`.

    RFC 8493 wants `%` to be encoded in manifests; programs that do not know that call such a bag broken.
    """
    return f"{PAYLOAD}{folder}/{unique_path(name.replace('%', '_'), suffix, taken)}"


def name_bag(batch: str, number: int, count: int, unique: str) -> str:
    """Name a bag: as its batch, in ASCII, with its number where there are several, and what makes it unique."""
    plain = unicodedata.normalize("NFKD", batch).encode("ascii", "ignore").decode()
    ending = f"-{unique}" + (f"-{number}-of-{count}" if count > 1 else "")
    stem = _UNSAFE.sub("-", plain).strip("-.")[: MOST_NAME - len(ending)].strip("-.")
    return f"{stem or 'batch'}{ending}"


def write_manifest(algorithm: str, members: Iterable[Member]) -> Iterator[str]:
    """Write a manifest: a line for each file, its digest and its path."""
    for member in members:
        path = member.path.replace("%", "%25").replace("\n", "%0A").replace("\r", "%0D")
        yield f"{getattr(member, algorithm)}  {path}\n"


def write_info(values: Mapping[str, Any]) -> str:
    """Write bag-info.txt. What is None is left out; a value is one line, whatever it holds."""
    return "".join(f"{label}: {_SPACES.sub(' ', str(value)).strip()}\n" for label, value in values.items() if value)


def describe_bag(
    *, size: int, files: int, number: int, count: int, group: str, dated: str, values: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what bag-info.txt says.

    Args:
        size: bytes of the payload.
        files: how many files the payload has.
        number: of this bag in its group, from 1.
        count: how many bags the group has.
        group: what names the group.
        dated: the day, as 2026-12-31.
        values: what else is said, label by label; without spaces in labels, of which archives make XML.
    """
    return {
        **values,
        "Bagging-Date": dated,
        "Bag-Size": write_size(size),
        "Payload-Oxum": f"{size}.{files}",
        "Bag-Group-Identifier": group,
        "Bag-Count": f"{number} of {count}",
    }


def write_size(size: int) -> str:
    """Write bytes as people read them, such as `42.6 GB`."""
    value, units = float(size), iter(("bytes", "kB", "MB", "GB", "TB"))
    unit = next(units)
    while value >= 1000 and unit != "TB":
        value, unit = value / 1000, next(units)
    return f"{value:.0f} {unit}" if unit == "bytes" else f"{value:.1f} {unit}"


def describe_profile(identifier: str, version: str) -> dict[str, Any]:
    """Return the profile of our bags (BagIt Profiles 1.4): what whoever takes them in may rely on.

    Args:
        identifier: the address at which the profile is found.
        version: of Retint.
    """
    required = ("Source-Organization", "External-Description", "External-Identifier", "Bagging-Date", "Payload-Oxum")
    optional = ("Bag-Size", "Bag-Software-Agent", "Internal-Sender-Identifier", "Contact-Name", "Contact-Email")
    once = {"repeatable": False}
    return {
        "BagIt-Profile-Info": {
            "BagIt-Profile-Identifier": identifier,
            "BagIt-Profile-Version": "1.4.0",
            "Source-Organization": "Retint",
            "External-Description": "Photographs with their restored results, layers, provenance and PREMIS events",
            "Version": version,
        },
        "Bag-Info": {
            **{label: {"required": True, **once} for label in (*required, "Bag-Group-Identifier", "Bag-Count")},
            **{label: {"required": False, **once} for label in optional},
        },
        "Manifests-Required": list(ALGORITHMS),
        "Tag-Manifests-Required": list(ALGORITHMS),
        "Tag-Files-Required": ["metadata/metadata.csv", "metadata/premis.xml"],
        "Allow-Fetch.txt": False,
        "Serialization": "optional",
        "Accept-Serialization": ["application/zip"],
        "Accept-BagIt-Version": ["1.0"],
    }

"""Which files a child may reach, and its limits: they follow from the work that it is given.

The paths among a function's arguments are what it may reach: folders to write to, files to read. A path in a scratch
folder of this process opens that whole folder, which holds the work of the moment and nothing else; so one child serves
many files.
"""

import dataclasses
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from retint_workers import scratch

Identity = tuple[Path, int, int]
"""A path without links, and device and number of what lies there: another file with the same name is another one."""


@dataclass(frozen=True)
class Access:
    """What a child may use.

    Attributes:
        readable: files that it may read.
        writable: folders in which it may do anything.
        current: the folder that relative paths start from.
        memory_mib: its memory.
        file_bytes: size of the largest file that it may write; None without a limit.
        is_trusted: whether it opens no foreign file, so that nothing but `memory_mib` is withheld from it.
    """

    readable: frozenset[Identity] = frozenset()
    writable: frozenset[Identity] = frozenset()
    current: Path = Path("/")
    memory_mib: int | None = None
    file_bytes: int | None = None
    is_trusted: bool = False

    @classmethod
    def to_paths(cls, arguments: Any, *, memory_mib: int, file_bytes: int | None) -> "Access":
        """Return the access to the paths among a function's arguments."""
        readable, writable = set(), set()
        for path in _find_paths(arguments):
            place = Path(os.path.realpath(path))
            if root := scratch.find_root(place):
                place = root
            if place.is_dir():
                writable.add(_identify(place))
            elif place.exists():
                readable.add(_identify(place))
        return cls(frozenset(readable), frozenset(writable), Path.cwd(), memory_mib, file_bytes)

    def with_folder(self, folder: Path) -> "Access":
        """Return the same access, and a folder for temporary files."""
        return replace(self, writable=self.writable | {_identify(folder.resolve())})

    @property
    def folders(self) -> list[Path]:
        """The writable folders."""
        return [path for path, *_ in self.writable]

    def covers(self, other: "Access") -> bool:
        """Whether a child with this access, which it keeps, can do the work that the other one is for."""
        same = ("current", "memory_mib", "file_bytes", "is_trusted")
        return (
            all(getattr(self, name) == getattr(other, name) for name in same)
            and other.writable <= self.writable
            and other.readable <= self.readable
        )


def _find_paths(value: Any) -> Iterator[Path]:
    """Find the paths in an argument: in lists, dictionaries and dataclasses too."""
    if isinstance(value, Path):
        yield value
    elif isinstance(value, list | tuple | set | frozenset):
        yield from _find_all(value)
    elif isinstance(value, Mapping):
        yield from _find_all(value.values())
    elif dataclasses.is_dataclass(value):
        yield from _find_all(getattr(value, field.name) for field in dataclasses.fields(value))


def _find_all(values: Iterable[Any]) -> Iterator[Path]:
    for value in values:
        yield from _find_paths(value)


def _identify(path: Path) -> Identity:
    status = path.stat()
    return path, status.st_dev, status.st_ino

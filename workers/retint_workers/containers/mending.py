"""Copies of files in which what is wrong around the pixels is put right, while the pixels' bytes stay as they are."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Mend:
    """What makes a file one that every reader takes: bytes to be replaced, by their place, and bytes to be appended."""

    patches: Mapping[int, bytes] = field(default_factory=dict)
    tail: bytes = b""

    def __bool__(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.patches or self.tail)


def write_mended(original: Path, copy: Path, mend: Mend) -> None:
    """Write a mended copy of a file."""
    shutil.copyfile(original, copy)
    with copy.open("r+b") as file:
        for at, data in mend.patches.items():
            file.seek(at)
            file.write(data)
        file.seek(0, 2)
        file.write(mend.tail)

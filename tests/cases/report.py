"""The cases made after public bug reports, and the document that says what becomes of each now."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.paths import SHARED

CASES: Final = SHARED / "cases"

HEAD: Final = """# Cases
Small inputs made after public bug reports: files of scanners, editors and decades, names, folders, sessions that end.
Each stands for a kind of fault. `make cases` tries them and writes this page. Photographs are restored without fading
repair, so only their chroma may change: look, header and all metadata are compared, the metadata as exiftool reads it.

| case | kind | what happened | now |
|---|---|---|---|
"""


@dataclass
class Seen:
    """What the tests of one case saw."""

    failed: list[str] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        if self.failed:
            return "**fails**: " + ", ".join(self.failed)
        return "; ".join(dict.fromkeys(self.sentences)) or "as it should be"


def read_table() -> list[tuple[str, str, str]]:
    """Read number, what happened and kind of each case."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in (CASES / "README.md").read_text().splitlines()
        if line.startswith("| ") and line[2].isdigit()
    ]
    return [(number, happened, kind) for numbers, happened, kind in rows for number in numbers.split(", ")]


def write(path: Path, seen: Mapping[str, Seen]) -> None:
    """Write the document; a case that no test tries is told as such."""
    lines = [
        f"| {number} | {kind} | {happened} | {seen.get(number, 'no test tries it')} |"
        for number, happened, kind in read_table()
    ]
    path.write_text(HEAD + "\n".join(lines) + "\n")

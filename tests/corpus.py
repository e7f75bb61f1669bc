"""Restores many files and says what their metadata lost: `python -m tests.corpus FOLDER… [--json FILE]`.

Each file ends as one row: restored or refused, with the notes that people see. Differences of metadata are told where
no note accounts for them (see `metadata_differences`). Any folder of photographs will do, such as the test files of the
image libraries.
"""

import argparse
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from tests import metadata_differences

from retint import recipes
from retint.settings import Settings
from retint_workers.films import decoder
from retint_workers.local.destinations import Options
from retint_workers.local.restore import restore


@dataclass(frozen=True)
class Row:
    """What became of one file."""

    name: str
    reason: str | None
    notes: tuple[str, ...]
    differences: tuple[str, ...]


def restore_all(files: list[Path], folder: Path) -> Iterator[Row]:
    """Restore files without fading repair; yield what became of each."""
    options = Options(recipe=recipes.parse({"defader": "keep"}))
    for report in restore(files, folder, options, Settings(data=folder)):
        file, differences = Path(str(report.file)), []
        if report.output is not None:
            differences = [str(each) for each in metadata_differences.compare(file, report.output)]
        yield Row(file.name, report.reason, report.notes, tuple(differences))


def find_files(folders: list[Path]) -> list[Path]:
    """Find the files of folders that may be photographs."""
    paths = (path for folder in folders for path in ([folder] if folder.is_file() else sorted(folder.rglob("*"))))
    return [path for path in paths if path.is_file() and path.suffix != ".md" and not decoder.is_film(path)]


def main(arguments: list[str]) -> int:
    """Print a row for each file, then the sums."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--json", type=Path, help="write the rows into this file, too")
    asked = parser.parse_args(arguments)
    rows, counts = [], Counter[str]()
    with tempfile.TemporaryDirectory(prefix="retint-corpus-") as folder:
        for row in restore_all(find_files(asked.folders), Path(folder)):
            rows.append(row)
            is_silent = bool(row.differences) and not row.notes
            counts["refused" if row.reason else "differ without a note" if is_silent else "restored"] += 1
            print(f"{row.name}: {row.reason or 'restored'}", *row.notes, sep="\n    note: ")
            for difference in row.differences:
                print(f"    {difference}", flush=True)
    print(", ".join(f"{number} {what}" for what, number in sorted(counts.items())))
    if asked.json:
        asked.json.write_text(json.dumps([asdict(row) for row in rows], indent=1))
    return 1 if counts["differ without a note"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

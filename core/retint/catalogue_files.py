"""Reads a catalogue as museums have it: a CSV, one row a photo, of which some columns are known and all are kept.

A file is read as a whole or refused as a whole: with everything that is wrong with it, as far as a person wants to
read, each with the number of its row. Rows count as in a spreadsheet: the header is row 1.
"""

import codecs
import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from retint.errors import InvalidRequest
from retint.names import MAX_LENGTH, show_name
from retint.records import normalize_path

MOST_BYTES: Final = 64 << 20
MOST_ROWS: Final = 100_000
MOST_COLUMNS: Final = 1_000
MOST_TOLD: Final = 20
"""Most problems that are told; the others are counted."""
MOST_CELL: Final = 131_072
"""Most characters of a cell: the limit of Python's reader."""
LONGEST_SHOWN: Final = 60

_DELIMITERS: Final = ",;\t"
_PREFIXES: Final = ("", "dc.", "dcterms.", "dc:", "dcterms:")
_FILE: Final = frozenset({"filename", "file"})
_IDENTIFIER, _TITLE, _RIGHTS = (
    frozenset(f"{prefix}{name}" for prefix in _PREFIXES) for name in ("identifier", "title", "rights")
)
_FORBIDS: Final = frozenset({"do_not_colorize"})
_YES, _NO = frozenset({"yes", "true", "1", "x"}), frozenset({"no", "false", "0", ""})
_WORKBOOKS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
"""How XLSX and XLS begin."""


class CatalogueRefused(InvalidRequest):
    """The catalogue cannot be read; nothing of it was imported."""

    code = "invalid_catalogue"
    status = 422

    def __init__(self, problems: Sequence[str], *, code: str | None = None) -> None:
        self.problems = list(problems[:MOST_TOLD])
        if len(problems) > MOST_TOLD:
            self.problems.append(f"There are {len(problems) - MOST_TOLD:,} more problems.")
        super().__init__(" ".join(self.problems), code=code)

    def __reduce__(self) -> tuple[object, ...]:
        return CatalogueRefused, (self.problems,)


@dataclass(frozen=True)
class Row:
    """One row of a catalogue."""

    number: int
    path: str | None
    identifier: str | None
    title: str | None
    rights: str | None
    do_not_colorize: bool
    columns: list[list[str]]
    """Every column and its value, word for word."""


@dataclass(frozen=True)
class CatalogueFile:
    """A catalogue that was read."""

    rows: list[Row]
    columns: list[str]
    remarks: list[str]
    """A sentence for each thing that a person should look at."""


def read(data: bytes) -> CatalogueFile:
    """Read a catalogue.

    Raises:
        CatalogueRefused: it is no CSV, or something is wrong with its rows; all of it is told.
    """
    text, remarks = _decode(data)
    lines = _Lines(text)
    header, columns = lines.header, _Columns(lines.header)
    problems = columns.problems
    rows: list[Row] = []
    if not problems:
        for number, cells in lines:
            if any(cell.strip() for cell in cells):
                rows += columns.read(number, cells)
        problems = [*columns.problems, *lines.problems, *_find_doubles(rows)]
        if not rows and not problems:
            problems = ["The catalogue has a header, but no rows."]
    if problems:
        raise CatalogueRefused(problems)
    if lines.empty:
        remarks.append(
            f"{lines.empty:,} empty rows were passed over." if lines.empty > 1 else "An empty row was passed over."
        )
    return CatalogueFile(rows, header, remarks)


def _decode(data: bytes) -> tuple[str, list[str]]:
    """Return the text, and what is to be said of its encoding."""
    if len(data) > MOST_BYTES:
        raise CatalogueRefused([f"The catalogue is larger than {MOST_BYTES >> 20} MiB, the most that is read."])
    if not data.strip():
        raise CatalogueRefused(["The catalogue is empty."])
    if data.startswith(_WORKBOOKS):
        raise CatalogueRefused(
            ["This is a workbook of a spreadsheet (XLSX, XLS or ODS). Save it as CSV (UTF-8), and send that."]
        )
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16"), []
        except UnicodeDecodeError as error:
            raise CatalogueRefused(["The file says that it is UTF-16, and is not. Save it as CSV (UTF-8)."]) from error
    try:
        return data.decode("utf-8-sig"), []
    except UnicodeDecodeError:
        remark = "The file is not UTF-8; it was read as Windows-1252. Check that accents and umlauts are right."
    try:
        return data.decode("cp1252"), [remark]
    except UnicodeDecodeError as error:
        message = f"The file is neither UTF-8 nor Windows-1252 (byte {error.start + 1:,}). Save it as CSV (UTF-8)."
        raise CatalogueRefused([message]) from error


class _Lines:
    """The rows of a CSV with their numbers, after its header."""

    def __init__(self, text: str) -> None:
        self.problems: list[str] = []
        self.empty = 0
        self._number = 1
        first, _, rest = text.partition("\n")
        says = first.strip().strip('"').lower()
        if says.startswith("sep=") and len(says) == 5:  # as Excel writes it
            text, self._number = rest, 2
            delimiter = says[4] if says[4] != "\\" else "\t"
        else:
            delimiter = max(_DELIMITERS, key=lambda each: _count_columns(text, each))
        if delimiter not in _DELIMITERS:
            raise CatalogueRefused(["The columns are not separated by commas, semicolons or tabs."])
        self._reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        try:
            self.header = [cell.strip() for cell in next(self._reader, [])]
        except csv.Error as error:
            raise CatalogueRefused([_unreadable(self._number, error)]) from error

    def __iter__(self) -> Iterator[tuple[int, list[str]]]:
        while True:
            self._number += 1
            try:
                cells = next(self._reader, None)
            except csv.Error as error:
                # What follows may be read with the wrong quotation marks: the rest is not told.
                self.problems.append(_unreadable(self._number, error))
                return
            if cells is None:
                return
            if self._number > MOST_ROWS + 1:
                self.problems.append(f"The catalogue has more than {MOST_ROWS:,} rows, the most that one batch takes.")
                return
            if not any(cell.strip() for cell in cells):
                self.empty += 1
            yield self._number, cells


def _unreadable(number: int, error: csv.Error) -> str:
    if "limit" in str(error):
        return f"Row {number}: a cell has more than {MOST_CELL:,} characters. Is a quotation mark missing?"
    return f"Row {number} cannot be read: a quotation mark is missing, or one is too many ({error})."


def _count_columns(text: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), []))
    except csv.Error:
        return 0


class _Columns:
    """What the columns of a catalogue mean."""

    def __init__(self, header: Sequence[str]) -> None:
        self.problems: list[str] = []
        self._header = list(header)
        names = [name.casefold() for name in header]
        self._files, self._identifiers, self._titles, self._rights = (
            [index for index, name in enumerate(names) if name in known]
            for known in (_FILE, _IDENTIFIER, _TITLE, _RIGHTS)
        )
        spelled = [name.replace(" ", "_").replace("-", "_") for name in names]
        self._forbids = [index for index, name in enumerate(spelled) if name in _FORBIDS]
        if not self._files and not self._identifiers:
            self.problems.append(
                "The header names neither a column `filename` nor a column `identifier` (or `dc.identifier`), by which "
                f"photos are found; it names {_quote(', '.join(header))}."
            )
        if len(header) > MOST_COLUMNS:
            self.problems.append(f"The catalogue has {len(header):,} columns; at most {MOST_COLUMNS:,} are kept.")
        if any("\0" in name for name in header):
            self.problems.append("The header has a character NUL. Save the file as CSV (UTF-8).")

    def read(self, number: int, cells: list[str]) -> list[Row]:
        """Read a row; what is wrong with it is written down, and it is left out."""
        before = len(self.problems)
        if len(cells) != len(self._header):
            self.problems.append(f"Row {number} has {len(cells)} cells, the header has {len(self._header)}.")
            return []
        if any("\0" in cell for cell in cells):
            self.problems.append(f"Row {number} has a character NUL. Save the file as CSV (UTF-8).")
        path = self._first(cells, self._files)
        identifier = self._first(cells, self._identifiers)
        if path is not None:
            path = show_name(normalize_path(path))
            if len(path) > MAX_LENGTH:
                self.problems.append(f"Row {number}: the file's name is longer than {MAX_LENGTH:,} characters.")
        if not path and not identifier:
            self.problems.append(f"Row {number} names neither a file nor an identifier.")
        forbids = self._forbids_colors(number, cells)
        if len(self.problems) > before:
            return []
        title, rights = self._first(cells, self._titles), self._first(cells, self._rights)
        columns = [[name, cell] for name, cell in zip(self._header, cells, strict=True)]
        return [Row(number, path or None, identifier, title, rights, forbids, columns)]

    @staticmethod
    def _first(cells: Sequence[str], columns: Sequence[int]) -> str | None:
        """Return the first value that one of these columns has."""
        return next((value for index in columns if (value := cells[index].strip())), None)

    def _forbids_colors(self, number: int, cells: Sequence[str]) -> bool:
        forbids = False
        for index in self._forbids:
            value = cells[index].strip().casefold()
            if value not in _YES and value not in _NO:
                self.problems.append(f"Row {number}: do_not_colorize is {_quote(cells[index])}; it must be yes or no.")
            forbids |= value in _YES
        return forbids


def _find_doubles(rows: Sequence[Row]) -> Iterator[str]:
    """Yield a sentence for each file that several rows name."""
    named: dict[str, list[int]] = {}
    for row in rows:
        if row.path is not None:
            named.setdefault(row.path, []).append(row.number)
    for path, numbers in named.items():
        if len(numbers) > 1:
            more = f" and {len(numbers) - 5} more" if len(numbers) > 5 else ""
            yield f"Rows {', '.join(map(str, numbers[:5]))}{more} all name the file {_quote(path)}."


def _quote(text: str) -> str:
    shown = show_name(text)
    return f"“{shown if len(shown) <= LONGEST_SHOWN else shown[:LONGEST_SHOWN] + '…'}”"

"""Catalogues as museums send them: what is read, and what is refused with which sentences."""

import codecs
import csv
import io
import zipfile

import pytest

from retint import catalogue_files
from retint.catalogue_files import MOST_ROWS, MOST_TOLD, CatalogueFile, CatalogueRefused

PLAIN = (
    "filename,identifier,dc.title,dcterms.rights,do_not_colorize\na/1.tif,NM 1,Straße,CC0,\na/2.tif,NM 2,Brücke,,x\n"
)


def read(text: str) -> CatalogueFile:
    return catalogue_files.read(text.encode())


def problems(data: bytes) -> list[str]:
    with pytest.raises(CatalogueRefused) as refused:
        catalogue_files.read(data)
    assert refused.value.message == " ".join(refused.value.problems)
    return refused.value.problems


def test_known_columns_are_understood_and_all_are_kept_word_for_word() -> None:
    first, second = read(PLAIN).rows
    assert (first.number, first.path, first.identifier, first.title, first.rights) == (
        2,
        "a/1.tif",
        "NM 1",
        "Straße",
        "CC0",
    )
    assert (first.do_not_colorize, second.do_not_colorize, second.rights) == (False, True, None)
    assert second.columns == [
        ["filename", "a/2.tif"],
        ["identifier", "NM 2"],
        ["dc.title", "Brücke"],
        ["dcterms.rights", ""],
        ["do_not_colorize", "x"],
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_common_form_is_the_same_catalogue(delimiter: str, encoding: str, newline: str) -> None:
    text = PLAIN.replace(",", delimiter).replace("\n", newline)
    data = (codecs.BOM_UTF16_BE if encoding == "utf-16-be" else b"") + text.encode(encoding)
    assert catalogue_files.read(data) == read(PLAIN)


def test_windows_1252_is_read_and_said() -> None:
    found = catalogue_files.read(PLAIN.encode("cp1252"))
    assert found.rows == read(PLAIN).rows
    assert found.remarks == [
        "The file is not UTF-8; it was read as Windows-1252. Check that accents and umlauts are right."
    ]


@pytest.mark.parametrize(
    "name", ["objects/a/1.tif", "data/a/1.tif", "data/objects/a/1.tif", "./a/1.tif", "a\\1.tif", "/a/1.tif"]
)
def test_paths_are_spelled_as_deposited_files_are(name: str) -> None:
    assert read(f"File;dc.subject;dc.subject\n{name};x;y\n").rows[0].path == "a/1.tif"


def test_repeated_columns_formulas_and_two_hundred_columns_survive() -> None:
    header = ["Filename", "dc.subject", "dc.subject", *(f"column {number}" for number in range(197))]
    cells = ["1.tif", "street", "=cmd|' /C calc'!A0", *(f'"{number}"\nnext line' for number in range(197))]
    sheet = io.StringIO()
    csv.writer(sheet).writerows([header, cells])
    [row] = read(sheet.getvalue()).rows
    assert row.columns == [list(pair) for pair in zip(header, cells, strict=True)]


def test_excels_own_line_about_the_delimiter_counts_as_a_row() -> None:
    [row] = read("sep=;\nfilename;dc.title\n1.tif;A, B\n").rows
    assert (row.number, row.title) == (3, "A, B")


def test_empty_rows_are_passed_over_and_counted() -> None:
    found = read("filename,title\n1.tif,A\n\n,\n2.tif,B\n")
    assert [row.number for row in found.rows] == [2, 5]
    assert found.remarks == ["2 empty rows were passed over."]


@pytest.mark.parametrize("value", ["yes", "TRUE", "1", "X"])
def test_yes_forbids(value: str) -> None:
    assert read(f"filename,Do not colorize\n1.tif,{value}\n").rows[0].do_not_colorize


@pytest.mark.parametrize("value", ["no", "False", "0", "", " "])
def test_no_allows(value: str) -> None:
    assert not read(f"filename,do_not_colorize\n1.tif,{value}\n").rows[0].do_not_colorize


WORKBOOK = io.BytesIO()
with zipfile.ZipFile(WORKBOOK, "w") as archive:
    archive.writestr(zipfile.ZipInfo("xl/workbook.xml"), "<workbook/>")  # without the time: it is in a test's name


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "The catalogue is empty."),
        (b" \n\n", "The catalogue is empty."),
        (WORKBOOK.getvalue(), "This is a workbook of a spreadsheet (XLSX, XLS or ODS). Save it as CSV (UTF-8)"),
        (b"filename,title\n", "The catalogue has a header, but no rows."),
        (b"name,title\n1.tif,A\n", "The header names neither a column `filename` nor a column `identifier`"),
        (b"\xff\xfef\x00i\x00l", "The file says that it is UTF-16, and is not."),
        (b"filename,title\n1.tif,\x81\xff\n", "The file is neither UTF-8 nor Windows-1252 (byte 22)."),
        (b'filename,title\n1.tif,"A\n2.tif,B\n', "Row 2 cannot be read: a quotation mark is missing"),
        (b'filename,title\n1.tif,"A"B\n', "Row 2 cannot be read: a quotation mark"),
        (b"filename,title\n1.tif," + b"x" * 131_073, "Row 2: a cell has more than 131,072 characters."),
        (b"filename,title\n1.tif,A\x00B\n", "Row 2 has a character NUL."),
        (b"filename,title\n" + b"a" * 1025 + b",A\n", "Row 2: the file's name is longer than 1,024 characters."),
        (b"f," + b"filename," * 1000 + b"x\n", "The catalogue has 1,002 columns; at most 1,000 are kept."),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_what_cannot_be_read_is_refused_with_its_row(data: bytes, sentence: str) -> None:
    assert problems(data)[0].startswith(sentence)


def test_all_problems_are_told_at_once() -> None:
    header = "filename,identifier,do_not_colorize\n"
    rows = "1.tif,A,maybe\n2.tif,B\n,,no x\n2.tif,B,\n3.tif,C,no\n3.tif,D,\n3.tif,E,,\n"
    assert problems((header + rows).encode()) == [
        "Row 2: do_not_colorize is “maybe”; it must be yes or no.",
        "Row 3 has 2 cells, the header has 3.",
        "Row 4 names neither a file nor an identifier.",
        "Row 4: do_not_colorize is “no x”; it must be yes or no.",
        "Row 8 has 4 cells, the header has 3.",
        "Rows 6, 7 all name the file “3.tif”.",
    ]


def test_problems_are_bounded() -> None:
    told = problems(("filename,title\n" + "1.tif\n" * 100).encode())
    assert len(told) == MOST_TOLD + 1
    assert told[-1] == "There are 80 more problems."


def test_a_catalogue_of_too_many_rows_is_refused() -> None:
    rows = "".join(f"{number}.tif\n" for number in range(MOST_ROWS + 1))
    assert problems(f"filename\n{rows}".encode()) == [
        "The catalogue has more than 100,000 rows, the most that one batch takes."
    ]

"""`retint catalogue`, and `retint push --catalogue`, against a real portal."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.core.command.files import list_names, make_files
from tests.platforms import PlatformUnderTest

from retint.command import cli

Push = Callable[..., dict[str, Any]]
Run = Callable[..., str]


@pytest.fixture
def run(
    platform: PlatformUnderTest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., str]:
    """Run `retint catalogue`; return all that it prints."""

    def run_command(*arguments: str, status: int = 0) -> str:
        options = ["--server", platform.url, "--token", platform.token]
        monkeypatch.setattr(sys, "argv", ["retint", "catalogue", *arguments, *options])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        assert ended.value.code == status, printed.err
        return printed.out + printed.err

    return run_command


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "metadata.csv"
    path.write_text("filename,title,do_not_colorize\n1.jpg,One,\n2.jpg,Two,yes\ngone.jpg,Gone,\n", encoding="utf-8-sig")
    return path


def test_a_catalogue_is_tried_and_imported_into_a_batch(
    platform: PlatformUnderTest, push: Push, run: Run, sheet: Path, tmp_path: Path
) -> None:
    pushed = push(make_files(tmp_path / "drawer", "1.jpg", "2.jpg", "3.jpg"))
    tried = run(pushed["batch"], str(sheet), "--dry-run")
    assert tried.splitlines() == [
        "3 records would be imported, in place of 0; 2 photos matched.",
        "1 photos are not to be colorized: 1 of them have no colors yet, 0 colored results are withheld.",
        "1 records without a photo; they wait for it:",
        "  gone.jpg (row 4)",
        "1 photos without a record:",
        "  3.jpg",
    ]
    batch_id = pushed["batch"].rsplit("/", 1)[1]
    assert json.loads(run(batch_id, str(sheet), "--json"))["replaced"] == 0
    assert run(batch_id, str(sheet)).startswith("3 records imported, in place of 3; 2 photos matched.")
    found = platform.get("/api/v1/photos?q=two").json()["items"]
    assert [(each["name"], each["title"]) for each in found if each["batch_id"] == batch_id] == [("2.jpg", "Two")]


def test_what_is_wrong_is_said_and_nothing_is_imported(run: Run, push: Push, sheet: Path, tmp_path: Path) -> None:
    sheet.write_text("filename,title\n1.jpg\n1.jpg,A\n1.jpg,B\n")
    pushed = push(make_files(tmp_path / "shoe box", "1.jpg"))
    told = run(pushed["batch"], str(sheet), status=2)
    assert told == "Error: Row 2 has 1 cells, the header has 2. Rows 3, 4 all name the file “1.jpg”.\n"
    assert "neither the id of a batch" in run("shoe box", str(sheet), status=2)
    assert "There is no such batch." in run("0" * 8 + "-0000-0000-0000-" + "0" * 12, str(sheet), status=2)


def test_push_imports_the_catalogue_before_the_files(
    platform: PlatformUnderTest, push: Push, sheet: Path, tmp_path: Path
) -> None:
    folder = make_files(tmp_path / "crate", "1.jpg", "2.jpg", "3.jpg")
    tried = push(folder, "--catalogue", str(sheet), "--dry-run")
    assert (tried["batch"], tried["catalogue"]["matched"], tried["catalogue"]["no_file"]) == (None, 2, 1)
    pushed = push(folder, "--catalogue", str(sheet))
    assert (pushed["sent"], pushed["catalogue"]["records"], pushed["catalogue"]["matched"]) == (3, 3, 0)
    again = push(folder, "--catalogue", str(sheet))
    assert (again["catalogue"]["replaced"], again["catalogue"]["matched"]) == (3, 2)
    assert len(list_names(platform, pushed["batch"])) == 3


def test_push_sends_nothing_with_a_catalogue_that_cannot_be_read(push: Push, sheet: Path, tmp_path: Path) -> None:
    sheet.write_bytes(b"PK\x03\x04")
    pushed = push(make_files(tmp_path / "chest", "1.jpg"), "--catalogue", str(sheet), status=2)
    assert (pushed["batch"], pushed["sent"]) == (None, 0)
    assert "Save it as CSV" in pushed["error"]

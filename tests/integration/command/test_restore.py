"""`retint restore`: files in, files out, no server."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.photographs import old_prints

COMMAND = [sys.executable, "-m", "retint.cli"]


def retint(*arguments: object, status: int | None = 0) -> "subprocess.CompletedProcess[str]":
    ended = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "RETINT_WEIGHTS": "nowhere"},
    )
    assert status is None or ended.returncode == status, ended.stderr
    return ended


@pytest.fixture(scope="module")
def prints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return old_prints(tmp_path_factory.mktemp("prints"), 2, side=320)


def rows(ended: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, Any]]:
    return {Path(row["file"]).name: row for row in json.loads(ended.stdout)}


def test_one_bad_file_does_not_stop_the_others(prints: Path, tmp_path: Path) -> None:
    bad = tmp_path / "notes.jpg"
    bad.write_text("this is no photograph")
    gone = tmp_path / "gone.jpg"
    good = sorted(prints.rglob("*.jpg"))
    ended = retint("restore", good[0], bad, gone, good[1], "--out", tmp_path / "out", "--json", status=1)
    report = rows(ended)
    assert list(report) == [good[0].name, "notes.jpg", "gone.jpg", good[1].name]
    assert [row["status"] for row in report.values()] == ["restored", "refused", "refused", "restored"]
    assert report["notes.jpg"]["reason"].endswith(".")
    assert report["notes.jpg"]["output"] is None
    assert "gone.jpg" in report["gone.jpg"]["reason"]
    assert all(row["seconds"] >= 0 for row in report.values())
    for photo in good:
        with Image.open(report[photo.name]["output"]) as result, Image.open(photo) as original:
            assert result.size == original.size
            assert result.mode == "RGB"


def test_files_of_one_name_get_a_number_and_an_original_is_never_written_over(prints: Path, tmp_path: Path) -> None:
    first, second = sorted(prints.rglob("*.jpg"))
    folder = tmp_path / "scans"
    for number, photo in enumerate((first, second)):
        (folder / str(number)).mkdir(parents=True)
        (folder / str(number) / "scan.jpg").write_bytes(photo.read_bytes())
    (folder / "scan.jpg").write_bytes(first.read_bytes())
    ended = retint("restore", folder, "--out", folder, "--json")
    outputs = sorted(Path(row["output"]).name for row in json.loads(ended.stdout))
    assert outputs == ["scan-2.jpg", "scan-3.jpg", "scan-4.jpg"]
    assert (folder / "scan.jpg").read_bytes() == first.read_bytes()


def test_a_result_is_rendered_again_from_its_layers_bit_for_bit(prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    made = rows(retint("restore", photo, "--out", tmp_path / "out", "--layers", "--json"))[photo.name]["output"]
    retint("render", photo, "--layers", Path(made).with_suffix(".json"), "--out", tmp_path / "again.jpg")
    assert (tmp_path / "again.jpg").read_bytes() == Path(made).read_bytes()


def test_an_unknown_colorizer_is_said_before_anything_is_done(prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    ended = retint("restore", photo, "--out", tmp_path / "out", "--colorizer", "crayons", status=3)
    assert "crayons" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_that_cannot_be_made_is_said(prints: Path, tmp_path: Path) -> None:
    photo = sorted(prints.rglob("*.jpg"))[0]
    (tmp_path / "file").write_text("")
    ended = retint("restore", photo, "--out", tmp_path / "file" / "out", status=2)
    assert ended.stderr.startswith("Error: Results cannot go to")


def test_a_network_without_weights_says_how_to_get_them(prints: Path, tmp_path: Path) -> None:
    ended = retint("restore", prints, "--out", tmp_path, "--colorizer", "artistic", status=3)
    assert "The colorizer artistic cannot be used: the weights of artistic are missing" in ended.stderr
    assert "Get them with `retint weights fetch artistic`" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == []

"""Which files of a folder are tried, which are left out by their names, and what is said of the rest."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.permissions import OBEYING

from retint.errors import InvalidRequest
from retint.filetypes import CONTENT_TYPES, PICTURE_SUFFIXES
from retint.folders import LEFT_OUT, check_file, count_left_out, is_left_out, list_files

DEBRIS = [
    *("@eaDir/a.jpg/SYNOPHOTO_THUMB_XL.jpg", "box/@eaDir/a.jpg@SynoEAStream", "#recycle/a.jpg", "@Recycle/a.jpg"),
    *("box/#snapshot/monday/a.jpg", ".@__thumb/s100a.jpg", "$RECYCLE.BIN/S-1-5-21/$R1.jpg", "lost+found/#12.jpg"),
    *("Thumbs.db", "box/THUMBS.DB", "desktop.ini", ".DS_Store", "box/._a.jpg", "__MACOSX/._a.jpg", "box/Icon\r"),
    *("a.xmp", "a.jpg.XMP", "notes.txt", "a.jpg.json", "mets.xml", "list.csv", "a.tif.md5", "finding aid.pdf"),
    *("Catalog.lrcat", "Catalog Previews.lrdata/0/a.jpg", "CaptureOne/Cache/Thumbnails/a.jpg", "IMG_1.AAE"),
    *("a.jpg:Zone.Identifier", "a.jpg~", ".scans/a.jpg", "a.jpg.density.safetensors", "a.icc", "a.jpg.part"),
]
PHOTOGRAPHS = [
    *("a.jpg", "1923.45.12", "box 7/Portrait of Mr. Smith", "a.tif", "a.heic", "recycle/a.jpg", "eaDir.jpg", "a.zip"),
    *("Thumbs.db.jpg", "my.icon.jpg", "CaptureOne.jpg", "a.lrdata.jpg", "祖母.png", "a.xmp.jpg", "x/a.b", "Icon.jpg"),
]


@pytest.mark.parametrize("name", DEBRIS)
def test_debris_is_known_by_its_name(name: str) -> None:
    assert is_left_out(name)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_what_may_be_a_photograph_is_tried(name: str) -> None:
    assert not is_left_out(name)


def test_no_suffix_of_a_picture_is_left_out() -> None:
    kept = {suffix for suffix, kind in CONTENT_TYPES.items() if kind.startswith(("image/", "video/"))}
    assert kept <= PICTURE_SUFFIXES
    assert [suffix for suffix in PICTURE_SUFFIXES if is_left_out(f"a{suffix}")] == []


def test_the_pattern_stands_in_a_page_as_it_is() -> None:
    assert LEFT_OUT.isprintable()
    assert json.loads(json.dumps(LEFT_OUT)) == LEFT_OUT


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def test_every_file_of_a_folder_is_either_tried_or_left_out(tmp_path: Path) -> None:
    folder = tmp_path / ".scans"
    make(folder, "b/a.jpg", "a.jpg", "@eaDir/a.jpg/thumb.jpg", "Thumbs.db", "b/notes.txt", "1923.45.12")
    os.mkfifo(folder / "pipe")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "linked").symlink_to("b")
    listing = list_files(folder)
    assert [path.relative_to(folder).as_posix() for path in listing.files] == [
        "1923.45.12", "a.jpg", "b/a.jpg", "gone.jpg", "linked", "pipe",
    ]  # fmt: skip
    assert [path.relative_to(folder).as_posix() for path in listing.left_out] == [
        "@eaDir/a.jpg/thumb.jpg", "Thumbs.db", "b/notes.txt",
    ]  # fmt: skip


def reason(path: Path) -> str:
    with pytest.raises(InvalidRequest) as refused:
        check_file(path)
    return refused.value.message


def test_what_is_no_readable_file_says_what_it_is(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "full/a.jpg")
    check_file(tmp_path / "a.jpg")
    assert reason(tmp_path / "gone.jpg") == f"There is no file {tmp_path}/gone.jpg."
    (tmp_path / "broken.jpg").symlink_to("gone.jpg")
    assert reason(tmp_path / "broken.jpg").endswith("is a link to gone.jpg, which does not exist.")
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    assert "cannot be read: Too many levels of symbolic links." in reason(tmp_path / "loop.jpg")
    (tmp_path / "linked").symlink_to("full")
    assert "links are not followed" in reason(tmp_path / "linked")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert "a pipe, a socket or a device" in reason(tmp_path / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        assert "a pipe, a socket or a device" in reason(tmp_path / "s")
    (tmp_path / "empty").mkdir()
    assert reason(tmp_path / "empty") == f"There are no photographs in the folder {tmp_path}/empty."


def test_a_folder_that_cannot_be_listed_is_told_and_the_rest_is_listed(tmp_path: Path) -> None:
    make(tmp_path, "a.jpg", "shut/b.jpg", "lost+found/c.jpg")
    for name in ("shut", "lost+found"):
        (tmp_path / name).chmod(0)
    code = (
        "from pathlib import Path; from retint.folders import list_files, check_file\n"
        "from retint.errors import InvalidRequest\n"
        "listing = list_files(Path())\n"
        "print(*listing.files, *listing.left_out, sep='|')\n"
        "try: check_file(Path('shut'))\n"
        "except InvalidRequest as error: print(error)"
    )
    command = [*OBEYING, sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    for name in ("shut", "lost+found"):
        (tmp_path / name).chmod(0o755)
    assert done.stdout == ("a.jpg|shut|lost+found\nThe folder shut cannot be listed: Permission denied.\n"), done.stderr


def test_what_was_left_out_is_said_in_a_sentence() -> None:
    assert count_left_out(1) == "1 file is not a photograph and was left out."
    assert count_left_out(12) == "12 files are not photographs and were left out."

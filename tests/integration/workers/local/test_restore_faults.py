"""`retint restore`: whatever happens to one file is that file's row, and the others go on."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tests.integration.workers.local.commands import KEEP, Command, read_report, run_retint
from tests.integration.workers.local.test_restore_names import names_in, write_photo
from tests.permissions import OBEYING

from retint_workers import scratch
from retint_workers.imaging import ingest


@pytest.mark.case("30")
def test_a_file_that_may_not_be_read_is_refused_and_the_others_are_restored(tmp_path: Path) -> None:
    for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        write_photo(tmp_path / "share" / name, number)
    (tmp_path / "share" / "b.jpg").chmod(0)
    arguments = ("restore", tmp_path / "share", "--out", tmp_path / "out", "--json", *KEEP)
    report = read_report(run_retint(*arguments, before=OBEYING, status=1))
    assert [row["status"] for row in report.values()] == ["restored", "refused", "restored"]
    assert report["b.jpg"]["reason"] == f"{tmp_path}/share/b.jpg cannot be read: Permission denied."


@pytest.mark.case("28")
def test_what_is_no_file_is_refused_and_debris_is_left_out(command: Command, tmp_path: Path) -> None:
    box = tmp_path / "nas"
    write_photo(box / "a.jpg", 0)
    write_photo(box / "b" / "a.jpg", 1)
    debris = ["@eaDir/a.jpg/thumb.jpg", "#recycle/a.jpg", "._a.jpg", "Thumbs.db", "a.xmp", "notes.txt"]
    for name in debris:
        write_photo(box / name, 2)
    os.mkfifo(box / "pipe.jpg")
    (box / "broken.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "empty").mkdir()
    arguments = ("restore", box, tmp_path / "empty", "--out", tmp_path / "out", *KEEP)
    rows = json.loads(command(*arguments, "--json", status=1).stdout)
    told = {Path(row["file"]).relative_to(tmp_path).as_posix(): row["status"] for row in rows}
    assert told == {
        "nas/a.jpg": "restored", "nas/b/a.jpg": "restored", "nas/broken.jpg": "refused", "nas/pipe.jpg": "refused",
        "empty": "refused", **{f"nas/{name}": "left_out" for name in debris},
    }  # fmt: skip
    assert names_in(tmp_path / "out") == ["a-2.jpg", "a.jpg"]
    for more in ((), ("--dry-run",)):
        assert "6 files are not photographs and were left out." in command(*arguments, *more, status=1).stderr
    planned = json.loads(command(*arguments, "--dry-run", "--json", status=1).stdout)
    assert len(planned["left_out"]) == 6


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("bad tag 700"), "(ValueError: bad tag 700)"),
        (UnicodeEncodeError("utf-8", "\udcf1", 0, 1, "surrogates not allowed"), "UnicodeEncodeError"),
        (OSError(5, "Input/output error", "/scans/b.jpg"), "Input/output error: /scans/b.jpg."),
        (MemoryError(), "not enough memory"),
        (RecursionError("too deep"), "RecursionError: too deep"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_any_error_of_a_library_is_that_files(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    for number, name in enumerate(("a.jpg", "b.jpg", "c.jpg")):
        write_photo(tmp_path / name, number)
    raise_at(monkeypatch, "b.jpg", error)
    files = [tmp_path / name for name in ("a.jpg", "b.jpg", "c.jpg")]
    ended = command("restore", *files, "--out", tmp_path / "out", "--json", *KEEP, status=1)
    report = read_report(ended)
    assert [row["status"] for row in report.values()] == ["restored", "refused", "restored"]
    assert reason in report["b.jpg"]["reason"]
    assert report["b.jpg"]["reason"].endswith(".")
    assert "Traceback" not in ended.stderr
    assert names_in(tmp_path / "out") == ["a.jpg", "c.jpg"]


def raise_at(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    """Let the stage ingest raise an error at the file of this name."""
    work = ingest.ingest

    def work_or_raise(file: Path, *arguments: Any, **named: Any) -> Any:
        if file.name == name:
            raise error
        return work(file, *arguments, **named)

    monkeypatch.setattr(ingest, "ingest", work_or_raise)


def test_an_interruption_still_reports_what_was_done(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate(("a.jpg", "b.jpg")):
        write_photo(tmp_path / name, number)
    raise_at(monkeypatch, "b.jpg", KeyboardInterrupt())
    ended = command(
        "restore", tmp_path / "a.jpg", tmp_path / "b.jpg", "--out", tmp_path / "out", "--json", *KEEP, status=1
    )
    assert [row["status"] for row in json.loads(ended.stdout)] == ["restored"]


@pytest.mark.case("24")
def test_json_comes_also_where_the_whole_cannot_begin(command: Command, tmp_path: Path) -> None:
    photo = write_photo(tmp_path / "a.jpg")
    wrong = ("--colorizer", "crayons")
    assert json.loads(command("restore", photo, "--out", tmp_path / "out", "--json", *wrong, status=3).stdout) == []


@pytest.mark.case("24")
def test_a_full_disk_is_said_and_later_files_are_tried(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    names = ("a.tif", "large.tif", "b.tif")
    for number, name in enumerate(names):
        write_photo(tmp_path / name, number, "TIFF")
    Image.effect_noise((1200, 1200), 60).save(tmp_path / "large.tif")
    user = [] if os.getuid() == 0 else ["--map-root-user"]
    alone = ["unshare", "--mount", *user, "sh", "-c", f'mount -t tmpfs -o size=1m tmpfs "{out}" && exec "$@"', "sh"]
    if shutil.which("unshare") is None or subprocess.run([*alone, "true"], check=False).returncode:
        pytest.skip("a small disk cannot be mounted here: it needs `unshare --mount`")
    files = [tmp_path / name for name in names]
    report = read_report(run_retint("restore", *files, "--out", out, "--json", *KEEP, before=alone, status=1))
    assert [row["status"] for row in report.values()] == ["restored", "refused", "restored"]
    assert re.search("disk is full|No space left on device", report["large.tif"]["reason"])


def test_what_a_killed_run_left_is_cleared_by_the_next_one(tmp_path: Path) -> None:
    write_photo(tmp_path / "a.jpg", 0)
    out = tmp_path / "out"
    left = out / f".{scratch.PREFIX}left"
    left.mkdir(parents=True)
    (left / "result.jpg").write_bytes(b"half")
    with scratch.open_folder(out) as in_use:
        run_retint("restore", tmp_path / "a.jpg", "--out", out, *KEEP)
        assert not left.exists()
        assert in_use.exists(), "another run works there"
    assert names_in(out) == ["a.jpg"]

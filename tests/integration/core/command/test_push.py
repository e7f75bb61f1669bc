"""`retint push` against a real portal."""

import csv
import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from tests.integration.core.command.files import list_names, make_files
from tests.integration.core.command.relays import run_relay
from tests.permissions import OBEYING
from tests.photographs import write_old_prints
from tests.platforms import PlatformUnderTest

from retint.digests import hash_file

Push = Callable[..., dict[str, Any]]


def test_what_the_server_has_is_not_sent_again(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    folder = write_old_prints(tmp_path / "album", 4)
    assert push(folder, "--dry-run") == {
        "batch": None,
        "total": 4,
        "sent": 4,
        "known": 0,
        "refused": {},
        "not_sent": {},
        "left_out": [],
        "catalogue": None,
        "error": None,
        "dry_run": True,
    }
    first = push(folder)
    assert (first["sent"], first["known"]) == (4, 0)
    again = push(folder)
    assert (again["sent"], again["known"]) == (0, 4)
    assert again["batch"] == first["batch"]
    batch = platform.get("/api/v1/batches/" + first["batch"].rsplit("/", 1)[1]).json()
    assert batch["counts"]["total"] == 4


def test_a_folder_that_grew_goes_into_its_batch_and_only_what_is_new_is_sent(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = make_files(tmp_path / "shelf", *(f"{number}.jpg" for number in range(5)))
    first = push(folder)
    make_files(folder, "5.jpg", "later/6.jpg")
    again = push(folder, "--receipt", str(tmp_path / "received.csv"))
    assert (again["batch"], again["sent"], again["known"]) == (first["batch"], 2, 5)
    with (tmp_path / "received.csv").open(newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.jpg")}
    assert {name: (row["bytes"], row["sha256"]) for name, row in rows.items()} == {
        name: (str(path.stat().st_size), hash_file(path)) for name, path in paths.items()
    }
    assert all(datetime.fromisoformat(row["received_at"]).tzinfo for row in rows.values())
    other = push(folder, "--name", "Another shelf")
    assert (other["batch"] == first["batch"], other["known"]) == (False, 7)


def test_thousands_of_known_files_need_a_few_requests(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    folder = make_files(tmp_path / "many", *(f"{number}.jpg" for number in range(40)))
    push(folder)
    for copy in range(1, 60):
        for path in list(folder.glob("*.jpg"))[:40]:
            os.link(path, folder / f"copy {copy} of {path.name}")
    with run_relay(platform.url, lambda relay, method, address, ask: ask()) as relay:
        pushed = push(folder, "--server", relay.url)
        asked = len(relay.requests)
    assert (pushed["total"], pushed["sent"], pushed["known"]) == (2400, 0, 2400)
    assert asked <= 1 + 3 + 1


def test_files_of_the_same_bytes_are_sent_once_and_stand_in_the_batch_each(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = write_old_prints(tmp_path / "twins", 1, side=240)
    [original] = folder.rglob("*.jpg")
    (folder / "copy.jpg").write_bytes(original.read_bytes())
    pushed = push(folder)
    assert (pushed["total"], pushed["sent"], pushed["known"]) == (2, 1, 1)
    batch = platform.get("/api/v1/batches/" + pushed["batch"].rsplit("/", 1)[1]).json()
    assert batch["counts"]["total"] == 2


def test_a_folder_goes_through_the_recipe_that_is_asked_for(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = write_old_prints(tmp_path / "box", 1, side=256)
    usual = push(folder)
    asked = ("--colorizer", "compact-vivid", "--gain", "1.5", "--limit", "2.5", "--strength", ".7", "--priority", "5")
    chosen = push(folder, *asked)
    assert chosen["batch"] != usual["batch"], "the same files by another recipe are another batch"
    batch = platform.get("/api/v1/batches/" + chosen["batch"].rsplit("/", 1)[1]).json()
    assert batch["priority"] == 5
    recipe = batch["recipe"]
    assert recipe["colorizer"] == "compact-vivid"
    assert recipe["colorizer_settings"] == {"gain": 1.5, "limit": 2.5}
    assert recipe["strength"] == 0.7


def test_a_batch_that_is_to_be_proved_first_waits(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    pushed = push(make_files(tmp_path / "box", "1.jpg", "2.jpg"), "--prove-first")
    found = platform.get("/api/v1/batches/" + pushed["batch"].rsplit("/", 1)[1]).json()
    assert (found["paused"], found["counts"]["ready"]) == (True, 2)


def test_a_recipe_that_the_portal_does_not_have_is_refused_before_anything_is_sent(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = write_old_prints(tmp_path / "box", 1, side=288)
    assert "gain of compact is between" in push(folder, "--gain", "9", status=2)["error"]
    assert "weights of artistic are not installed" in push(folder, "--colorizer", "artistic", status=2)["error"]
    assert push(folder, "--dry-run")["sent"] == 1


def test_an_empty_file_is_refused_and_the_rest_goes_on(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    folder = write_old_prints(tmp_path / "holes", 2, side=224)
    (folder / "empty.jpg").touch()
    pushed = push(folder, status=1)
    assert pushed["sent"] == 2
    assert list(pushed["refused"]) == ["empty.jpg"]


def test_a_bad_token_and_a_server_that_is_not_there_are_said_in_a_sentence(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = write_old_prints(tmp_path / "one", 1)
    assert "token" in push(folder, "--token", "retint_wrong", status=2)["error"]
    (tmp_path / "nothing").mkdir()
    assert "There are no files" in push(tmp_path / "nothing", status=2)["error"]


# --- one file's trouble -----------------------------------------------------------------------------------------------


@pytest.mark.case("23")
def test_names_that_are_not_utf_8_are_sent_under_a_readable_name(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    """jjjake/internetarchive#284: `_\xf1_.jpg`, in Latin-1, from a disk of the 1990s."""
    folder = make_files(tmp_path / "latin", b"_\xf1_.jpg", "a.jpg", b"caf\xe9/z.jpg")
    pushed = push(folder)
    assert (pushed["sent"], pushed["refused"]) == (3, {})
    assert sorted(list_names(platform, pushed["batch"])) == ["_%F1_.jpg", "a.jpg", "caf%E9/z.jpg"]


@pytest.mark.case("23")
def test_a_folder_whose_own_name_is_not_utf_8_is_sent(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    folder = make_files(tmp_path / os.fsdecode(b"Fotograf\xedas"), "a.jpg")
    pushed = push(folder)
    assert platform.get("/api/v1/batches/" + pushed["batch"].rsplit("/", 1)[1]).json()["name"] == "Fotograf%EDas"


@pytest.mark.case("30")
def test_what_cannot_be_read_is_named_with_the_reason_and_the_rest_goes_on(
    platform: PlatformUnderTest, tmp_path: Path
) -> None:
    folder = make_files(tmp_path / "share", "a.jpg", "b.jpg", "c.jpg", "shut/d.jpg", "open/e.jpg")
    (folder / "b.jpg").chmod(0)
    (folder / "shut").chmod(0)
    (folder / "broken.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    command = [*OBEYING, sys.executable, "-m", "retint", "push", str(folder), "--json"]
    command += ["--server", platform.url, "--token", platform.token]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")
    pushed = json.loads(ended.stdout)
    (folder / "shut").chmod(0o755)
    assert sorted(list_names(platform, pushed["batch"])) == ["a.jpg", "c.jpg", "open/e.jpg"]
    assert (pushed["total"], pushed["sent"]) == (7, 3)
    refused = pushed["refused"]
    assert sorted(refused) == ["b.jpg", "broken.jpg", "pipe.jpg", "shut"]
    assert refused["b.jpg"].endswith("b.jpg cannot be read: Permission denied.")
    assert "nowhere.jpg, which does not exist" in refused["broken.jpg"]
    assert "a pipe" in refused["pipe.jpg"]
    assert "cannot be listed: Permission denied" in refused["shut"]


@pytest.mark.case("28")
def test_debris_is_left_out_and_counted(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    debris = "@eaDir/a.jpg/x.jpg", "#recycle/a.jpg", "a.xmp", "._a.jpg"
    folder = make_files(tmp_path / "nas", "a.jpg", "b/a.jpg", *debris)
    pushed = push(folder)
    assert sorted(list_names(platform, pushed["batch"])) == ["a.jpg", "b/a.jpg"]
    assert pushed["left_out"] == sorted(debris)
    assert (pushed["total"], pushed["refused"]) == (2, {})
    told = subprocess.run(
        [sys.executable, "-m", "retint", "push", folder, "--server", platform.url, "--token", platform.token],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "2 files: 0 sent, 2 already there, 0 refused. 4 files are not photographs and were left out." in told.stdout
    only = make_files(tmp_path / "only", "Thumbs.db", "notes.txt")
    assert "2 files are not photographs" in push(only, status=2)["error"]


def test_the_longest_name_of_any_script_is_deposited(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    folder = tmp_path / "long"
    name = "/".join(["写" * 79] * 12) + "/" + "真" * 55 + ".jpg"
    assert len(name) == 1019
    make_files(folder, name, "a.jpg")
    pushed = push(folder)
    assert (pushed["sent"], pushed["refused"]) == (2, {})
    assert name in list_names(platform, pushed["batch"])


def test_a_name_that_the_portal_refuses_is_one_refusal(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    folder = tmp_path / "too long"
    name = "/".join(["x" * 99] * 11) + ".jpg"
    make_files(folder, name, "a.jpg", "b.jpg")
    pushed = push(folder, status=1)
    assert (pushed["sent"], list(pushed["refused"])) == (2, [name])

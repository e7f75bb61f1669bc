"""`retint push` against a real portal."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import platforms
from tests.photographs import write_old_prints
from tests.platforms import PlatformUnderTest

from retint.settings import Settings


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlatformUnderTest]:
    """One embedded platform without workers: what is pushed stays ready."""
    settings = Settings(data=tmp_path_factory.mktemp("platform"))
    with platforms.run_platform(settings) as running:
        running.scale(cpu=0, gpu=0)
        yield running


def push(platform: PlatformUnderTest, folder: Path, *more: str, status: int = 0) -> dict[str, Any]:
    command = [sys.executable, "-m", "retint", "push", str(folder), "--server", platform.url, "--json", *more]
    if "--token" not in more:
        command += ["--token", platform.token]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stderr
    return dict(json.loads(ended.stdout)) if ended.stdout else {"error": ended.stderr}


def test_what_the_server_has_is_not_sent_again(platform: PlatformUnderTest, tmp_path: Path) -> None:
    folder = write_old_prints(tmp_path / "album", 4)
    assert push(platform, folder, "--dry-run") == {
        "batch": None,
        "total": 4,
        "sent": 4,
        "known": 0,
        "refused": {},
        "dry_run": True,
    }
    first = push(platform, folder)
    assert (first["sent"], first["known"]) == (4, 0)
    again = push(platform, folder)
    assert (again["sent"], again["known"]) == (0, 4)
    assert again["batch"] == first["batch"]
    batch = platform.get("/api/v1/batches/" + first["batch"].rsplit("/", 1)[1]).json()
    assert batch["counts"]["total"] == 4


def test_files_of_the_same_bytes_are_sent_once_and_stand_in_the_batch_each(
    platform: PlatformUnderTest, tmp_path: Path
) -> None:
    folder = write_old_prints(tmp_path / "twins", 1, side=240)
    [original] = folder.rglob("*.jpg")
    (folder / "copy.jpg").write_bytes(original.read_bytes())
    pushed = push(platform, folder)
    assert (pushed["total"], pushed["sent"], pushed["known"]) == (2, 1, 1)
    batch = platform.get("/api/v1/batches/" + pushed["batch"].rsplit("/", 1)[1]).json()
    assert batch["counts"]["total"] == 2


def test_a_folder_goes_through_the_recipe_that_is_asked_for(platform: PlatformUnderTest, tmp_path: Path) -> None:
    folder = write_old_prints(tmp_path / "box", 1, side=256)
    usual = push(platform, folder)
    asked = ("--colorizer", "compact-vivid", "--gain", "1.5", "--limit", "2.5", "--strength", ".7", "--priority", "5")
    chosen = push(platform, folder, *asked)
    assert chosen["batch"] != usual["batch"], "the same files by another recipe are another batch"
    batch = platform.get("/api/v1/batches/" + chosen["batch"].rsplit("/", 1)[1]).json()
    assert batch["priority"] == 5
    recipe = batch["recipe"]
    assert recipe["colorizer"] == "compact-vivid"
    assert recipe["colorizer_settings"] == {"gain": 1.5, "limit": 2.5}
    assert recipe["strength"] == 0.7


def test_a_recipe_that_the_portal_does_not_have_is_refused_before_anything_is_sent(
    platform: PlatformUnderTest, tmp_path: Path
) -> None:
    folder = write_old_prints(tmp_path / "box", 1, side=288)
    assert "gain of compact is between" in push(platform, folder, "--gain", "9", status=2)["error"]
    assert (
        "weights of artistic are not installed" in push(platform, folder, "--colorizer", "artistic", status=2)["error"]
    )
    assert push(platform, folder, "--dry-run")["sent"] == 1


def test_an_empty_file_is_refused_and_the_rest_goes_on(platform: PlatformUnderTest, tmp_path: Path) -> None:
    folder = write_old_prints(tmp_path / "holes", 2, side=224)
    (folder / "empty.jpg").touch()
    pushed = push(platform, folder, status=1)
    assert pushed["sent"] == 2
    assert list(pushed["refused"]) == ["empty.jpg"]


def test_a_bad_token_and_a_server_that_is_not_there_are_said_in_a_sentence(
    platform: PlatformUnderTest, tmp_path: Path
) -> None:
    folder = write_old_prints(tmp_path / "one", 1)
    assert "token" in push(platform, folder, "--token", "retint_wrong", status=2)["error"]
    (tmp_path / "nothing").mkdir()
    assert "no files" in push(platform, tmp_path / "nothing", status=2)["error"]

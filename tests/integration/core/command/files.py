"""Folders of small files for `retint push`, and what became of them."""

import os
from pathlib import Path

from tests.platforms import PlatformUnderTest


def list_names(platform: PlatformUnderTest, batch_url: str) -> list[str]:
    with platform.client() as client:
        return [job["name"] for job in client.jobs(batch_url.rsplit("/", 1)[1])]


def make_files(folder: Path, *names: str | bytes) -> Path:
    """Write small files of different bytes; what they hold is not looked at here."""
    for name in names:
        path = folder / os.fsdecode(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"photograph " + os.fsencode(f"{folder.name}/") + os.fsencode(name))
    return folder

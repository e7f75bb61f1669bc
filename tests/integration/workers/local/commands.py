"""The command `retint` in a process of its own, and what `restore --json` reports."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "RETINT_WEIGHTS": "nowhere"}
KEEP = ("--colorizer", "keep", "--defader", "keep")
"""Options of a recipe without networks, which is quick."""
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def run_retint(
    *arguments: object, status: int | None = 0, before: Sequence[str] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run the command; `before` is the beginning of the command line, such as another program that runs it."""
    ended = subprocess.run(
        [*before, sys.executable, "-m", "retint", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    assert status is None or ended.returncode == status, ended.stderr
    return ended


def read_report(ended: "subprocess.CompletedProcess[str]") -> dict[str, dict[str, Any]]:
    """Return the rows of `restore --json` by the names of the files."""
    return {Path(row["file"]).name: row for row in json.loads(ended.stdout)}

"""Scores as a JSON file."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_json(path: Path, rows: Sequence[dict[str, Any]], kind: str) -> None:
    """Write rows under their kind (`colorize`, `defade` or `restore`) and keep what else the file holds.

    Numbers that JSON does not have (NaN, infinity) become null; the others are rounded to what can be seen.

    Raises:
        ValueError: the file exists and is not JSON.
        OSError: the file cannot be written.
    """
    known = read_json(path) if path.exists() else {}
    path.write_text(json.dumps(make_plain(known | {kind: list(rows)}, places=5), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Raises:
        ValueError: the file is not JSON, or holds no rows by kind.
        OSError: the file cannot be read.
    """
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file of scores") from error
    if not isinstance(found, dict):
        raise ValueError(f"{path} holds no scores: they lie under `colorize`, `defade` and `restore`")
    return found


def make_plain(value: Any, places: int | None = None) -> Any:
    """Replace NaN and infinity by None in nested dictionaries and lists; round the other numbers to so many places."""
    if isinstance(value, dict):
        return {name: make_plain(part, places) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [make_plain(part, places) for part in value]
    if not isinstance(value, float):
        return value
    if not math.isfinite(value):
        return None
    return value if places is None else round(value, places)

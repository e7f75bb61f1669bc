"""Scores as a JSON file."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def write_json(path: Path, rows: Sequence[dict[str, Any]], kind: str) -> None:
    """Write rows under their kind (`colorize` or `defade`) and keep what else the file holds.

    Numbers that JSON does not have (NaN, infinity) become null.

    Raises:
        ValueError: the file exists and is not JSON.
        OSError: the file cannot be written.
    """
    try:
        known = json.loads(path.read_text()) if path.exists() else {}
    except ValueError as error:
        raise ValueError(f"{path} is no JSON file, so no scores are added to it") from error
    path.write_text(json.dumps(replace_nonfinite(known | {kind: list(rows)}), indent=1, allow_nan=False) + "\n")


def replace_nonfinite(value: Any) -> Any:
    """Replace NaN and infinity by None in nested dictionaries and lists."""
    if isinstance(value, dict):
        return {name: replace_nonfinite(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [replace_nonfinite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value

"""Files of a training run: what they are called, and how they are written so that a crash leaves none half written."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO

from safetensors.torch import load
from torch import Tensor

CHECKPOINT = "last.pt"
BEST = "best.safetensors"
LOG = "log.jsonl"


def write_atomically(path: Path, data: bytes | Callable[[IO[bytes]], None]) -> None:
    """Write a file under a temporary name and rename it, so that its name always stands for a complete file.

    Args:
        path: The file; its folder exists.
        data: The content, or a function that writes it.

    Raises:
        OSError: the file cannot be written, such as on a full disk; the old file is still there.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        with partial.open("wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except (OSError, RuntimeError) as error:
        # torch raises a RuntimeError when a write fails; the operating system's error is its context.
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        if partial.is_file():
            partial.unlink()
        old_file = "; the one written before is whole" if path.exists() else ""
        raise OSError(cause.errno, f"cannot write {path}: {cause.strerror}{old_file}") from error
    partial.replace(path)


def is_finished(folder: Path) -> bool:
    """Return whether the run in a folder took all its steps or used all its minutes."""
    log = folder / LOG
    return log.exists() and '"event": "finished"' in log.read_text()


def read_best_weights(folder: Path) -> dict[str, Tensor]:
    """Read the best weights of a run.

    Raises:
        FileNotFoundError: the run has not been judged yet, or never had a score that is a number.
    """
    if not (folder / BEST).exists():
        raise FileNotFoundError(f"{folder} holds no weights: no judgement in {LOG} has a score that is a number")
    return load((folder / BEST).read_bytes())

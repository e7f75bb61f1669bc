"""Files of one job on their way between the store and a worker, while the worker beats.

The functions that move files take a function to call as bytes move. `start` runs one of them in a thread; the thread
that runs the stage waits for it and beats (see `beats`). A job that is lost ends its transfers at the next byte.
"""

import io
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from structlog.contextvars import bound_contextvars

from retint.errors import StoreUnavailable, Transient
from retint.filetypes import content_type_for
from retint.jobs.leases import Lease
from retint.stores import BlobStore, Progress
from retint_workers.beats import Background, Beat

T = TypeVar("T")

STALL_S = 120
"""How long a transfer may move nothing; a store's own client gives up earlier."""


def start(lease: Lease, move: Callable[[Progress], T]) -> Background[T]:
    """Start to move files of a job, in a thread of its own.

    `wait` raises what `move` raises; LeaseLost as soon as the job is lost; StoreUnavailable where nothing moves.
    """

    def run(note_progress: Callable[[], None]) -> T:
        def progress() -> None:
            note_progress()
            lease.ensure_held()

        progress()
        return move(progress)

    with bound_contextvars(**lease.log_fields):
        return Background(run, STALL_S, StoreUnavailable(f"The store moved nothing for {STALL_S} seconds."))


def watch(lease: Lease, beat: Beat) -> Beat:
    """Return a beat for the work on one job of a bundle, which raises LeaseLost as soon as that job is lost."""

    def beat_while_held() -> bool:
        has_time = beat()
        lease.ensure_held()
        return has_time

    return beat_while_held


def fetch_original(store: BlobStore, lease: Lease, folder: Path, progress: Progress) -> Path:
    """Download the original into a folder."""
    path = folder / "original"
    store.fetch(lease.original_key, path, progress)
    return path


def fetch_layer(store: BlobStore, lease: Lease, name: str, folder: Path, progress: Progress) -> Path | None:
    """Download a film's layer into a folder; None if the earlier stage wrote none."""
    if name not in lease.files:
        return None
    path = folder / PurePosixPath(lease.files[name]).name
    store.fetch(lease.files[name], path, progress)
    return path


def read_layer(store: BlobStore, lease: Lease, name: str, parse: Callable[[bytes], T], progress: Progress) -> T | None:
    """Read a photo's layer; None if the earlier stage wrote none.

    Raises:
        Transient: it cannot be read. A worker of another version may have written it, and can read it.
    """
    if name not in lease.files:
        return None
    with store.open(lease.files[name], progress=progress) as source:
        data = source.read()
    try:
        return parse(data)
    except ValueError as error:
        raise Transient(f"The {name} layer cannot be read here: {error}.", code="layer_unreadable") from error


def read_proxy(store: BlobStore, lease: Lease, name: str, progress: Progress) -> NDArray[Any]:
    """Read a proxy by its name, uint8 (h, w, 3) in sRGB."""
    with store.open(lease.files[name], progress=progress) as source:
        return np.asarray(Image.open(io.BytesIO(source.read())).convert("RGB"))


def put_files(
    store: BlobStore, lease: Lease, files: Mapping[str, tuple[str, Path | bytes]], progress: Progress
) -> dict[str, str]:
    """Write files under the attempt's folder in the store; return the key of each."""
    keys = {}
    for name, (file_name, content) in files.items():
        keys[name] = lease.file_key(file_name)
        store.put(keys[name], content, content_type_for(file_name), progress)
    return keys

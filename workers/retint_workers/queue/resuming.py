"""Reels of films in the store as they are done, so that a worker's death costs no film more than its last reel.

A reel lies in the folder of the attempt that made it. The next attempt at the stage takes it up if it would make the
same; once the stage is done all are deleted. A stage that threw its reels away, or that met a bug of ours, begins
afresh. Reels of a film that is given up are orphans, which `sweep.py` deletes.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path, PurePosixPath

import structlog

from retint import __version__
from retint.errors import NotFound, RetintError, Transient
from retint.jobs import Lease
from retint.stores import BlobStore
from retint_workers.films import segments
from retint_workers.queue.tasks import Beat

EVERY_S = 0.2
"""How often is looked whether there is another reel."""

log = structlog.get_logger()


@contextmanager
def salvaged(
    store: BlobStore, lease: Lease, folder: Path, name: str, length: int, made_by: str, beat: Beat
) -> Iterator[Callable[..., None]]:
    """Take up the reels that earlier attempts at this stage left, and leave reels for the next.

    Args:
        store: where reels outlive a worker.
        lease: on the film.
        folder: where the stage works.
        name: of the stage's reels, as in `reels.complete`.
        length: frames of a reel.
        made_by: what else than original, recipe and layers decides what is on a reel: the SHA-256 of weights.
        beat: keeps the lease.

    Yields:
        What is to be called every few frames, with whatever: it beats and puts complete reels into the store.
    """
    facts = [__version__, made_by, lease.files]
    kind = f"reels-{hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]}"
    kept = _fetched(store, _keys(store, lease, kind), folder, name, length)
    if kept:
        log.info("reels_taken_up", job_id=str(lease.job_id), stage=lease.stage, reels=len(kept))
    looked_at = time.monotonic()

    def tell(*_: object) -> None:
        nonlocal looked_at
        beat()
        if time.monotonic() - looked_at < EVERY_S:
            return
        try:
            for reel in segments.list_complete(folder, name):
                if reel.name not in kept:
                    for path in (reel.with_suffix(".npz"), reel):
                        store.put(lease.file_key(f"{kind}/{path.name}"), path)
                    kept.add(reel.name)
        except Transient as error:  # the film itself is in no danger
            log.warning("reel_not_kept", job_id=str(lease.job_id), stage=lease.stage, reason=error.message)
        looked_at = time.monotonic()

    try:
        yield tell
    except Exception as error:
        if not isinstance(error, RetintError) or not segments.list_complete(folder, name):
            _delete(store, lease, kind)
        raise
    _delete(store, lease, "reels-")


def _keys(store: BlobStore, lease: Lease, kind: str) -> list[str]:
    """The keys of the reels of some kind that all attempts at this stage have left."""
    return [blob.key for blob in store.list(lease.stage_prefix) if f"/{kind}" in blob.key]


def _delete(store: BlobStore, lease: Lease, kind: str) -> None:
    with suppress(Transient):  # what is left is swept
        store.delete(_keys(store, lease, kind))


def _fetched(store: BlobStore, keys: list[str], folder: Path, name: str, length: int) -> set[str]:
    """Download the reels from the first on, as far as there are any; tell their names."""
    by_name = {PurePosixPath(key).name: key for key in keys}
    fetched: set[str] = set()
    for first in count(0, length):
        reel = folder / f"{name}-{first:08}.nut"
        both = (reel.with_suffix(".npz"), reel)
        if not all(path.name in by_name for path in both):
            return fetched
        try:
            for path in both:
                store.fetch(by_name[path.name], path)
        except NotFound:  # swept or deleted meanwhile
            return fetched
        fetched.add(reel.name)
    return fetched

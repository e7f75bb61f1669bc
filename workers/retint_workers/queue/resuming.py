"""Resumable film stages: complete segments are copied to the store, so that a dead worker costs one segment at most.

Segments lie in the folder of the attempt that made them. The stage's next attempt downloads them if it would make the
same ones; when the stage is done, all are deleted. They are also deleted when the stage itself rejected its segments,
and after a bug, so that the next attempt starts afresh. Segments of a film that is given up are orphans, which
`retint.sweeps` deletes.

A segment that no attempt had stored before is progress (`Lease.progressed`): earlier faults count no more. So a film
that is interrupted again and again is done one day, and one that always fails at the same place is quarantined.

A worker that was told to end gives its film back as soon as it has stored a segment; the next one goes on there.
"""

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TypeVar

import structlog

from retint import __version__
from retint.errors import LeaseLost, NotFound, RetintError, StoreUnavailable, Transient
from retint.filetypes import OCTETS
from retint.jobs.leases import Lease
from retint.stores import BlobStore, Progress
from retint_workers.beats import Beat, beat_for_nobody
from retint_workers.films import segments
from retint_workers.queue import transfers
from retint_workers.queue.heartbeat import is_told_to_end

T = TypeVar("T")

UPLOAD_S = 0.2
"""Shortest time between two looks for new segments."""
PREFIX = "reels-"
"""How the name of a folder of segments in the store starts."""

log = structlog.get_logger()


@dataclass
class StoredSegments:
    """The segments of one film and stage in the store.

    Attributes:
        store: where segments outlive a worker.
        lease: on the film.
        folder: where the stage works.
        name: of the stage's segments, as in `segments.list_complete`.
        segment_frames: frames of a segment.
        made_by: what else than original, recipe and layers decides the content of a segment: the weights' SHA-256.
    """

    store: BlobStore
    lease: Lease
    folder: Path
    name: str
    segment_frames: int
    made_by: str = ""
    _stored: set[str] = field(default_factory=set)
    """File names of the segments that are in the store."""
    _looked_at: float = 0.0
    _beat: Beat = beat_for_nobody

    @contextmanager
    def resume(self, beat: Beat) -> Iterator[Callable[..., None]]:
        """Download the segments of earlier attempts, and store new ones while the block runs.

        Yields:
            A function that the stage calls every few frames, with any arguments: it beats and stores new segments.
        """
        self._beat = beat
        self._download()
        if self._stored:
            log.info("segments_resumed", segments=len(self._stored))
        self._looked_at = time.monotonic()

        def report_progress(*_: object) -> None:
            beat()
            if time.monotonic() - self._looked_at >= UPLOAD_S:
                self._upload()
                if is_told_to_end() and self.lease.progressed.is_set():
                    raise LeaseLost("The worker was told to end; another one goes on with the next segment.")

        try:
            yield report_progress
        except Exception as error:
            if not isinstance(error, RetintError) or not segments.list_complete(self.folder, self.name):
                self._delete(self._folder_name)
                self.lease.progressed.clear()
            raise
        self._delete(PREFIX)

    @property
    def _folder_name(self) -> str:
        """Name of the folder for segments with the same content: equal for attempts that would make the same ones."""
        content = json.dumps([__version__, self.made_by, self.lease.files], sort_keys=True)
        return f"{PREFIX}{hashlib.sha256(content.encode()).hexdigest()[:16]}"

    def _download(self) -> None:
        """Download segments from the first one on, up to the first gap."""
        keys = {PurePosixPath(key).name: key for key in self._list_keys(self._folder_name)}
        for first_frame in count(0, self.segment_frames):
            segment = segments.segment_path(self.folder, self.name, first_frame)
            files = (segments.arrays_path(segment), segment)
            if not all(path.name in keys for path in files):
                return
            try:
                for path in files:
                    self._move(partial(self.store.fetch, keys[path.name], path))
            except NotFound:  # deleted meanwhile
                return
            self._stored.add(segment.name)

    def _upload(self) -> None:
        try:
            for segment in segments.list_complete(self.folder, self.name):
                if segment.name not in self._stored:
                    for path in (segments.arrays_path(segment), segment):
                        key = self.lease.file_key(f"{self._folder_name}/{path.name}")
                        self._move(partial(self.store.put, key, path, OCTETS))
                    self._stored.add(segment.name)
                    self.lease.progressed.set()
        except StoreUnavailable as error:  # the film itself is not in danger
            log.warning("segment_not_stored", reason=error.message)
        self._looked_at = time.monotonic()

    def _list_keys(self, folder_name: str) -> list[str]:
        """List the keys of the segments that all attempts at this stage left in folders whose name starts so."""
        blobs = self._move(lambda _: list(self.store.list(self.lease.stage_prefix)))
        return [blob.key for blob in blobs if f"/{folder_name}" in blob.key]

    def _delete(self, folder_name: str) -> None:
        with suppress(Transient):  # the sweep deletes what is left
            keys = self._list_keys(folder_name)
            self._move(lambda _: self.store.delete(keys))

    def _move(self, move: Callable[[Progress], T]) -> T:
        return transfers.start(self.lease, move).wait(self._beat)

"""Compares what the database names with what a store has, photo by photo: after a restore, a move, or now and then.

Both sides are read in the order of the keys, a page of photos at a time, so that an archive of any size fits.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Final
from uuid import UUID

from sqlalchemy import and_, or_, select

from retint.errors import NotFound
from retint.lifecycle import Outcome, Stage
from retint.stores import CHUNK, Blob, BlobStore, keys
from retint.tables import Attempt, Job, Photo

if TYPE_CHECKING:
    from retint.services import Services

PAGE: Final = 500
"""Photos whose rows are read at a time."""
EXAMPLES: Final = 20
"""Keys of each kind that are named."""


@dataclass
class Keys:
    """Keys of one kind: how many, and the first of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, key: str) -> None:
        """Count a key."""
        self.count += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(key)


@dataclass
class Inventory:
    """What was found so far.

    Attributes:
        photos: photos in the database.
        files: files that the database names and the store has.
        file_bytes: their size.
        read: files whose bytes were read and compared.
        missing: files that the database names and the store lacks.
        damaged: originals and results whose bytes or size are not those of their rows.
        unknown: originals in the store that the database does not know.
    """

    photos: int = 0
    files: int = 0
    file_bytes: int = 0
    read: int = 0
    missing: Keys = field(default_factory=Keys)
    damaged: Keys = field(default_factory=Keys)
    unknown: Keys = field(default_factory=Keys)

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing or damaged."""
        return not self.missing.count and not self.damaged.count


@dataclass(frozen=True)
class _Named:
    """A photo and the files that the database names of it: their SHA-256, where it is known, by key."""

    photo: str
    sha256: dict[str, str | None]
    size: int


def compare(
    services: "Services", store: BlobStore | None = None, *, until: datetime | None = None, read: bool = False
) -> Iterator[Inventory]:
    """Go through the database and a store, and say what was found after each photo.

    Args:
        services: of this process.
        store: another store than that of the services, such as a backup of it.
        until: only what the database named then; files that are younger are not missed.
        read: also read every original and every result, and compare the SHA-256.

    Raises:
        Transient: the store or the database did not answer.
    """
    store = services.store if store is None else store
    inventory, rows, groups = Inventory(), _list_named(services, until), _list_stored(store)
    named, stored = next(rows, None), next(groups, None)
    while named or stored:
        if stored and (named is None or stored[0] < named.photo):
            for blob in stored[1]:
                if (parsed := keys.parse(blob.key)) and parsed.job_id is None and not parsed.is_rest:
                    inventory.unknown.add(blob.key)
            stored = next(groups, None)
        elif named:
            is_there = stored is not None and stored[0] == named.photo
            _compare_photo(inventory, named, stored[1] if stored and is_there else [], store if read else None)
            stored = next(groups, None) if is_there else stored
            named = next(rows, None)
        yield inventory


def _compare_photo(inventory: Inventory, named: _Named, blobs: list[Blob], reading: BlobStore | None) -> None:
    inventory.photos += 1
    sizes = {blob.key: blob.size for blob in blobs}
    for key, sha256 in sorted(named.sha256.items()):
        if key not in sizes:
            inventory.missing.add(key)
            continue
        inventory.files += 1
        inventory.file_bytes += sizes[key]
        parsed = keys.parse(key)
        is_original = parsed is not None and parsed.job_id is None
        if is_original and sizes[key] != named.size:
            inventory.damaged.add(key)
        elif reading and sha256:
            inventory.read += 1
            if hash_blob(reading, key) != sha256:
                inventory.damaged.add(key)


def hash_blob(store: BlobStore, key: str, also: Callable[[bytes], object] | None = None) -> str | None:
    """Read a blob and return its SHA-256; None where it is gone.

    Args:
        store: where it is.
        key: its key.
        also: takes its bytes, piece by piece.
    """
    digest = hashlib.sha256()
    try:
        with store.open(key) as source:
            while piece := source.read(CHUNK):
                digest.update(piece)
                if also:
                    also(piece)
    except NotFound:
        return None
    return digest.hexdigest()


def _list_stored(store: BlobStore) -> Iterator[tuple[str, list[Blob]]]:
    """List the files of each photo, in the order of their keys."""
    for photo, blobs in groupby(store.list(keys.ROOT), key=lambda blob: "/".join(blob.key.split("/")[:4])):
        yield photo, list(blobs)


def _list_named(services: "Services", until: datetime | None) -> Iterator[_Named]:
    """List the photos with the files that rows name, in the order of their keys: by tenant and photo."""
    last: tuple[UUID, UUID] | None = None
    while True:
        query = select(Photo).order_by(Photo.tenant_id, Photo.id).limit(PAGE)
        if last:
            behind = and_(Photo.tenant_id == last[0], Photo.id > last[1])
            query = query.where(or_(Photo.tenant_id > last[0], behind))
        if until:
            query = query.where(Photo.created_at <= until)
        with services.read() as session:
            photos = session.scalars(query).all()
            done = (
                select(Job.photo_id, Attempt.stage, Attempt.files, Attempt.facts)
                .join(Job, Job.id == Attempt.job_id)
                .where(Attempt.outcome == Outcome.DONE, Job.photo_id.in_([photo.id for photo in photos]))
            )
            attempts = session.execute(done if until is None else done.where(Attempt.ended_at <= until)).all()
        if not photos:
            return
        named = {
            photo.id: _Named(photo.original_key.rpartition("/")[0], {photo.original_key: photo.sha256}, photo.size)
            for photo in photos
        }
        for row in attempts:
            result = row.facts.get("sha256") if row.stage == Stage.RENDER else None
            for name, key in row.files.items():
                named[row.photo_id].sha256.setdefault(key, result if name == "result" else None)
        yield from named.values()
        last = (photos[-1].tenant_id, photos[-1].id)

"""Backups of an installation in a folder, and how they are restored.

    databases/<time>.dump, .db   the database: pg_dump's custom format, or an SQLite file
    databases/<time>.json        what it is, written last: a dump without it is not whole
    store/…                      the files of the store, under their own keys

The database comes first and the store after it: a file is in the store before a row names it, and is never changed, so
the copy holds every file that the dump names. One copy of the store serves all dumps; only new files are copied. Rests
of uploads that are not whole are left out: their clients send them again.

A restore goes the other way, into an empty database. What was deposited after the dump is in the store and has no row;
it is told, and the sweep never deletes it (see `sweeps` and `store_identity`).
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

import structlog
from sqlalchemy import select, update

from retint import __version__, audit, dumps, inventory, store_identity
from retint.columns import now
from retint.database import NO_SYNC
from retint.digests import hash_file
from retint.dumps import BackupFailed
from retint.errors import IllegalMove, NotFound
from retint.filetypes import content_type_for
from retint.inventory import Inventory
from retint.store_tables import StoreIdentity
from retint.stores import Blob, BlobStore, keys
from retint.stores.directory import DirectoryStore
from retint.tables import Photo

if TYPE_CHECKING:
    from retint.services import Services

WINDOW: Final = 1000
"""Files between two reports of progress."""
COPIES: Final = 8
"""Files that are copied at the same time."""
PREFIXES: Final = (keys.ROOT, "identity/")
"""What of a store is kept; the identity last, so that a copy that was interrupted has none."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Dump:
    """One dump of the database, as its JSON says.

    Attributes:
        name: of its file.
        at: when it was begun, by the database's clock, as ISO 8601.
        version: of the Retint that made it.
        store: the identity of the store that belongs to it.
        sha256: of its file.
        size: of its file, in bytes.
    """

    name: str
    at: str
    version: str
    store: str
    sha256: str
    size: int


@dataclass
class Outcome:
    """What a backup or a restore has done so far.

    Attributes:
        step: what it does now, in a few words.
        dump: the dump of the database.
        files: files that were copied.
        file_bytes: their size.
        damaged: originals that are not what was deposited any more; they are not copied.
        inventory: the comparison of the database with the copy.
        deleted: old dumps that were deleted.
        mismatch: why the sweep waits for an operator, a sentence.
    """

    step: str = ""
    dump: Dump | None = None
    files: int = 0
    file_bytes: int = 0
    damaged: inventory.Keys = field(default_factory=inventory.Keys)
    inventory: Inventory = field(default_factory=Inventory)
    deleted: int = 0
    mismatch: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether every file that the database names is there, as it was deposited."""
        return self.inventory.is_whole and not self.damaged.count


def back_up(services: "Services", folder: Path, *, keep: int = 7, with_store: bool = True) -> Iterator[Outcome]:
    """Back up the database, then copy what is new in the store; yield what was done so far.

    Args:
        services: of this process.
        folder: of the backup, made if it is missing. It is on another disk, or better on another machine.
        keep: dumps that stay, the newest ones.
        with_store: copy the store, too.

    Raises:
        WrongStore: database and store do not belong together.
        BackupFailed: the dump cannot be made.
        IllegalMove: another backup into this folder runs.
        Transient: the database or the store did not answer.
    """
    store_identity.verify(services)
    outcome = Outcome("Dumping the database")
    with _lock(folder):
        yield outcome
        with services.read() as session:
            at = session.scalar(select(now())) or datetime.now(UTC)
            identity = session.scalars(select(StoreIdentity)).one().id
        outcome.dump = _dump(services, folder / "databases", at, identity)
        if with_store:
            outcome.step = "Copying the store"
            copy = _open_copy(folder)
            _require_same_store(copy, str(identity))
            copy.delete([keys.IDENTITY])  # its mark has grown; without it a copy that is interrupted says nothing
            yield from _copy(outcome, services.store, copy, lambda blobs: _read_sha256(services, blobs))
            outcome.step = "Comparing the copy with the database"
            for outcome.inventory in inventory.compare(services, copy, until=at):
                yield outcome
        outcome.deleted = _rotate(folder, keep)
    if outcome.is_whole:
        with services.begin() as session:
            session.execute(update(StoreIdentity).values(backed_up_at=at), execution_options=NO_SYNC)
    outcome.step = ""
    yield outcome


def restore(
    services: "Services", folder: Path, *, name: str | None = None, with_store: bool = True, read: bool = False
) -> Iterator[Outcome]:
    """Restore the store, then the database, and compare the two; yield what was done so far.

    Args:
        services: of this process; its database is empty, its store lacks files or is empty.
        folder: of the backup.
        name: of a dump; by default the newest one.
        with_store: copy the store's missing files back, too; without it only the database is restored.
        read: afterwards read every original and every result, and compare the SHA-256.

    Raises:
        BackupFailed: there is no such dump, it is not whole, or the database is not empty.
        WrongStore: the store belongs to another database than the dump.
        Transient: the database or the store did not answer.
    """
    outcome = Outcome("Checking the dump", dump=_choose(folder, name))
    yield outcome
    assert outcome.dump  # noqa: S101  for mypy
    path = folder / "databases" / outcome.dump.name
    if hash_file(path) != outcome.dump.sha256:
        raise BackupFailed(f"{path} is damaged: its SHA-256 is another one than when it was made. Choose another dump.")
    dumps.require_empty(services.settings, path)
    services.store.prepare()
    _require_same_store(services.store, outcome.dump.store)
    if with_store:
        outcome.step = "Copying the store"
        yield outcome
        yield from _copy(outcome, _open_copy(folder), services.store)
    outcome.step = "Restoring the database"
    yield outcome
    dumps.restore(services.settings, path)
    outcome.step = "Comparing the store with the database"
    for outcome.inventory in inventory.compare(services, read=read):
        yield outcome
    with services.begin() as session:
        audit.record(session, "database_restored", outcome.dump.name, after={"made": outcome.dump.at})
    try:
        store_identity.check(services)
    except store_identity.WrongStore as error:
        outcome.mismatch = error.message
    outcome.step = ""
    yield outcome


def list_dumps(folder: Path) -> list[Dump]:
    """List the dumps of a folder that are whole, the oldest first."""
    found = []
    for path in sorted((folder / "databases").glob("*.json")):
        try:
            found.append(Dump(**json.loads(path.read_text())))
        except (ValueError, TypeError) as error:
            raise BackupFailed(f"{path} cannot be read: delete it, or restore it.") from error
    return found


def _choose(folder: Path, name: str | None) -> Dump:
    found = list_dumps(folder)
    if not found:
        raise BackupFailed(f"There is no dump in {folder / 'databases'}: is it the folder of a backup, and mounted?")
    if name is None:
        return found[-1]
    for dump in found:
        if dump.name == name:
            return dump
    raise BackupFailed(f"There is no dump {name}; there are {', '.join(dump.name for dump in found)}.")


def _dump(services: "Services", folder: Path, at: datetime, identity: UUID) -> Dump:
    folder.mkdir(parents=True, exist_ok=True)
    stem = at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    path = folder / f"{stem}{dumps.suffix(services.settings)}"
    part = path.with_name(f"{path.name}.part")
    try:
        dumps.write(services.settings, part)
        part.chmod(0o600)  # password hashes are in it
        with part.open("rb") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    dump = Dump(path.name, at.isoformat(), __version__, str(identity), hash_file(path), path.stat().st_size)
    path.with_suffix(".json").write_text(json.dumps(asdict(dump), indent=2))
    return dump


def _rotate(folder: Path, keep: int) -> int:
    """Delete the oldest dumps; of the store nothing is deleted."""
    old = list_dumps(folder)[:-keep]
    for dump in old:
        path = folder / "databases" / dump.name
        path.with_suffix(".json").unlink()
        path.unlink(missing_ok=True)
    return len(old)


def _open_copy(folder: Path) -> DirectoryStore:
    copy = DirectoryStore(folder / "store")
    copy.prepare()
    return copy


def _require_same_store(store: BlobStore, identity: str) -> None:
    """Raise WrongStore where a store, or the copy of one, belongs to another database."""
    try:
        with store.open(keys.IDENTITY) as blob:
            found = json.loads(blob.read()).get("id")
    except NotFound:
        return
    if found != identity:
        raise store_identity.WrongStore(
            "The files that are there are of another installation: choose another folder, bucket or dump."
        )


def _copy(
    outcome: Outcome,
    source: BlobStore,
    target: BlobStore,
    read_sha256: Callable[[list[Blob]], dict[str, str]] = lambda _: {},
) -> Iterator[Outcome]:
    """Copy the files that the target lacks; yield after each `WINDOW`."""
    with ThreadPoolExecutor(COPIES) as pool:
        for prefix in PREFIXES:
            lacking = _list_lacking(source, target, prefix)
            while window := list(islice(lacking, WINDOW)):
                wanted = read_sha256(window)
                copies = [pool.submit(_copy_file, source, target, blob.key, wanted.get(blob.key)) for blob in window]
                for blob, copied in zip(window, copies, strict=True):
                    if copied.result() is None:
                        outcome.damaged.add(blob.key)
                    elif copied.result():
                        outcome.files += 1
                        outcome.file_bytes += blob.size
                yield outcome


def _list_lacking(source: BlobStore, target: BlobStore, prefix: str) -> Iterator[Blob]:
    """List the files that a target lacks, or has with another size; of an identity, which changes, only the first."""
    theirs = target.list(prefix)
    there = next(theirs, None)
    for blob in source.list(prefix):
        if (parsed := keys.parse(blob.key)) and parsed.is_rest:
            continue
        while there and there.key < blob.key:
            there = next(theirs, None)
        is_there = there is not None and there.key == blob.key
        if there is None or not is_there or (there.size != blob.size and blob.key != keys.IDENTITY):
            yield blob


def _copy_file(source: BlobStore, target: BlobStore, key: str, wanted: str | None) -> bool | None:
    """Copy a file; return whether it is still there, None where its SHA-256 is not the wanted one."""
    writer = target.write(key, content_type_for(key))
    try:
        found = inventory.hash_blob(source, key, writer.write)
        if found is None:
            return False  # deleted meanwhile: no row names it
        if wanted and found != wanted:
            return None
        writer.commit()
        return True
    finally:
        writer.discard()
        writer.close()


def _read_sha256(services: "Services", blobs: list[Blob]) -> dict[str, str]:
    """Return what the originals among some files must have, by key."""
    parsed = [keys.parse(blob.key) for blob in blobs]
    photo_ids = [key.photo_id for key in parsed if key and key.job_id is None]
    with services.read() as session:
        photos = session.scalars(select(Photo).where(Photo.id.in_(photo_ids)))
        return {photo.original_key: photo.sha256 for photo in photos}


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Let only one process write into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise IllegalMove(f"Another backup into {folder} runs: wait until it has ended.") from error
        yield

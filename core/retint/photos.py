"""Photos: original files as deposited, kept once per tenant and bytes; and what became of them."""

import hashlib
import re
import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint.errors import IllegalMove, InvalidPhoto, InvalidRequest, NotFound, Refused
from retint.jobs import changes
from retint.lifecycle import Outcome, Stage
from retint.names import clean_name
from retint.settings import Settings
from retint.tables import Attempt, Batch, Job, Photo, new_id
from retint.tenancy import get_owned, owned

if TYPE_CHECKING:
    from retint.services import Services

CHUNK: Final = 1 << 20
DAY_S: Final = 86_400
SPOOLED: Final = "upload-"
SHA256: Final = re.compile(r"[0-9a-f]{64}")


class Source(Protocol):
    """Bytes on their way in: a request's body, an open file."""

    def read(self, size: int = -1, /) -> bytes:
        """Give at most so many bytes; none at the end."""
        ...


class TooLarge(Refused):
    """The file is larger than the portal accepts."""

    code = "too_large"
    status = 413


@dataclass(frozen=True)
class Shown:
    """Everything that a photo's page shows."""

    job: Job
    batch: Batch
    photo: Photo
    attempts: Sequence[Attempt]
    """All of them, in their order."""
    files: dict[str, str]
    """Name to key in the store: `original` and what the done attempts wrote."""
    facts: dict[str, dict[str, Any]]
    """What each done stage found, by the stage's name."""
    previous: UUID | None
    """The job before this one in its batch, or in its trial, and the one after."""
    following: UUID | None

    @property
    def seconds(self) -> float:
        """Time that attempts worked on it, in seconds."""
        spans = [(a.ended_at - a.started_at).total_seconds() for a in self.attempts if a.started_at]
        return round(sum(spans), 3)

    @property
    def remark(self) -> str | None:
        """A sentence about the result that people must read, such as that it has no color; None if there is none."""
        return self.facts.get(Stage.RENDER, {}).get("colorless")


def deposit(
    services: "Services",
    tenant_id: UUID,
    batch_id: UUID,
    name: str,
    source: Source,
    *,
    sha256: str | None = None,
) -> Job:
    """Take one file into a batch. The same file under the same name again finds the job that it made.

    Args:
        name: as the depositor calls it, with folders; never used as a path.
        source: the bytes, read to their end, never held in memory.
        sha256: what the bytes must hash to, in lower-case hex.

    Raises:
        NotFound: no such batch.
        IllegalMove: the batch was cancelled.
        InvalidRequest: no name, a name that is too long, or bytes that are not those promised.
        InvalidPhoto: the file is empty.
        TooLarge: it is larger than `upload_limit_mib`.
        StoreUnavailable: the store did not take it.
    """
    name = clean_name(name)
    with services.begin() as session:
        _open_batch(session, tenant_id, batch_id)
    photo = accept(services, tenant_id, source, sha256=sha256)
    with services.begin() as session:
        return changes.add_job(session, _open_batch(session, tenant_id, batch_id), photo, name)


def add_known(session: Session, tenant_id: UUID, batch_id: UUID, name: str, sha256: str) -> Job:
    """Add a file to a batch whose bytes are here already.

    Raises:
        NotFound: no such batch, or the tenant never deposited such bytes.
        IllegalMove: the batch was cancelled.
        InvalidRequest: no name, or a name that is too long.
    """
    name = clean_name(name)
    batch = _open_batch(session, tenant_id, batch_id)
    return changes.add_job(session, batch, get_known(session, tenant_id, sha256), name)


def get_known(session: Session, tenant_id: UUID, sha256: str) -> Photo:
    """Find a photo by its bytes.

    Raises:
        NotFound: the tenant never deposited such bytes.
    """
    photo = session.scalar(owned(Photo, tenant_id).where(Photo.sha256 == sha256))
    if photo is None:
        raise NotFound("No file with these bytes was deposited.", code="unknown_photo")
    return photo


def accept(services: "Services", tenant_id: UUID, source: Source, *, sha256: str | None = None) -> Photo:
    """Keep an original: the blob first, its row after. The same bytes again are the same photo.

    Raises:
        InvalidRequest: the bytes are not those that `sha256` promised.
        InvalidPhoto: there are no bytes.
        TooLarge: there are more than `upload_limit_mib`.
        StoreUnavailable: the store did not take them.
    """
    with _spooled(services, source) as (path, size, digest):
        if sha256 is not None and sha256 != digest:
            raise InvalidRequest("The file arrived damaged: its SHA-256 differs. Send it again.", code="damaged")
        with services.begin() as session:
            photo = session.scalar(owned(Photo, tenant_id).where(Photo.sha256 == digest))
        if photo is not None:
            return photo
        photo = Photo(id=new_id(), tenant_id=tenant_id, sha256=digest, size=size)
        services.store.put(photo.original_key, path)
    return _insert(services, photo)


def known(session: Session, tenant_id: UUID, sha256s: Collection[str]) -> dict[str, UUID]:
    """Tell which of these files the tenant has deposited before: SHA-256 to photo."""
    query = select(Photo.sha256, Photo.id).where(Photo.tenant_id == tenant_id, Photo.sha256.in_(sha256s))
    return {row.sha256: row.id for row in session.execute(query)}


def files(session: Session, tenant_id: UUID, job_id: UUID) -> dict[str, str]:
    """Name a job's files: `original`, and what its done attempts wrote, each with its key in the store.

    Raises:
        NotFound: no such job.
    """
    photo = session.scalar(
        owned(Photo, tenant_id).join(Job, Job.photo_id == Photo.id).where(Job.id == job_id, Job.tenant_id == tenant_id)
    )
    if photo is None:
        raise NotFound("There is no such job.")
    done = session.scalars(
        select(Attempt.files)
        .where(Attempt.job_id == job_id, Attempt.tenant_id == tenant_id, Attempt.outcome == Outcome.DONE)
        .order_by(Attempt.number)
    )
    return _merged(photo, done)


def show(session: Session, tenant_id: UUID, job_id: UUID) -> Shown:
    """Gather everything that a photo's page shows.

    Raises:
        NotFound: no such job.
    """
    job = get_owned(session, Job, tenant_id, job_id)
    photo = get_owned(session, Photo, tenant_id, job.photo_id)
    attempts = session.scalars(owned(Attempt, tenant_id).where(Attempt.job_id == job_id).order_by(Attempt.number)).all()
    done = [attempt for attempt in attempts if attempt.outcome is Outcome.DONE]
    batch = get_owned(session, Batch, tenant_id, job.batch_id)
    siblings = select(Job.id).where(Job.batch_id == job.batch_id, Job.tenant_id == tenant_id)
    if batch.trial:
        tries = select(Batch.id).where(Batch.tenant_id == tenant_id, Batch.trial == batch.trial)
        siblings = select(Job.id).where(Job.batch_id.in_(tries), Job.tenant_id == tenant_id)
    return Shown(
        job=job,
        batch=batch,
        photo=photo,
        attempts=attempts,
        files=_merged(photo, [attempt.files for attempt in done]),
        facts={Stage(attempt.stage).value: attempt.facts for attempt in done},
        previous=session.scalar(siblings.where(Job.id < job_id).order_by(Job.id.desc()).limit(1)),
        following=session.scalar(siblings.where(Job.id > job_id).order_by(Job.id).limit(1)),
    )


def _open_batch(session: Session, tenant_id: UUID, batch_id: UUID) -> Batch:
    """Fetch a batch that takes files; `jobs.add` asks again, under a lock. Here it spares sending them in vain."""
    batch = get_owned(session, Batch, tenant_id, batch_id)
    if batch.cancelled_at is not None:
        raise IllegalMove("The batch was cancelled; open a new one.", code="batch_cancelled")
    return batch


@contextmanager
def _spooled(services: "Services", source: Source) -> Iterator[tuple[Path, int, str]]:
    """Copy a stream into a file, hashing; gives the file's path, its size and its SHA-256."""
    limit_mib = services.settings.upload_limit_mib
    digest, size = hashlib.sha256(), 0
    # With a name, since the S3 client sends parts straight from a named file only; others it takes into memory.
    with tempfile.NamedTemporaryFile(dir=spool(services.settings), prefix=SPOOLED) as copy:
        while chunk := source.read(CHUNK):
            size += len(chunk)
            if size > limit_mib << 20:
                raise TooLarge(f"The file is larger than {limit_mib} MiB, the most that this portal accepts.")
            digest.update(chunk)
            copy.write(chunk)
        if size == 0:
            raise InvalidPhoto("The file is empty.", code="empty")
        copy.flush()
        yield Path(copy.name), size, digest.hexdigest()


def spool(settings: Settings) -> Path:
    """Make and give the folder for files on their way in, cleared of what crashes left there a day ago."""
    folder = settings.data / "spool"
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(f"{SPOOLED}*"):
        with suppress(FileNotFoundError):
            if left.stat().st_mtime < time.time() - DAY_S:
                left.unlink()
    return folder


def _insert(services: "Services", photo: Photo) -> Photo:
    try:
        with services.begin() as session:
            session.add(photo)
    except IntegrityError:
        # Somebody deposited the same bytes at the same moment; theirs is the photo.
        services.store.delete([photo.original_key])
        with services.begin() as session:
            return session.scalars(owned(Photo, photo.tenant_id).where(Photo.sha256 == photo.sha256)).one()
    return photo


def _merged(photo: Photo, done: Iterable[dict[str, Any]]) -> dict[str, str]:
    merged = {"original": photo.original_key}
    for written in done:
        merged.update(written)
    return merged

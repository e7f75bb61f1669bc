"""Photos: original files as deposited, stored once per tenant and bytes; and the jobs made of them."""

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, Protocol
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from retint import audit, chains, quotas, store_identity, withholding
from retint.chains import Link
from retint.columns import new_id
from retint.errors import InvalidPhoto, InvalidRequest, NotFound, Refused
from retint.jobs import changes, in_flight
from retint.lifecycle import Outcome, Stage
from retint.names import clean_name
from retint.quotas import QuotaExceeded
from retint.recipes import Recipe
from retint.stores import NOTHING, BlobWriter, Partial, keys
from retint.tables import Attempt, Batch, Job, Photo
from retint.tenancy import get_owned, select_owned

if TYPE_CHECKING:
    from retint.services import Services

CHUNK: Final = 1 << 20


class Source(Protocol):
    """Where the bytes of an original come from."""

    def fill(self, incoming: "Incoming") -> "Incoming":
        """Write all bytes to `incoming`, and return it; or return another one that has all of them already."""
        ...


class Stream:
    """The rest of a stream, such as an open file."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def fill(self, incoming: "Incoming") -> "Incoming":
        """Copy the stream."""
        while chunk := self._stream.read(CHUNK):
            incoming.write(chunk)
        return incoming


class TooLarge(Refused):
    """The file is larger than the portal accepts."""

    code = "too_large"
    status = 413


class Incoming:
    """An original whose bytes are arriving.

    They are hashed, and written to the store under the photo's key, where nobody sees them before `keep`.

    Args:
        services: of this process.
        tenant_id: the tenant.
        photo_id: of the photo that comes of it; a new one by default.
        so_far: the bytes that arrived before, see `BlobStore.write`.
    """

    def __init__(
        self, services: "Services", tenant_id: UUID, photo_id: UUID | None = None, so_far: Partial = NOTHING
    ) -> None:
        self._services, self._tenant_id, self._id = services, tenant_id, photo_id or new_id()
        self._so_far, self._writer = so_far, None if so_far == NOTHING else self._begin(so_far)
        self._digest, self.size = hashlib.sha256(), so_far.size

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            TooLarge: these are more than `upload_limit_mib`.
            StoreUnavailable: the store did not answer.
            WrongStore: it is not the one of this database.
        """
        self.size += len(data)
        check_size(self._services, self.size)
        self._digest.update(data)
        self._writer = self._writer or self._begin(NOTHING)
        self._writer.write(data)

    def _begin(self, so_far: Partial) -> BlobWriter:
        store_identity.verify_once(self._services)
        return self._services.store.write(keys.original(self._tenant_id, self._id), so_far=so_far)

    def interrupt(self, *, rest: bool = True) -> Partial:
        """Keep the bytes so far for another `Incoming` of the same photo; see `BlobWriter.keep`.

        Raises:
            StoreUnavailable: the store did not answer.
        """
        return self._so_far if self._writer is None else self._writer.keep(rest=rest)

    def keep(self, sha256: str | None = None) -> Photo:
        """Make the photo of it, or find the photo that has these bytes. First the blob is kept, then its row.

        Raises:
            InvalidRequest: the bytes do not have the SHA-256 that was given.
            InvalidPhoto: there are no bytes.
            StoreUnavailable: the store did not answer.
        """
        if self._writer is None or not self.size:
            raise InvalidPhoto("The file is empty.", code="empty")
        if not self._so_far.size:
            digest = self._digest.hexdigest()
            if photo := _find_same(self._services, self._tenant_id, digest, sha256):
                return photo
            self._writer.commit()
            photo = Photo(id=self._id, tenant_id=self._tenant_id, sha256=digest, size=self.size)
            return _insert_photo(self._services, photo)
        self._writer.commit()
        return adopt_original(self._services, self._tenant_id, self._id, sha256)

    def discard(self) -> None:
        """Give up what is not kept."""
        if self._writer is not None:
            self._writer.discard()

    def close(self) -> None:
        """Let go of it; what `interrupt` kept stays."""
        if self._writer is not None:
            self._writer.close()


@dataclass(frozen=True)
class PhotoDetails:
    """Everything that a photo's page shows."""

    job: Job
    batch: Batch
    photo: Photo
    attempts: Sequence[Attempt]
    """All attempts of the job, in their order."""
    files: dict[str, str]
    """Name to key in the store: `original` and what the done attempts wrote."""
    facts: dict[str, dict[str, Any]]
    """What each done stage found, by the name of the stage."""
    previous: UUID | None
    """The job before this one in its batch, or in its trial."""
    following: UUID | None
    """The job after it."""
    recipe: Recipe
    chain: Sequence[Link]
    """All jobs of the file, the oldest first; see `chains`."""

    @property
    def seconds(self) -> float:
        """Time that attempts took, in seconds."""
        return round(sum(attempt.seconds for attempt in self.attempts), 3)

    @property
    def taken_over_from(self) -> UUID | None:
        """The job that made the result; None where this one made it."""
        return next((attempt.source for attempt in self.attempts if attempt.source), None)

    @property
    def remark(self) -> str | None:
        """A sentence about the result that people must read, such as that it has no color; None if there is none."""
        return self.facts.get(Stage.RENDER, {}).get("colorless")

    @property
    def notes(self) -> list[str]:
        """A sentence for each thing that was passed over or is not as in the original; render's are all of them."""
        return list((self.facts.get(Stage.RENDER) or self.facts.get(Stage.INGEST, {})).get("notes", ()))


def deposit(
    services: "Services",
    tenant_id: UUID,
    batch_id: UUID,
    name: str,
    source: Source,
    *,
    sha256: str | None = None,
) -> Job:
    """Add one file to a batch. Idempotent: the same file under the same name is the same job.

    Args:
        services: of this process.
        tenant_id: the tenant.
        batch_id: the batch.
        name: as the depositor calls it, with folders; never used as a path.
        source: the bytes, never held in memory.
        sha256: SHA-256 that the bytes must have, in lower-case hex.

    Raises:
        NotFound: no such batch.
        IllegalMove: the batch was cancelled.
        InvalidRequest: no name, a name that is too long, or bytes with another SHA-256.
        InvalidPhoto: the file is empty.
        TooLarge: it is larger than `upload_limit_mib`.
        QuotaExceeded: there is no room for it in what the tenant may keep, or have in flight.
        StoreUnavailable: the store did not answer.
    """
    name = clean_name(name)
    with services.read() as session:
        get_open_batch(session, tenant_id, batch_id)
        in_flight.refuse_full(session, tenant_id)
    photo = store_original(services, tenant_id, source, sha256=sha256)
    with services.begin() as session:
        return changes.add_job(session, get_open_batch(session, tenant_id, batch_id), photo, name)


def add_by_sha256(session: Session, tenant_id: UUID, batch_id: UUID, name: str, sha256: str) -> Job:
    """Add a file to a batch whose bytes the tenant has deposited before.

    Raises:
        NotFound: no such batch, or the tenant has never deposited such bytes.
        IllegalMove: the batch was cancelled.
        InvalidRequest: no name, or a name that is too long.
    """
    name = clean_name(name)
    batch = get_open_batch(session, tenant_id, batch_id)
    return changes.add_job(session, batch, get_by_sha256(session, tenant_id, sha256), name)


def get_by_sha256(session: Session, tenant_id: UUID, sha256: str) -> Photo:
    """Fetch a photo by the SHA-256 of its bytes.

    Raises:
        NotFound: the tenant has never deposited such bytes.
    """
    photo = session.scalar(select_owned(Photo, tenant_id).where(Photo.sha256 == sha256))
    if photo is None:
        raise NotFound("No file with these bytes was deposited.", code="unknown_photo")
    return photo


def store_original(services: "Services", tenant_id: UUID, source: Source, *, sha256: str | None = None) -> Photo:
    """Store an original. The same bytes again are the same photo.

    Raises:
        InvalidRequest: the bytes do not have the SHA-256 that was given.
        InvalidPhoto: there are no bytes.
        TooLarge: there are more than `upload_limit_mib`.
        QuotaExceeded: there are more than the tenant may still keep.
        StoreUnavailable: the store did not answer.
        WrongStore: it is not the one of this database.
    """
    incoming = Incoming(services, tenant_id)
    try:
        incoming = source.fill(incoming)
        return incoming.keep(sha256)
    finally:
        incoming.discard()


def adopt_original(services: "Services", tenant_id: UUID, photo_id: UUID, sha256: str | None = None) -> Photo:
    """Make the photo of an original that lies in the store, but has no row: it is read, and so known to be kept.

    Raises:
        NotFound: it does not lie there.
        InvalidRequest: the bytes do not have the SHA-256 that was given; then they are deleted.
        StoreUnavailable: the store did not answer.
    """
    photo, digest = Photo(id=photo_id, tenant_id=tenant_id, sha256="", size=0), hashlib.sha256()
    with services.store.open(photo.original_key) as blob:
        while chunk := blob.read(CHUNK):
            digest.update(chunk)
            photo.size += len(chunk)
    photo.sha256 = digest.hexdigest()
    try:
        same = _find_same(services, tenant_id, photo.sha256, sha256)
    except InvalidRequest:
        services.store.delete([photo.original_key])
        raise
    if same is None:
        return _insert_photo(services, photo)
    if same.id != photo_id:
        services.store.delete([photo.original_key])
    return same


def _find_same(services: "Services", tenant_id: UUID, digest: str, expected: str | None) -> Photo | None:
    """Find the photo that has these bytes already.

    Raises:
        InvalidRequest: they do not have the SHA-256 that was expected.
    """
    if expected not in (None, digest):
        raise InvalidRequest("The file arrived damaged: its SHA-256 differs. Send it again.", code="damaged")
    with services.read() as session:
        return session.scalar(select_owned(Photo, tenant_id).where(Photo.sha256 == digest))


def check_size(services: "Services", size: int) -> None:
    """Refuse a file of more bytes than the portal accepts.

    Raises:
        TooLarge: it has more.
    """
    limit_mib = services.settings.upload_limit_mib
    if size > limit_mib << 20:
        raise TooLarge(f"The file is larger than {limit_mib} MiB, the most that this portal accepts.")


def find_by_sha256(session: Session, tenant_id: UUID, sha256s: Collection[str]) -> dict[str, UUID]:
    """Return which of these files the tenant has deposited before: SHA-256 to photo."""
    query = select(Photo.sha256, Photo.id).where(Photo.tenant_id == tenant_id, Photo.sha256.in_(sha256s))
    return {row.sha256: row.id for row in session.execute(query)}


def list_files(session: Session, tenant_id: UUID, job_id: UUID) -> dict[str, str]:
    """List a job's files, name to key in the store: `original`, and what its done attempts wrote and is given out.

    Raises:
        NotFound: no such job.
    """
    job = get_owned(session, Job, tenant_id, job_id)
    photo = get_owned(session, Photo, tenant_id, job.photo_id)
    done = session.scalars(
        select(Attempt.files)
        .where(Attempt.job_id == job_id, Attempt.tenant_id == tenant_id, Attempt.outcome == Outcome.DONE)
        .order_by(Attempt.number)
    )
    return _merge_files(job, photo, done)


def load_details(session: Session, tenant_id: UUID, job_id: UUID) -> PhotoDetails:
    """Load everything that a photo's page shows.

    Raises:
        NotFound: no such job.
    """
    job = get_owned(session, Job, tenant_id, job_id)
    photo = get_owned(session, Photo, tenant_id, job.photo_id)
    attempts = session.scalars(
        select_owned(Attempt, tenant_id).where(Attempt.job_id == job_id).order_by(Attempt.number)
    ).all()
    done = [attempt for attempt in attempts if attempt.outcome is Outcome.DONE]
    batch = get_owned(session, Batch, tenant_id, job.batch_id)
    siblings = select(Job.id).where(Job.batch_id == job.batch_id, Job.tenant_id == tenant_id, Job.replaced_by.is_(None))
    if batch.trial:
        tries = select(Batch.id).where(Batch.tenant_id == tenant_id, Batch.trial == batch.trial)
        siblings = select(Job.id).where(Job.batch_id.in_(tries), Job.tenant_id == tenant_id)
    return PhotoDetails(
        job=job,
        batch=batch,
        photo=photo,
        attempts=attempts,
        files=_merge_files(job, photo, [attempt.files for attempt in done]),
        facts={Stage(attempt.stage).value: attempt.facts for attempt in done},
        previous=session.scalar(siblings.where(Job.id < job_id).order_by(Job.id.desc()).limit(1)),
        following=session.scalar(siblings.where(Job.id > job_id).order_by(Job.id).limit(1)),
        recipe=chains.get_recipe(session, job),
        chain=chains.load(session, tenant_id, job_id),
    )


def get_open_batch(session: Session, tenant_id: UUID, batch_id: UUID) -> Batch:
    """Fetch a batch that is not cancelled. `add_job` checks again under a lock; this saves a needless upload."""
    batch = get_owned(session, Batch, tenant_id, batch_id)
    changes.refuse_cancelled(batch.cancelled_at)
    return batch


def _insert_photo(services: "Services", photo: Photo) -> Photo:
    try:
        with services.begin() as session:
            quotas.add_photo(session, photo)
            audit.record(session, "photo_kept", photo.id, tenant_id=photo.tenant_id, after={"sha256": photo.sha256})
    except QuotaExceeded:
        services.store.delete([photo.original_key])
        raise
    except IntegrityError:
        # The same bytes were deposited at the same moment: the other row is the photo.
        services.store.delete([photo.original_key])
        with services.read() as session:
            return session.scalars(select_owned(Photo, photo.tenant_id).where(Photo.sha256 == photo.sha256)).one()
    return photo


def _merge_files(job: Job, photo: Photo, done: Iterable[dict[str, Any]]) -> dict[str, str]:
    merged = {"original": photo.original_key}
    for written in done:
        merged.update(written)
    return withholding.leave_out(job, merged)

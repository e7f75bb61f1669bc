"""Uploads: originals that arrive in several requests, which may break off and go on in any process of the portal.

The row says how many bytes are kept; a client goes on behind them. What the store keeps comes first, the row's offset
second: so a byte that the row counts is never lost, and one that it does not count is sent again. The offset becomes
the file's size in the transaction that names the photo, never before: a client whose last answer got lost finds out,
and sends the end again.

One request writes at a time, the newest: it puts its own fencing token into the row, and the one before it, whose
client has gone, writes nothing any more.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.orm import Session

from retint import photos, quotas
from retint.columns import new_id, now
from retint.database import NO_SYNC
from retint.errors import IllegalMove, InvalidPhoto, InvalidRequest, NotFound, StoreUnavailable, Transient
from retint.jobs import changes, in_flight
from retint.names import clean_name
from retint.photos import Incoming
from retint.quotas import QuotaExceeded
from retint.stores import Partial
from retint.tables import Batch, Photo, Upload
from retint.tenancy import get_owned, select_owned

if TYPE_CHECKING:
    from retint.services import Services

KEPT_S: Final = 7 * 86_400.0
"""How long an upload to which nothing is added is kept."""
CHECKPOINT_BYTES: Final = 32 << 20
CHECKPOINT_S: Final = 5.0
"""So many bytes, and so much time, are lost at most where a portal is killed. A part of the store may be larger."""
EXPIRED_AT_ONCE: Final = 100

log = structlog.get_logger()


class OffsetDiffers(IllegalMove):
    """The bytes that come do not begin where those that are kept end."""

    code = "offset_differs"


def open(
    services: "Services",
    tenant_id: UUID,
    size: int,
    *,
    name: str | None = None,
    batch_id: UUID | None = None,
    sha256: str | None = None,
    created_by: UUID | None = None,
) -> Upload:
    """Open an upload. Its bytes are reserved until it ends, is given up or expires.

    Args:
        services: of this process.
        tenant_id: the tenant.
        size: bytes of the file.
        name: the file's name, with its folders; needed with a batch.
        batch_id: the batch that it is deposited in; None to keep the photo for later.
        sha256: SHA-256 that the bytes must have.
        created_by: the user.

    Raises:
        InvalidPhoto: there are no bytes.
        TooLarge: there are more than `upload_limit_mib`.
        InvalidRequest: a batch, but no name, or one that is too long.
        NotFound: no such batch.
        IllegalMove: the batch was cancelled.
        QuotaExceeded: there is no room for it in what the tenant may keep, or have in flight.
    """
    if size <= 0:
        raise InvalidPhoto("The file is empty.", code="empty")
    photos.check_size(services, size)
    with services.begin() as session:
        if batch_id is not None:
            name = clean_name(name or "")
            changes.refuse_cancelled(get_owned(session, Batch, tenant_id, batch_id).cancelled_at)
            in_flight.refuse_full(session, tenant_id)
        facts = {"batch_id": batch_id, "name": name, "sha256": sha256, "size": size, "expires_at": now(KEPT_S)}
        upload = Upload(tenant_id=tenant_id, created_by=created_by, **facts)
        session.add(upload)
        session.flush()
        quotas.check_bytes(session, tenant_id, size, counted=True)
        session.refresh(upload)
        return upload


def get(session: Session, tenant_id: UUID, upload_id: UUID) -> Upload:
    """Fetch an upload.

    Raises:
        NotFound: no such upload, or it was given up.
    """
    return get_owned(session, Upload, tenant_id, upload_id)


def end(services: "Services", tenant_id: UUID, upload_id: UUID) -> None:
    """Give an upload up, with the bytes that have arrived. A photo that it became stays.

    Raises:
        NotFound: no such upload.
    """
    with services.begin() as session:
        upload = get(session, tenant_id, upload_id)
        session.delete(upload)
    _discard(services, upload)


def expire(services: "Services") -> int:
    """Give up uploads to which nothing was added for `KEPT_S`, at most `EXPIRED_AT_ONCE` of them. Returns how many."""
    with services.begin() as session:
        is_due = select(Upload.id).where(Upload.expires_at < now()).limit(EXPIRED_AT_ONCE)
        gone = session.scalars(delete(Upload).where(Upload.id.in_(is_due)).returning(Upload), execution_options=NO_SYNC)
        expired = gone.all()
    for upload in expired:
        _discard(services, upload)
    return len(expired)


def _discard(services: "Services", upload: Upload) -> None:
    """Delete what the store keeps of an upload whose row is gone; what it does not delete now is left to its rules."""
    if upload.photo_id is None and upload.offset:
        with suppress(NotFound, StoreUnavailable):
            Incoming(services, upload.tenant_id, upload.id, Partial.from_json(upload.partial)).discard()


def find(session: Session, tenant_id: UUID, user_id: UUID | None, sha256: str) -> Sequence[Upload]:
    """List a user's uploads of these bytes that are not whole, the newest first: to go on with one.

    Those of service accounts, which are no users, belong to all of them.
    """
    unfinished = select_owned(Upload, tenant_id).where(
        Upload.created_by == user_id, Upload.sha256 == sha256, Upload.photo_id.is_(None)
    )
    return session.scalars(unfinished.order_by(Upload.id.desc())).all()


class Receiver:
    """Receives the bytes of one request.

    Args:
        services: of this process.
        upload: as the request found it; its bytes begin at the upload's offset.
        is_checked: whether the request says what its bytes' checksum is: then none of them is kept before `finish`.

    Raises:
        OffsetDiffers: meanwhile other bytes have arrived, or the store has lost those that had.
        StoreUnavailable: the store did not answer.
    """

    def __init__(self, services: "Services", upload: Upload, *, is_checked: bool = False) -> None:
        self._services, self._upload, self._token = services, upload, new_id()
        self._is_checked, self._is_over = is_checked, False
        self._kept, self._kept_at = upload.offset, time.monotonic()
        if not self._update(Upload.offset == upload.offset, writer=self._token):
            raise OffsetDiffers("Other bytes have arrived meanwhile. Ask for the offset, and go on from there.")
        try:
            so_far = Partial.from_json(upload.partial)
            self._incoming = Incoming(services, upload.tenant_id, upload.id, so_far)
        except NotFound as error:
            raise self._recover() from error

    def write(self, data: bytes) -> None:
        """Add bytes.

        Raises:
            InvalidRequest: these are more than the upload has.
            OffsetDiffers: a newer request sends the same bytes, or the store has lost those before.
            StoreUnavailable: the store did not answer.
        """
        if self._incoming.size + len(data) > self._upload.size:
            raise InvalidRequest(f"More bytes came than the {self._upload.size} that were announced.")
        try:
            self._incoming.write(data)
        except NotFound as error:
            raise self._recover() from error
        is_due = self._incoming.size - self._kept >= CHECKPOINT_BYTES or time.monotonic() > self._kept_at + CHECKPOINT_S
        if is_due and not self._is_checked:
            self._kept_at = time.monotonic()
            partial = self._incoming.interrupt(rest=False)
            if partial.size > self._kept:  # less, where a rest was kept and no whole part came since
                self._record(partial)

    def finish(self) -> Upload:
        """Keep the bytes; make the photo, and the job, once all have come. Returns the upload as it is then.

        Raises:
            InvalidRequest: the file does not have the SHA-256 that was announced; the upload is given up.
            IllegalMove: the batch was cancelled meanwhile; the upload is given up, its photo is kept.
            QuotaExceeded: meanwhile as many photos are in flight as may be; the same.
            OffsetDiffers: a newer request sends the same bytes, or the store has lost them.
            StoreUnavailable: the store did not answer.
        """
        upload = self._upload
        if self._incoming.size < upload.size:
            self._record(self._incoming.interrupt())
        else:
            self._become(self._make_photo())
        self._is_over = True
        self._incoming.close()  # before the client hears of it: its next request must find nobody else at the bytes
        with self._services.read() as session:
            return get(session, upload.tenant_id, upload.id)

    def end(self) -> None:
        """Let go of the upload; what has arrived and is not checked is kept, as far as store and database answer."""
        try:
            with suppress(Transient, OffsetDiffers):
                if not self._is_over and not self._is_checked and self._incoming.size > self._kept:
                    self._record(self._incoming.interrupt())
        finally:
            self._incoming.close()

    def _make_photo(self) -> Photo:
        if not self._update(Upload.writer == self._token, writer=self._token):
            raise self._taken_over()
        try:
            return self._incoming.keep(self._upload.sha256)
        except InvalidRequest:
            self._forget()
            raise
        except NotFound as error:
            photo = self._adopt()
            if photo is None:
                raise self._recover() from error
            return photo

    def _become(self, photo: Photo) -> None:
        """Name the photo, and add its job to the batch."""
        upload, job_id = self._upload, None
        try:
            with self._services.begin() as session:
                # First: who gives the upload up takes its row before the quota's, too.
                session.scalar(select(Upload.id).where(Upload.id == upload.id).with_for_update())
                if upload.batch_id is not None:
                    batch = get_owned(session, Batch, upload.tenant_id, upload.batch_id)
                    job_id = changes.add_job(session, batch, photo, upload.name or "").id
                values = {"offset": Upload.size, "partial": {}, "photo_id": photo.id, "job_id": job_id}
                session.execute(update(Upload).where(Upload.id == upload.id).values(values), execution_options=NO_SYNC)
        except (IllegalMove, QuotaExceeded):
            self._forget()
            raise

    def _recover(self) -> OffsetDiffers:
        """Find out why the store does not have what is kept, mend the row, and return what the client is told."""
        self._is_over = True
        if photo := self._adopt():
            self._become(photo)
            return OffsetDiffers("All bytes have arrived already. Ask for the offset.")
        log.warning("upload_lost", upload_id=str(self._upload.id), kept=self._upload.offset)
        self._update(Upload.writer == self._token, offset=0, partial={})
        return OffsetDiffers("The store has lost the bytes that had arrived. Send the file from its beginning.")

    def _adopt(self) -> Photo | None:
        """Make the photo if an earlier request has put all bytes into the store, and died before it said so."""
        upload = self._upload
        with suppress(NotFound):
            return photos.adopt_original(self._services, upload.tenant_id, upload.id, upload.sha256)
        return None

    def _forget(self) -> None:
        self._is_over = True
        with self._services.begin() as session:
            session.execute(delete(Upload).where(Upload.id == self._upload.id), execution_options=NO_SYNC)

    def _record(self, partial: Partial) -> None:
        """Write down what the store keeps."""
        self._kept = partial.size
        values = {"offset": partial.size, "partial": asdict(partial), "expires_at": now(KEPT_S)}
        if not self._update(Upload.writer == self._token, **values):
            raise self._taken_over()

    def _taken_over(self) -> OffsetDiffers:
        self._is_over = True
        return OffsetDiffers("Another request goes on with this upload.")

    def _update(self, condition: ColumnElement[bool], **values: Any) -> bool:
        """Change the row if it is as expected and no photo yet; return whether it was."""
        query = update(Upload).where(Upload.id == self._upload.id, Upload.photo_id.is_(None), condition)
        with self._services.begin() as session:
            done = session.scalar(query.values(values).returning(Upload.id), execution_options=NO_SYNC)
        return done is not None

"""Bodies of requests: forms and JSON, and originals, which go to the store while they arrive."""

import io
from tempfile import SpooledTemporaryFile
from typing import Any, Final, cast

from flask import g, request
from werkzeug.exceptions import RequestEntityTooLarge

from retint import photos, quotas
from retint.photos import Incoming
from retint_web import services
from retint_web.places import Place
from retint_web.security import has_mark
from retint_web.waiting import Connection, wait_for

IN_MEMORY: Final = 1 << 16
"""Most bytes of a form or of JSON that are kept in memory."""


class RequestBody:
    """The body of the current request, as the source of an original.

    Args:
        sha256: what it must have, if the request says so: what is kept already needs no room.
    """

    def __init__(self, sha256: str | None = None) -> None:
        self._sha256 = sha256

    def fill(self, incoming: Incoming) -> Incoming:
        """Receive the body.

        Raises:
            TooManyUploads: the user sends too many files at once.
            NoRoom: all users together do.
            QuotaExceeded: the institution may not keep so much more; none of it is received.
        """
        return wait_for("body", lambda: self._begin(incoming))

    def _begin(self, incoming: Incoming) -> "_Original":
        tenant_id = g.identity.tenant_id
        with services().read() as session:
            if not (self._sha256 and photos.find_by_sha256(session, tenant_id, [self._sha256])):
                quotas.check_bytes(session, tenant_id, request.content_length or 1)
        return _Original(incoming)


class _Original:
    """Receive an original, hash it and send it on to the store, all at the same time."""

    def __init__(self, incoming: Incoming) -> None:
        self._incoming = incoming
        self._place = _take_place()

    async def run(self, connection: Connection) -> Incoming:
        await connection.pour(self._incoming.write)
        return self._incoming

    def end(self) -> None:
        self._place.leave()
        self._incoming.discard()


class Input(io.RawIOBase):
    """`wsgi.input` of one run of a request: its body is received when it is first read."""

    def __init__(self) -> None:
        self._body: io.BufferedIOBase | None = None

    def readable(self) -> bool:  # noqa: D102
        return True

    def readinto(self, buffer: Any) -> int:  # noqa: D102
        if self._body is None:
            self._body = wait_for("body", _Form)
            self._body.seek(0)  # an earlier run has read it
        return self._body.readinto(buffer)


class _Form:
    """Receive a form or JSON; a large one goes to the disk."""

    def __init__(self) -> None:
        spool = services().settings.spool
        spool.mkdir(parents=True, exist_ok=True)
        self._file = SpooledTemporaryFile(IN_MEMORY, dir=str(spool))  # noqa: SIM115  `end` closes it
        self._left = request.max_content_length or 0
        self._place = _take_place() if has_mark("accepts_uploads") else None

    async def run(self, connection: Connection) -> io.BufferedIOBase:
        await connection.pour(self._write)
        return cast(io.BufferedIOBase, self._file)

    def _write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise RequestEntityTooLarge
        self._file.write(data)

    def end(self) -> None:
        if self._place is not None:
            self._place.leave()
        self._file.close()


def _take_place() -> Place:
    return Place.take(services().settings, g.identity.actor_id, request.content_length)

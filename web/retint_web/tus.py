"""Resumable uploads by the protocol tus 1.0.0 (https://tus.io/protocols/resumable-upload), for any of its clients.

Extensions: creation, creation-with-upload, checksum, expiration, termination. A client may say in `Upload-Metadata`:
`filename` (or `name`), `batch` (the id of the batch that the file is deposited in), `sha256` (of the whole file, in
hex). What it says beside that is passed over.
"""

import base64
import binascii
import hashlib
from typing import Final
from uuid import UUID

from flask import Response, after_this_request, g, request, url_for
from flask.typing import ResponseReturnValue
from werkzeug.http import http_date

from retint import uploads
from retint.errors import InvalidRequest, Refused
from retint.tables import Upload
from retint.uploads import OffsetDiffers, Receiver
from retint_web import services
from retint_web.places import Place
from retint_web.waiting import Connection, wait_for

VERSION: Final = "1.0.0"
EXTENSIONS: Final = "creation,creation-with-upload,checksum,expiration,termination"
CHECKSUMS: Final = ("sha256", "sha1", "md5")
"""Algorithms of a checksum; it guards against faults of the network, not against people."""
CONTENT_TYPE: Final = "application/offset+octet-stream"
METADATA_LIMIT: Final = 8000
"""Most characters of the metadata: a name of 1,024 characters has up to 5,500 of them."""


class OtherVersion(Refused):
    """The client speaks another version of the protocol."""

    code = "tus_version"
    status = 412


class WrongContentType(Refused):
    """The body is none of an upload's."""

    code = "content_type"
    status = 415


class ChecksumDiffers(Refused):
    """The bytes of one request arrived damaged."""

    code = "checksum_differs"
    status = 460  # the protocol's own


def describe() -> ResponseReturnValue:
    """Say what the server can do."""
    limit = services().settings.upload_limit_mib << 20
    return (
        "",
        204,
        _headers()
        | {
            "Tus-Version": VERSION,
            "Tus-Extension": EXTENSIONS,
            "Tus-Max-Size": str(limit),
            "Tus-Checksum-Algorithm": ",".join(CHECKSUMS),
        },
    )


def open() -> ResponseReturnValue:
    """Open an upload; its first bytes may come with it. The address that it gets is one of the request's blueprint."""
    _expect_version()
    size = _read_number("Upload-Length")
    metadata = parse_metadata(request.headers.get("Upload-Metadata", ""))

    def open_upload() -> Upload:
        return uploads.open(
            services(),
            g.identity.tenant_id,
            size,
            name=metadata.get("filename") or metadata.get("name"),
            batch_id=_read_id(metadata.get("batch")),
            sha256=_read_hash(metadata.get("sha256")),
            created_by=g.identity.user_id,
        )

    if not request.content_length and "Transfer-Encoding" not in request.headers:
        upload = open_upload()
    else:
        _expect_body()
        upload = wait_for("body", lambda: _Body(open_upload()))
    return "", 201, _headers(upload) | {"Location": url_for(".send_upload", upload_id=upload.id)}


def send(upload_id: UUID) -> ResponseReturnValue:
    """Add bytes to an upload."""
    _expect_version()
    _expect_body()
    offset = _read_number("Upload-Offset")

    def receive() -> _Body:
        with services().read() as session:
            upload = uploads.get(session, g.identity.tenant_id, upload_id)
        if offset != upload.offset:
            raise OffsetDiffers(f"{upload.offset} bytes have arrived, and these begin at {offset}.")
        return _Body(upload)

    return "", 204, _headers(wait_for("body", receive))


def show(upload_id: UUID) -> tuple[Upload, dict[str, str]]:
    """Return an upload, and the headers that tell how far it is."""
    with services().read() as session:
        upload = uploads.get(session, g.identity.tenant_id, upload_id)
    return upload, _headers(upload) | {"Upload-Length": str(upload.size)}


def end(upload_id: UUID) -> ResponseReturnValue:
    """Give an upload up."""
    _expect_version()
    uploads.end(services(), g.identity.tenant_id, upload_id)
    return "", 204, _headers()


class _Body:
    """Receive the body of the current request as bytes of an upload."""

    def __init__(self, upload: Upload) -> None:
        algorithm, self._expected = _read_checksum()
        self._digest = hashlib.new(algorithm, usedforsecurity=False)
        self._place = Place.take(services().settings, g.identity.actor_id, request.content_length)
        try:
            self._receiver = Receiver(services(), upload, is_checked=self._expected is not None)
        except BaseException:
            self._place.leave()
            raise

    async def run(self, connection: Connection) -> Upload:
        await connection.pour(self._write)
        return await connection.run(self._finish)

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._receiver.write(data)

    def _finish(self) -> Upload:
        if self._expected not in (None, self._digest.digest()):
            raise ChecksumDiffers("These bytes arrived damaged: their checksum differs. Send them again.")
        return self._receiver.finish()

    def end(self) -> None:
        self._place.leave()
        self._receiver.end()


def parse_metadata(text: str) -> dict[str, str]:
    """Parse `Upload-Metadata`: pairs of a key and its value in Base64, with commas between them.

    Raises:
        InvalidRequest: it is none.
    """
    if len(text) > METADATA_LIMIT:
        raise InvalidRequest(f"Upload-Metadata has more than {METADATA_LIMIT} characters.")
    values = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            values[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise InvalidRequest(f"Upload-Metadata: {key} is not Base64 of UTF-8.") from error
    return values


def _headers(upload: Upload | None = None) -> dict[str, str]:
    """Return the headers that an answer has; those of an upload tell how far it is."""
    headers = {"Tus-Resumable": VERSION, "Cache-Control": "no-store"}
    if upload is None:
        return headers
    return headers | {"Upload-Offset": str(upload.offset), "Upload-Expires": http_date(upload.expires_at)}


def _expect_version() -> None:
    """Refuse another version of the protocol; also what is refused later tells which one this is.

    Raises:
        OtherVersion: the client speaks another one, or does not say.
    """

    @after_this_request
    def add_version(response: Response) -> Response:
        response.headers["Tus-Resumable"] = response.headers["Tus-Version"] = VERSION
        return response

    if request.headers.get("Tus-Resumable") != VERSION:
        raise OtherVersion(f"This address speaks tus {VERSION}: send the header Tus-Resumable: {VERSION}.")


def _expect_body() -> None:
    """Refuse a body that is none of an upload's.

    Raises:
        WrongContentType: it has another content type.
    """
    if request.mimetype != CONTENT_TYPE:
        raise WrongContentType(f"Bytes of an upload have the content type {CONTENT_TYPE}.")


def _read_number(header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise InvalidRequest(f"The header {header} is missing, or no number of bytes.")
    return int(text)


def _read_checksum() -> tuple[str, bytes | None]:
    """Return the algorithm and the expected digest of `Upload-Checksum`; None where there is no such header."""
    text = request.headers.get("Upload-Checksum")
    if text is None:
        return CHECKSUMS[0], None
    algorithm, _, digest = text.partition(" ")
    if algorithm not in CHECKSUMS:
        raise InvalidRequest(f"Upload-Checksum: one of {', '.join(CHECKSUMS)} is expected, not {algorithm!r}.")
    try:
        return algorithm, base64.b64decode(digest, validate=True)
    except binascii.Error as error:
        raise InvalidRequest("Upload-Checksum: the digest is not Base64.") from error


def _read_id(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError as error:
        raise InvalidRequest("Upload-Metadata: batch is no id.") from error


def _read_hash(text: str | None) -> str | None:
    if text and not (len(text) == 64 and set(text) <= set("0123456789abcdef")):
        raise InvalidRequest("Upload-Metadata: sha256 is no SHA-256 in lower-case hex.")
    return text or None

"""API operations of resumable uploads; see `retint_web.tus`."""

from typing import Final
from uuid import UUID

from flask import Response, g
from flask.typing import ResponseReturnValue

from retint import tables, uploads
from retint.roles import Scope
from retint_web import services, tus
from retint_web.api import requests, responses
from retint_web.api.blueprint import api, blueprint
from retint_web.api.openapi import JSON
from retint_web.security import public

VERSION: Final = {"Tus-Resumable": "Required: 1.0.0, the version of the protocol."}
OFFSET: Final = {"Upload-Offset": "How many bytes are kept.", "Upload-Expires": "When the upload is given up."}
CHECKSUM: Final = {"Upload-Checksum": "`sha256`, `sha1` or `md5`, a space, and the body's digest in Base64."}

blueprint.add_url_rule("/uploads", "describe_uploads", public(tus.describe), methods=["OPTIONS"])


@api.operation(
    "POST",
    "/uploads",
    None,
    status=201,
    body=tus.CONTENT_TYPE,
    needs_body=False,
    headers=VERSION
    | {
        "Upload-Length": "Required: bytes of the whole file.",
        "Upload-Metadata": "Keys and their values in Base64: `filename`, `batch` (id), `sha256` (of the file, in hex).",
    }
    | CHECKSUM,
    answer_headers={"Location": "Where the bytes are sent to."} | OFFSET,
    scope=Scope.DEPOSIT,
)
def open_upload() -> ResponseReturnValue:
    """Open a resumable upload (tus 1.0.0); the first bytes may be its body."""
    return tus.open()


@api.operation(
    "PATCH",
    "/uploads/<uuid:upload_id>",
    None,
    status=204,
    body=tus.CONTENT_TYPE,
    headers=VERSION | {"Upload-Offset": "Required: how many bytes come before these."} | CHECKSUM,
    answer_headers=OFFSET,
    scope=Scope.DEPOSIT,
)
def send_upload(upload_id: UUID) -> ResponseReturnValue:
    """Send bytes of a resumable upload; with the last ones the photo is kept, and deposited if a batch was named."""
    return tus.send(upload_id)


@api.operation(
    "GET",
    "/uploads/<uuid:upload_id>",
    responses.Upload,
    answer_headers={"Upload-Length": "Bytes of the whole file."} | OFFSET,
    scope=Scope.DEPOSIT,
)
def show_upload(upload_id: UUID) -> ResponseReturnValue:
    """Get how far a resumable upload is; HEAD answers with the headers alone."""
    upload, headers = tus.show(upload_id)
    return Response(_describe(upload).model_dump_json(), 200, headers, content_type=JSON)


@api.operation("GET", "/uploads", responses.Uploads, query=requests.HashQuery, scope=Scope.DEPOSIT)
def find_uploads(query: requests.HashQuery) -> responses.Uploads:
    """Find your own uploads of a file that broke off, the newest first, to go on with one."""
    with services().read() as session:
        found = uploads.find(session, g.identity.tenant_id, g.identity.user_id, query.sha256)
        return responses.Uploads(items=[_describe(upload) for upload in found])


@api.operation("DELETE", "/uploads/<uuid:upload_id>", None, status=204, headers=VERSION, scope=Scope.DEPOSIT)
def end_upload(upload_id: UUID) -> ResponseReturnValue:
    """Give a resumable upload up, with the bytes that have arrived; a photo that it became stays."""
    return tus.end(upload_id)


def _describe(upload: tables.Upload) -> responses.Upload:
    return responses.Upload(
        id=upload.id,
        batch_id=upload.batch_id,
        name=upload.name,
        size=upload.size,
        offset=upload.offset,
        photo_id=upload.photo_id,
        job_id=upload.job_id,
        expires_at=upload.expires_at,
    )

"""API operations of resumable uploads; see `retint_web.tus`."""

from typing import Final
from uuid import UUID

from flask import Response, g
from flask.typing import ResponseReturnValue

from retint import tables, uploads
from retint.roles import Scope
from retint_web import services, tus
from retint_web.api import requests, responses
from retint_web.api.blueprint import api
from retint_web.api.openapi import JSON, Header

NUMBER: Final = {"type": "integer", "minimum": 0}
BASE64: Final = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
VERSION: Final = {
    "Tus-Resumable": Header(
        "The version of the protocol.", is_required=True, schema={"type": "string", "enum": [tus.VERSION]}
    )
}
OFFSET: Final = {
    "Upload-Offset": Header("How many bytes are kept.", schema=NUMBER),
    "Upload-Expires": Header("When the upload is given up."),
}
CHECKSUM: Final = {
    "Upload-Checksum": Header(
        "`sha256`, `sha1` or `md5`, a space, and the body's digest in Base64.",
        schema={"type": "string", "pattern": f"^({'|'.join(tus.CHECKSUMS)}) {BASE64}$"},
    )
}
METADATA: Final = {
    "Upload-Metadata": Header(
        "Keys and their values in Base64: `filename`, `batch` (id), `sha256` (of the file, in hex).",
        schema={"type": "string", "pattern": f"^[a-z]+ {BASE64}(,[a-z]+ {BASE64})*$", "maxLength": tus.METADATA_LIMIT},
    )
}
REFUSALS: Final = {
    409: "The bytes do not begin where the ones before end, or the batch was cancelled.",
    412: "The header Tus-Resumable is missing, or names another version; `Tus-Version` says which one is spoken.",
    460: "The bytes arrived damaged: their checksum differs. Send them again.",
}


@api.operation(
    "OPTIONS",
    "/uploads",
    None,
    status=204,
    is_public=True,
    scope=Scope.READ,
    answer_headers={
        "Tus-Version": Header("The version of the protocol."),
        "Tus-Extension": Header("The extensions that are spoken."),
        "Tus-Max-Size": Header("Most bytes of a file.", schema=NUMBER),
        "Tus-Checksum-Algorithm": Header("Algorithms of a checksum."),
    },
)
def describe_uploads() -> ResponseReturnValue:
    """Get what resumable uploads can do here (tus 1.0.0)."""
    return tus.describe()


@api.operation(
    "POST",
    "/uploads",
    None,
    status=201,
    body=tus.CONTENT_TYPE,
    needs_body=False,
    headers=VERSION
    | {"Upload-Length": Header("Bytes of the whole file.", is_required=True, schema=NUMBER)}
    | METADATA
    | CHECKSUM,
    answer_headers={"Location": Header("Where the bytes are sent to.")} | OFFSET,
    scope=Scope.DEPOSIT,
    errors=REFUSALS | {404: "There is no such batch."},
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
    headers=VERSION
    | {"Upload-Offset": Header("How many bytes come before these.", is_required=True, schema=NUMBER)}
    | CHECKSUM,
    answer_headers=OFFSET,
    scope=Scope.DEPOSIT,
    errors=REFUSALS,
)
def send_upload(upload_id: UUID) -> ResponseReturnValue:
    """Send bytes of a resumable upload; with the last ones the photo is kept, and deposited if a batch was named."""
    return tus.send(upload_id)


@api.operation(
    "GET",
    "/uploads/<uuid:upload_id>",
    responses.Upload,
    answer_headers={"Upload-Length": Header("Bytes of the whole file.", schema=NUMBER)} | OFFSET,
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


@api.operation(
    "DELETE",
    "/uploads/<uuid:upload_id>",
    None,
    status=204,
    headers=VERSION,
    scope=Scope.DEPOSIT,
    errors={412: REFUSALS[412]},
)
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

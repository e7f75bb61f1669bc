"""Responses made of blobs of the store: range requests, caching, file names. Bytes are passed on unread."""

import hashlib
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO, Final
from urllib.parse import quote

from flask import Response, redirect, request
from flask.typing import ResponseReturnValue
from werkzeug.datastructures import Range
from werkzeug.exceptions import RequestedRangeNotSatisfiable
from werkzeug.http import dump_options_header

from retint.filetypes import content_type_for
from retint.stores import BlobStore

CHUNK: Final = 1 << 18
SIGNED_URL_S: Final = 3600
"""How long a signed address is valid, in seconds. A download must only begin within this time."""
CACHE_FOREVER: Final = "private, max-age=31536000, immutable"
"""Cache-Control of a blob: the bytes under a key never change."""

INLINE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/webp", "application/json", "video/mp4"})
"""Types that a browser may show. Only our own files have them; an original, which may hold anything, is downloaded."""


def send(store: BlobStore, key: str, file_name: str, *, attach: bool) -> ResponseReturnValue:
    """Answer the current request with a blob, or redirect to its signed address if browsers can reach the store.

    Raises:
        NotFound: the store has no such key.
        StoreUnavailable: it does not answer.
    """
    content_type = content_type_for(key)
    url = store.url(key, expires_s=SIGNED_URL_S, file_name=file_name, content_type=content_type)
    if url is not None:
        response = redirect(url, code=302)
        response.headers["Cache-Control"] = f"private, max-age={SIGNED_URL_S // 2}"
        return response
    response = stream(store, key, content_type)
    kind = "inline" if content_type in INLINE_TYPES and not attach else "attachment"
    response.headers["Content-Disposition"] = content_disposition(kind, file_name)
    # A file that is opened in a tab of its own runs no scripts and loads nothing.
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def stream(store: BlobStore, key: str, content_type: str) -> Response:
    """Stream a blob, or the range of it that the current request asks for (RFC 9110, section 14)."""
    etag = hashlib.sha256(key.encode()).hexdigest()[:32]
    if request.if_none_match.contains_weak(etag):
        return _cache_forever(Response(status=304), etag)
    size = store.size(key)
    start, stop = _resolve_range(request.range, etag, size)
    is_part = (start, stop) != (0, size)
    open_blob = ExitStack()
    blob = open_blob.enter_context(store.open(key, start, stop))
    response = Response(_read_chunks(blob, stop - start), 206 if is_part else 200, content_type=content_type)
    response.call_on_close(open_blob.close)
    response.content_length = stop - start
    if is_part:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return _cache_forever(response, etag)


def content_disposition(kind: str, file_name: str) -> str:
    """Build a Content-Disposition header for any file name (RFC 6266, RFC 8187)."""
    plain = unicodedata.normalize("NFKD", file_name).encode("ascii", "ignore").decode().replace('"', "").strip()
    options = {"filename": plain or "photo"}
    if plain != file_name:
        options["filename*"] = f"UTF-8''{quote(file_name, safe='')}"
    return dump_options_header(kind, options)


def _cache_forever(response: Response, etag: str) -> Response:
    response.set_etag(etag)
    response.headers["Cache-Control"] = CACHE_FOREVER
    response.headers["Accept-Ranges"] = "bytes"
    return response


def _resolve_range(wanted: Range | None, etag: str, size: int) -> tuple[int, int]:
    """Return the bytes to send as (start, stop): all if several ranges, or one of an outdated file, are asked for."""
    stale = request.if_range.date is not None or (request.if_range.etag or etag) != etag
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1 or stale:
        return 0, size
    found = wanted.range_for_length(size)
    if found is None:
        raise RequestedRangeNotSatisfiable(length=size)
    return found


def _read_chunks(blob: BinaryIO, left: int) -> Iterator[bytes]:
    while left:
        chunk = blob.read(min(CHUNK, left))
        if not chunk:
            raise EOFError("the blob is shorter than the store said")
        left -= len(chunk)
        yield chunk

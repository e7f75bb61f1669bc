"""Bytes of the store on their way to a browser: ranges, caching, names; never decoded, never run."""

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
LINK_S: Final = 3600
"""How long a signed address lives: long enough for a slow download to begin."""
KEPT: Final = "private, max-age=31536000, immutable"
"""What a key names never changes."""

SHOWN: Final = frozenset({"image/jpeg", "image/png", "image/webp", "application/json", "video/mp4"})
"""Types that a browser may show. They are our own files; an original, whose bytes are foreign, is only saved."""


def send(store: BlobStore, key: str, file_name: str, *, attach: bool) -> ResponseReturnValue:
    """Answer the running request with a blob, or with a signed address of it where browsers reach the store.

    Raises:
        NotFound: the store has no such key.
        StoreUnavailable: it does not answer.
    """
    content_type = content_type_for(key)
    url = store.url(key, expires_s=LINK_S, file_name=file_name, content_type=content_type)
    if url is not None:
        response = redirect(url, code=302)
        response.headers["Cache-Control"] = f"private, max-age={LINK_S // 2}"
        return response
    response = stream(store, key, content_type)
    kind = "inline" if content_type in SHOWN and not attach else "attachment"
    response.headers["Content-Disposition"] = disposition(kind, file_name)
    # Opened by itself, a file can do nothing and load nothing.
    response.headers["Content-Security-Policy"] = "default-src 'none'; sandbox"
    return response


def stream(store: BlobStore, key: str, content_type: str) -> Response:
    """Stream a blob, or the range of it that the running request asks for (RFC 9110, section 14)."""
    etag = hashlib.sha256(key.encode()).hexdigest()[:32]
    if request.if_none_match.contains_weak(etag):
        return _kept(Response(status=304), etag)
    size = store.size(key)
    start, stop = _range(request.range, etag, size)
    is_part = (start, stop) != (0, size)
    open_blob = ExitStack()
    blob = open_blob.enter_context(store.open(key, start, stop))
    response = Response(_chunks(blob, stop - start), 206 if is_part else 200, content_type=content_type)
    response.call_on_close(open_blob.close)
    response.content_length = stop - start
    if is_part:
        response.headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    return _kept(response, etag)


def disposition(kind: str, file_name: str) -> str:
    """Write a Content-Disposition header for any name (RFC 6266, RFC 8187)."""
    plain = unicodedata.normalize("NFKD", file_name).encode("ascii", "ignore").decode().replace('"', "").strip()
    options = {"filename": plain or "photo"}
    if plain != file_name:
        options["filename*"] = f"UTF-8''{quote(file_name, safe='')}"
    return dump_options_header(kind, options)


def _kept(response: Response, etag: str) -> Response:
    response.set_etag(etag)
    response.headers["Cache-Control"] = KEPT
    response.headers["Accept-Ranges"] = "bytes"
    return response


def _range(wanted: Range | None, etag: str, size: int) -> tuple[int, int]:
    """Find the bytes to send, from start up to stop: all of them where several ranges or old ones are asked for."""
    stale = request.if_range.date is not None or (request.if_range.etag or etag) != etag
    if wanted is None or wanted.units != "bytes" or len(wanted.ranges) != 1 or stale:
        return 0, size
    found = wanted.range_for_length(size)
    if found is None:
        raise RequestedRangeNotSatisfiable(length=size)
    return found


def _chunks(blob: BinaryIO, left: int) -> Iterator[bytes]:
    while left:
        chunk = blob.read(min(CHUNK, left))
        if not chunk:
            raise EOFError("the blob is shorter than the store said")
        left -= len(chunk)
        yield chunk

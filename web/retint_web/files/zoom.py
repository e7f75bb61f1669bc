"""Deep zoom: its addresses, and tiles read from one blob (SZI).

A zoom is an uncompressed zip, of which only the directory and the tile are read. One that is not made yet is asked of a
worker (see `retint.zooms`); until it is there, the answer is 202.
"""

import io
import re
import zipfile
import zlib
from collections.abc import Hashable
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Final, cast
from uuid import UUID

from flask import Blueprint, Response, current_app, g, jsonify
from flask.typing import ResponseReturnValue

from retint import zooms
from retint.broker import Broker
from retint.errors import NotFound
from retint.stores import BlobStore
from retint.zooms import Zoom
from retint_web import services
from retint_web.files import blobs
from retint_web.security import moves_bytes

blueprint = Blueprint("zoom", __name__)

ASK_AGAIN_S: Final = 1
"""After how many seconds it is worth asking again for a zoom that is not made yet."""
PREPARING: Final = "The zoom is being prepared: ask again."
TILE_NAME: Final = re.compile(r".*_files/(\d{1,2})/(\d{1,5})_(\d{1,5})\.jpe?g")
LOCAL_HEADER: Final = 30
"""Bytes of a zip's local file header before its file name and extra field (APPNOTE.TXT, 4.3.7)."""
DIRECTORY_CHUNK: Final = 1 << 18


# --- addresses --------------------------------------------------------------------------------------------------------


@blueprint.get("/jobs/<uuid:job_id>/zoom.dzi")
@blueprint.get("/jobs/<uuid:job_id>/pages/<int:page>/zoom.dzi")
@moves_bytes
def description(job_id: UUID, page: int | None = None) -> ResponseReturnValue:
    """Send the .dzi file, which describes the deep zoom of a result, or of a further page of it; 202 before it is made.

    Browsers ask each time, because a zoom that the store has lost is made again when it is asked for here.
    """
    zoom, store = _find(job_id, page), services().store
    if not zoom.is_made(store):
        return ask_for(job_id, zoom)
    return _respond(read_description(store, zoom.key), "application/xml", "private, no-cache")


@blueprint.get("/jobs/<uuid:job_id>/zoom/<int:level>/<int:column>_<int:row>.jpg")
@blueprint.get("/jobs/<uuid:job_id>/zoom_files/<int:level>/<int:column>_<int:row>.jpg")
@blueprint.get("/jobs/<uuid:job_id>/zoom_files/<int:level>/<int:column>_<int:row>.jpeg")
@blueprint.get("/jobs/<uuid:job_id>/pages/<int:page>/zoom_files/<int:level>/<int:column>_<int:row>.jpg")
@blueprint.get("/jobs/<uuid:job_id>/pages/<int:page>/zoom_files/<int:level>/<int:column>_<int:row>.jpeg")
@moves_bytes
def tile(job_id: UUID, level: int, column: int, row: int, page: int | None = None) -> ResponseReturnValue:
    """Send one tile of a deep zoom."""
    data = read_tile(services().store, _find(job_id, page).key, level, column, row)
    return _respond(data, "image/jpeg", blobs.CACHE_FOREVER)


def send_zoom(job_id: UUID, page: int | None) -> ResponseReturnValue:
    """Answer with the zip of a zoom, or with 202 and ask a worker to make it.

    Raises:
        NotFound: there is nothing to zoom into.
        QueueUnavailable: nobody could be asked.
    """
    zoom, store = _find(job_id, page), services().store
    if not zoom.is_made(store):
        return ask_for(job_id, zoom)
    return blobs.send(store, zoom.key, zoom.key.rpartition("/")[2], attach=True)


def ask_for(job_id: UUID, zoom: Zoom) -> Response:
    """Ask a worker to make a zoom, and answer that it is not there yet.

    Raises:
        QueueUnavailable: the broker did not answer.
    """
    _connect_broker().ask_for_zoom(g.identity.tenant_id, job_id, zoom.page)
    response: Response = jsonify(detail=PREPARING)
    response.status_code = 202
    response.headers["Retry-After"] = str(ASK_AGAIN_S)
    response.headers["Cache-Control"] = "no-store"
    return response


def _find(job_id: UUID, page: int | None) -> Zoom:
    with services().read() as session:
        return zooms.find(session, g.identity.tenant_id, job_id, page)


def _connect_broker() -> Broker:
    """Return this process's connection to the broker, which is made when it is first needed."""
    extensions = current_app.extensions
    if "broker" not in extensions:
        extensions["broker"] = services().connect_broker()
    broker: Broker = extensions["broker"]
    return broker


def _respond(data: bytes, content_type: str, cache_control: str) -> Response:
    response = Response(data, content_type=content_type)
    response.headers["Cache-Control"] = cache_control
    return response


# --- the zip ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Entry:
    """Position of one file in the zip."""

    start: int
    """Offset of its local header."""
    size: int
    """Bytes of the file."""
    header_limit: int
    """Most bytes that its local header can have: those up to the next entry, without the file."""
    checksum: int
    """CRC-32 of the file."""


@dataclass(frozen=True)
class Pyramid:
    """The directory of one deep zoom zip."""

    tiles: dict[tuple[int, int, int], Entry]
    """Positions by level, column and row."""
    description: bytes
    """The .dzi file, which is XML."""


def read_tile(store: BlobStore, key: str, level: int, column: int, row: int) -> bytes:
    """Read one tile, a JPEG, in a single range request.

    Raises:
        NotFound: there is no such tile.
    """
    for _ in range(2):
        entry = _read_pyramid(cast(Hashable, store), key).tiles.get((level, column, row))
        if entry is None:
            raise NotFound("There is no such tile.")
        data = _read(store, key, entry)
        if zlib.crc32(data) == entry.checksum:
            return data
        _read_pyramid.cache_clear()  # the zoom was lost and made again, by another version of the encoder
    raise NotFound("The tile is damaged.")


def read_description(store: BlobStore, key: str) -> bytes:
    """Read the .dzi file."""
    return _read_pyramid(cast(Hashable, store), key).description


# The directory of a 300-megapixel result has about 6,000 tiles and takes less than 2 MB.
@lru_cache(maxsize=32)
def _read_pyramid(store: BlobStore, key: str) -> Pyramid:
    with zipfile.ZipFile(io.BufferedReader(_BlobFile(store, key), DIRECTORY_CHUNK)) as directory:
        members, end = directory.infolist(), directory.start_dir
    starts = [*sorted(member.header_offset for member in members), end]
    next_starts = dict(pairwise(starts))
    tiles: dict[tuple[int, int, int], Entry] = {}
    dzi: Entry | None = None
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.is_dir():
            continue
        start, size = member.header_offset, member.file_size
        entry = Entry(start, size, next_starts[start] - start - size, member.CRC)
        if match := TILE_NAME.fullmatch(member.filename):
            tiles[int(match[1]), int(match[2]), int(match[3])] = entry
        elif member.filename.endswith(".dzi"):
            dzi = entry
    if dzi is None:
        raise NotFound("There is no deep zoom of this photo.")
    return Pyramid(tiles, _read(store, key, dzi))


def _read(store: BlobStore, key: str, entry: Entry) -> bytes:
    with store.open(key, entry.start, entry.start + entry.header_limit + entry.size) as blob:
        data = blob.read()
    # The extra field of the local header may differ in length from the one in the directory.
    name_length, extra_length = int.from_bytes(data[26:28], "little"), int.from_bytes(data[28:30], "little")
    start = LOCAL_HEADER + name_length + extra_length
    return data[start : start + entry.size]


class _BlobFile(io.RawIOBase):
    """A blob as a seekable file; each read is a range request to the store."""

    def __init__(self, store: BlobStore, key: str) -> None:
        self._store, self._key = store, key
        self._size, self._position = store.size(key), 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def readinto(self, buffer: Any) -> int:
        target = memoryview(buffer)
        stop = min(self._size, self._position + len(target))
        if stop <= self._position:
            return 0
        with self._store.open(self._key, self._position, stop) as blob:
            data = blob.read(stop - self._position)
        target[: len(data)] = data
        self._position += len(data)
        return len(data)

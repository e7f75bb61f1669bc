"""Rows in, a libvips image out: how rendered strips reach an encoder without ever being one picture in memory.

libvips reads pictures of unknown length from a pipe only in a real file format. PNG without compression is one: its
overhead is a copy and a checksum.
"""

import fcntl
import os
import struct
import zlib
from collections.abc import Callable
from threading import Thread
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyvips
from numpy.typing import NDArray

PIPE_BYTES = 1 << 20


class Stream:
    """Rows written here arrive as an image that is read once from top to bottom, in a thread of its own.

    Args:
        shape: height, width and bands (1 or 3).
        bits: 8 or 16 a sample.
        consume: what is to be done with the image; called in the thread.
    """

    def __init__(self, shape: tuple[int, int, int], bits: int, consume: Callable[[pyvips.Image], None]) -> None:
        height, width, bands = shape
        self._left = height
        self._source, sink = os.pipe()
        fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._sink = os.fdopen(sink, "wb", buffering=0)
        self._error: BaseException | None = None
        self._deflate = zlib.compressobj(0)
        self._thread = Thread(target=self._consume, args=(consume,), name="retint-encoder")
        self._thread.start()
        self._write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 2 if bands == 3 else 0, 0, 0, 0))

    def write(self, strip: NDArray[Any]) -> None:
        """Hand over the next rows, (rows, width) or (rows, width, 3), uint8 or uint16.

        Raises:
            pyvips.Error: the consumer failed.
        """
        if self._error:
            raise self._error
        rows = strip.reshape(len(strip), -1)
        data = rows.astype(">u2").view(np.uint8) if rows.dtype == np.uint16 else rows
        filtered = np.pad(data, ((0, 0), (1, 0)))  # each row begins with its filter: none
        self._chunk(b"IDAT", self._deflate.compress(filtered.data))
        self._left -= len(strip)

    def close(self) -> None:
        """Wait until the consumer is done.

        Raises:
            pyvips.Error: the consumer failed.
        """
        if self._left == 0:
            self._chunk(b"IDAT", self._deflate.flush())
            self._chunk(b"IEND", b"")
        self._sink.close()
        self._thread.join()
        os.close(self._source)
        if self._error:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except pyvips.Error:
            if error is None:  # else it only says that the rows ended early
                raise

    def _chunk(self, kind: bytes, data: bytes) -> None:
        self._write(struct.pack(">I", len(data)) + kind)
        self._write(data)
        self._write(struct.pack(">I", zlib.crc32(data, zlib.crc32(kind))))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self._sink.write(view) :]

    def _consume(self, consume: Callable[[pyvips.Image], None]) -> None:
        try:
            source = pyvips.Source.new_from_descriptor(self._source)
            consume(pyvips.Image.pngload_source(source, access="sequential", fail_on="truncated", unlimited=True))
        except BaseException as error:  # noqa: BLE001  raised again in the writer's thread
            self._error = error
            while os.read(self._source, PIPE_BYTES):  # the writer must not wait for a reader that has gone
                pass

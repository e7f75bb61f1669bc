"""Reads photos strip by strip, and passes rendered strips to an encoder: no picture is in memory as a whole."""

import fcntl
import os
import struct
import zlib
from collections.abc import Callable, Iterator
from threading import Thread
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint_workers.imaging.decoding.formats import Header
from retint_workers.imaging.vips import open_image, translate_errors

STRIP_BYTES = 8 << 20
PIPE_BYTES = 1 << 20


def read_strips(header: Header, multiple: int = 1, **options: Any) -> Iterator[tuple[int, NDArray[Any]]]:
    """Decode a photo's color from top to bottom.

    Args:
        header: the photo's.
        multiple: strips have a multiple of so many rows, except the last one.
        options: of libvips' loader.

    Yields:
        The first row and the pixels of each strip: uint8 or uint16, (rows, width) or (rows, width, 3).
    """
    with translate_errors():
        image = open_image(header.pixels, header.coding, **options)
        if image.bands > header.bands:
            image = image.extract_band(0, n=header.bands)
        yield from fetch_strips(image, multiple)


def open_extras(header: Header, **options: Any) -> pyvips.Image:
    """Open the channels beside a photo's color, to be read once from top to bottom; options as in `read_strips`.

    Raises:
        InvalidPhoto: the file cannot be read.
    """
    return open_image(header.pixels, header.coding, **options).extract_band(header.bands, n=header.extras)


def measure_extras(header: Header, **options: Any) -> int:
    """Return the CRC-32 of the channels beside a photo's color, 0 without any; options as in `read_strips`."""
    if not header.extras:
        return 0
    with translate_errors():
        return measure_pixels(open_extras(header, **options))


def measure_pixels(image: pyvips.Image) -> int:
    """Return the CRC-32 of an image's pixels, read once from top to bottom.

    Raises:
        pyvips.Error: it cannot be computed.
    """
    checksum = 0
    for _, strip in fetch_strips(image):
        checksum = zlib.crc32(strip.data, checksum)
    return checksum


def fetch_strips(image: pyvips.Image, multiple: int = 1) -> Iterator[tuple[int, NDArray[Any]]]:
    """Compute an image from top to bottom; see `read_strips`.

    Raises:
        pyvips.Error: it cannot be computed.
    """
    dtype = np.dtype(np.uint8 if image.format == "uchar" else np.uint16)
    rows = max(16, STRIP_BYTES // (image.width * image.bands * dtype.itemsize)) // multiple * multiple or multiple
    region = pyvips.Region.new(image)
    for top in range(0, image.height, rows):
        count = min(rows, image.height - top)
        shape = (count, image.width) if image.bands == 1 else (count, image.width, image.bands)
        yield top, np.frombuffer(region.fetch(0, top, image.width, count), dtype).reshape(shape)


class StripPipe:
    """Passes strips to a function as one libvips image, which it reads from top to bottom in a thread of its own.

    libvips reads pictures from a pipe only in a real file format, so the rows travel as uncompressed PNG: the overhead
    is a copy and a checksum.

    Args:
        shape: height, width and bands (1 or 3).
        bits: 8 or 16 a sample.
        consume: called in the thread with the image.
    """

    def __init__(self, shape: tuple[int, int, int], bits: int, consume: Callable[[pyvips.Image], None]) -> None:
        height, width, bands = shape
        self._rows_left = height
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
        """Pass on the next rows, (rows, width) or (rows, width, 3), uint8 or uint16.

        Raises:
            pyvips.Error: the consumer failed.
        """
        if self._error:
            raise self._error
        rows = strip.reshape(len(strip), -1)
        data = rows.astype(">u2").view(np.uint8) if rows.dtype == np.uint16 else rows
        filtered = np.pad(data, ((0, 0), (1, 0)))  # each row begins with the number of its filter: 0, none
        self._chunk(b"IDAT", self._deflate.compress(filtered.data))
        self._rows_left -= len(strip)

    def close(self) -> None:
        """End the image and wait until the consumer is done.

        Raises:
            pyvips.Error: the consumer failed.
        """
        if self._rows_left == 0:
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
            if error is None:  # otherwise it only says that the rows ended early
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
            while os.read(self._source, PIPE_BYTES):  # the writer must not block on a reader that has gone
                pass

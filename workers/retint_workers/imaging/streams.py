"""Reads photos strip by strip, and passes rendered strips to an encoder: no picture is in memory as a whole."""

import zlib
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint_workers.containers.tiff_pixels import make_head
from retint_workers.imaging.decoding.formats import Header
from retint_workers.imaging.vips import open_image, translate_errors

STRIP_BYTES = 4 << 20
Strips = Generator[tuple[int, NDArray[Any]]]
"""The first row and the pixels of each strip: uint8 or uint16, (rows, width) or (rows, width, 3)."""


def read_strips(header: Header, multiple: int = 1, **options: Any) -> Strips:
    """Decode a photo's color from top to bottom, one strip ahead in a thread of its own.

    Args:
        header: the photo's.
        multiple: strips have a multiple of so many rows, except the last one.
        options: of libvips' loader.

    Raises:
        InvalidPhoto: the file cannot be read.
    """
    strips = _decode(header, multiple, options)
    with ThreadPoolExecutor(1, "retint-decoder") as decoder:  # a region of libvips belongs to one thread
        try:
            reading = decoder.submit(next, strips, None)
            while strip := reading.result():
                reading = decoder.submit(next, strips, None)
                yield strip
        finally:
            decoder.submit(strips.close)


def _decode(header: Header, multiple: int, options: dict[str, Any]) -> Strips:
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


def fetch_strips(image: pyvips.Image, multiple: int = 1) -> Strips:
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

    libvips reads pictures from a program only in a real file format, so the strips are the pixels of an uncompressed
    TIFF: the overhead is a copy.

    Args:
        shape: height, width and bands (1 or 3).
        bits: 8 or 16 a sample.
        consume: called in the thread with the image.
    """

    def __init__(self, shape: tuple[int, int, int], bits: int, consume: Callable[[pyvips.Image], None]) -> None:
        self._head = make_head(shape, bits)
        self._file_bytes = len(self._head) + shape[0] * shape[1] * shape[2] * bits // 8
        self._at = 0
        self._strip, self._strip_at = memoryview(b""), len(self._head)
        self._strips: Queue[memoryview | None] = Queue(1)
        self._has_ended = False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._consume, args=(consume,), name="retint-encoder")
        self._thread.start()

    def write(self, strip: NDArray[Any]) -> None:
        """Pass on the next rows, (rows, width) or (rows, width, 3), uint8 or uint16; they must not change any more.

        Raises:
            pyvips.Error: the consumer failed.
        """
        if self._error:
            raise self._error
        self._strips.put(strip.reshape(-1).view(np.uint8).data)

    def close(self) -> None:
        """End the image and wait until the consumer is done.

        Raises:
            pyvips.Error: the consumer failed.
        """
        self._strips.put(None)
        self._thread.join()
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

    def _consume(self, consume: Callable[[pyvips.Image], None]) -> None:
        try:
            source = pyvips.SourceCustom()
            source.on_read(self._read)
            source.on_seek(self._seek)
            consume(pyvips.Image.tiffload_source(source, access="sequential", fail_on="warning", unlimited=True))
        except BaseException as error:  # noqa: BLE001  raised again in the writer's thread
            self._error = error
        while not self._has_ended:  # the writer must not wait for a reader that has gone
            self._take()

    def _read(self, size: int) -> bytes | memoryview:
        """Return some of the file's next bytes, none at its end."""
        if self._at < len(self._head):
            piece: bytes | memoryview = self._head[self._at : self._at + size]
        else:
            while self._at >= self._strip_at + len(self._strip) and not self._has_ended:
                self._take()
            start = self._at - self._strip_at
            piece = self._strip[start : start + size]
        self._at += len(piece)
        return piece

    def _take(self) -> None:
        """Wait for the next strip."""
        strip = self._strips.get()
        self._strip_at += len(self._strip)
        self._strip = memoryview(b"") if strip is None else strip
        self._has_ended = strip is None

    def _seek(self, offset: int, whence: int) -> int:
        self._at = offset + (0, self._at, self._file_bytes)[whence]
        return self._at

"""Opens photos with libvips and translates its errors."""

import errno
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyvips

from retint.errors import InvalidPhoto, MachineFault, OutOfMemory, RetintError
from retint_workers import scratch

XMP_FIELD = "xmp-data"
"""Libvips' name for XMP."""
FAIL_ON: Mapping[str, str] = {"jpeg": "truncated", "png": "error", "webp": "error", "tiff": "warning"}
"""The mildest problem at which decoding stops. TIFF: libvips calls what it cannot decode a warning. JPEG: see
`pictures.load_complete_picture`."""

LIMITS: Mapping[str, Mapping[str, bool]] = {"jpeg": {}, "png": {}, "webp": {}, "tiff": {"unlimited": True}}
"""libtiff's own limit of 50 MB calls whole files damaged; `bounds` knows what there is."""


def open_image(path: Path, file_format: str, **options: Any) -> pyvips.Image:
    """Open a photo with the loader of its format, to be read once from top to bottom.

    Args:
        path: the file.
        file_format: `jpeg`, `png`, `webp` or `tiff`, as `formats.sniff` found it.
        options: of libvips' loader.

    Raises:
        InvalidPhoto: its header cannot be read.
    """
    with path.open("rb") as file, translate_errors():
        source = pyvips.Source.new_from_descriptor(file.fileno())  # libvips parses file names, so it gets none
        options = {"access": "sequential", "fail_on": FAIL_ON[file_format], **LIMITS[file_format], **options}
        return pyvips.Operation.call(f"{file_format}load_source", source, **options)


def read_resolution(image: pyvips.Image) -> tuple[float, float] | None:
    """Return pixels per millimeter, across and down; None where the file states none, or no unit.

    Libvips fills in 25.4 or 72 dots an inch where there is none. It tells the unit of everything but PNG: see
    `containers.png.states_resolution`.
    """
    is_stated = image.get_typeof("resolution-unit") and image.xres != 1
    return (image.xres, image.yres) if is_stated else None


def prove_imaging() -> None:
    """Prove that libvips encodes and decodes a picture.

    Raises:
        MachineFault: it does not.
    """
    try:
        noise = pyvips.Image.gaussnoise(64, 64, mean=128, sigma=40).cast("uchar").copy_memory()
        decoded = pyvips.Image.new_from_buffer(noise.pngsave_buffer(), "")
        is_same = (decoded == noise).min() == 255
    except pyvips.Error as error:
        raise MachineFault(f"Pictures cannot be encoded on this machine: {error}") from error
    if not is_same:
        raise MachineFault("A picture that was encoded on this machine is decoded as another.")


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collect what libvips and the libraries below it warn of meanwhile, in this process."""
    logger, handler = logging.getLogger("pyvips"), _Collector(logging.WARNING)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.WARNING)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield handler.warnings
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


class _Collector(logging.Handler):
    """Keeps what is logged, in order."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.warnings: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.warnings.append(record.getMessage())


@contextmanager
def translate_errors() -> Iterator[None]:
    """Raise Retint's errors for what libvips says about a file.

    Raises:
        InvalidPhoto: the file is damaged or incomplete.
        OutOfMemory: there was not enough memory to decode it.
        DiskUnavailable: the machine's own disk is full or broken.
    """
    try:
        yield
    except pyvips.Error as error:
        raise _translate(error) from error
    except UnicodeDecodeError as error:
        forget_error()
        raise damaged_file() from error


def forget_error() -> None:
    """Empty libvips' list of errors, which pyvips cannot read and leaves where one quotes bytes that are not UTF-8.

    Every later call in the process would stumble over it.
    """
    pyvips.vips_lib.vips_error_clear()


@contextmanager
def translate_disk_errors() -> Iterator[None]:
    """Raise Retint's error for what libvips says about the disk that it writes to; its other errors stay as they are.

    Raises:
        DiskUnavailable: the disk is full or broken.
    """
    try:
        yield
    except pyvips.Error as error:
        if fault := _explain_disk_error(str(error)):
            raise fault from error
        raise


def _explain_disk_error(message: str) -> MachineFault | None:
    """Return what libvips quotes from the system about the disk; None where it quotes nothing."""
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
        if os.strerror(number) in message:
            return scratch.explain(OSError(number, os.strerror(number)))
    return None


def _translate(error: pyvips.Error) -> RetintError:
    if fault := _explain_disk_error(str(error)):
        return fault
    message = str(error).lower()
    if "out of memory" in message or "unable to allocate" in message or "malloc" in message:
        return OutOfMemory("There was not enough memory to open the file.")
    return incomplete_file() if "premature end" in message else damaged_file()


def incomplete_file() -> InvalidPhoto:
    """Return the refusal of a file that ends too early."""
    return InvalidPhoto("The file is incomplete: upload it again or scan it again.", code="truncated")


def damaged_file() -> InvalidPhoto:
    """Return the refusal of a file that cannot be decoded."""
    return InvalidPhoto("The file is damaged and cannot be read: save or scan it again.", code="damaged")

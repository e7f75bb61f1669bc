"""Event files that TensorBoard reads, written without it: a few fields of a few protocol buffers.

A file is a row of records: length, its checksum, an `Event`, its checksum (TFRecord; checksums are CRC-32C, RFC 3720,
rotated and shifted by a constant). Field numbers: `event.proto` and `summary.proto` of tensorflow/tensorboard
(Apache-2.0).
"""

import io
import os
import struct
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def crc_table() -> list[int]:
    """Return what each byte does to a CRC-32C: polynomial 0x82F63B78, bits reversed."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = crc_table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked(data: bytes) -> bytes:
    """Return the checksum of some bytes as a record holds it."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def varint(value: int) -> bytes:
    """Return a whole number from 0 on, seven bits a byte, the last ones first."""
    pieces = bytearray()
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*pieces, value])


def field(number: int, value: bytes | int | float) -> bytes:
    """Return a field of a protocol buffer: bytes (texts, messages), a whole number, or a single-precision number."""
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 5) + struct.pack("<f", value)


def double(number: int, value: float) -> bytes:
    """Return a field that holds a double-precision number."""
    return varint(number << 3 | 1) + struct.pack("<d", value)


class Events:
    """An event file in a folder, open for one process.

    Args:
        folder: Made if missing.
        step: Where the run begins; what older files of the folder say from there on is void.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        seconds, rest = divmod(time.time_ns(), 10**9)
        self.path = folder / f"events.out.tfevents.{seconds:010}.{os.getpid()}.{rest:09}"
        self.write(0, field(3, b"brain.Event:2"))
        if step:
            self.write(step, field(7, field(1, 1)))  # SessionLog.START

    def write(self, step: int, what: bytes) -> None:
        """Append one event: wall time, step, and a field."""
        event = double(1, time.time()) + field(2, step) + what
        length = struct.pack("<Q", len(event))
        with self.path.open("ab") as file:
            file.write(length + masked(length) + event + masked(event))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Write numbers by name."""
        shown = b"".join(field(1, field(1, name.encode()) + field(2, float(value))) for name, value in values.items())
        self.write(step, field(5, shown))

    def picture(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """Write a picture, uint8 (h, w, 3)."""
        coded = io.BytesIO()
        Image.fromarray(pixels).save(coded, "png")
        height, width = pixels.shape[:2]
        image = field(1, height) + field(2, width) + field(3, 3) + field(4, coded.getvalue())
        self.write(step, field(5, field(1, field(1, name.encode()) + field(4, image))))

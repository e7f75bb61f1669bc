"""Event files for TensorBoard, written without it: a few fields of a few protocol buffers.

A file is a sequence of records: length, its checksum, an `Event`, its checksum (TFRecord). Checksums are CRC-32C
(RFC 3720), rotated and shifted by a constant. Field numbers come from `event.proto` and `summary.proto` of
tensorflow/tensorboard (Apache-2.0).
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
    """Return the lookup table of CRC-32C, one entry a byte: polynomial 0x82F63B78, bits reversed."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


CRC_TABLE = crc_table()


def crc32c(data: bytes) -> int:
    """Return the CRC-32C of some bytes."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def masked_crc(data: bytes) -> bytes:
    """Return the checksum of some bytes as TFRecord stores it: rotated, plus a constant, little-endian."""
    crc = crc32c(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def encode_varint(value: int) -> bytes:
    """Encode a whole number from 0 on, seven bits a byte, lowest bits first."""
    pieces = bytearray()
    while value > 0x7F:
        pieces.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*pieces, value])


def encode_field(number: int, value: bytes | int | float) -> bytes:
    """Encode a field of a protocol buffer: bytes (also texts and messages), a whole number, or a 32-bit float."""
    if isinstance(value, bytes):
        return encode_varint(number << 3 | 2) + encode_varint(len(value)) + value
    if isinstance(value, int):
        return encode_varint(number << 3) + encode_varint(value)
    return encode_varint(number << 3 | 5) + struct.pack("<f", value)


def encode_double(number: int, value: float) -> bytes:
    """Encode a field that holds a 64-bit float."""
    return encode_varint(number << 3 | 1) + struct.pack("<d", value)


class EventWriter:
    """Writes a new event file in a folder.

    Args:
        folder: Made if missing.
        step: The step where the run begins. TensorBoard discards what older files of the folder say from there on.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        seconds, rest = divmod(time.time_ns(), 10**9)
        self.path = folder / f"events.out.tfevents.{seconds:010}.{os.getpid()}.{rest:09}"
        self.write_event(0, encode_field(3, b"brain.Event:2"))
        if step:
            self.write_event(step, encode_field(7, encode_field(1, 1)))  # SessionLog.START

    def write_event(self, step: int, field: bytes) -> None:
        """Append one event: wall time, step, and an encoded field."""
        event = encode_double(1, time.time()) + encode_field(2, step) + field
        length = struct.pack("<Q", len(event))
        with self.path.open("ab") as file:
            file.write(length + masked_crc(length) + event + masked_crc(event))

    def write_scalars(self, step: int, values: dict[str, float]) -> None:
        """Write numbers by name."""
        encoded = [
            encode_field(1, encode_field(1, name.encode()) + encode_field(2, float(value)))
            for name, value in values.items()
        ]
        self.write_event(step, encode_field(5, b"".join(encoded)))

    def write_image(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """Write a picture, uint8 (h, w, 3), as PNG."""
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "png")
        height, width = pixels.shape[:2]
        image = encode_field(1, height) + encode_field(2, width) + encode_field(3, 3) + encode_field(4, png.getvalue())
        self.write_event(
            step, encode_field(5, encode_field(1, encode_field(1, name.encode()) + encode_field(4, image)))
        )

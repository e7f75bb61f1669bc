"""Event files, read back by their published layout."""

import struct
from pathlib import Path

import numpy as np

from retint_models.training.events import EventWriter, crc32c, encode_field, encode_varint, masked_crc


def read_records(path: Path) -> list[bytes]:
    """Read the events of a file and check their checksums."""
    data, found = path.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        assert data[8:12] == masked_crc(data[:8])
        event, data = data[12 : 12 + length], data[12 + length :]
        assert data[:4] == masked_crc(event)
        data = data[4:]
        found.append(event)
    return found


def test_checksums_are_those_of_rfc_3720() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43


def test_numbers_are_written_as_protocol_buffers_have_them() -> None:
    assert encode_varint(300) == b"\xac\x02", "the example of protobuf's documentation"
    assert encode_field(2, b"testing") == b"\x12\x07testing", "likewise"
    assert encode_field(1, 150) == b"\x08\x96\x01", "likewise"


def test_a_file_holds_scalars_and_pictures_in_sound_records(tmp_path: Path) -> None:
    events = EventWriter(tmp_path)
    events.write_scalars(3, {"training/loss": 0.5})
    events.write_image(4, "samples", np.zeros((2, 5, 3), np.uint8))
    version, scalar, picture = read_records(events.path)
    assert version.endswith(encode_field(3, b"brain.Event:2"))
    assert scalar[9:] == encode_field(2, 3) + encode_field(
        5, encode_field(1, encode_field(1, b"training/loss") + encode_field(2, 0.5))
    )
    assert b"\x89PNG" in picture
    assert encode_field(1, 2) + encode_field(2, 5) + encode_field(3, 3) in picture


def test_what_a_resumed_run_repeats_is_declared_void(tmp_path: Path) -> None:
    assert any(
        event[9:] == encode_field(2, 12) + encode_field(7, encode_field(1, 1))
        for event in read_records(EventWriter(tmp_path, 12).path)
    )

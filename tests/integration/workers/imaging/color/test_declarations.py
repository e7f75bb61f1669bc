"""Profiles that a file has a place for and that nothing can be made of."""

from pathlib import Path

import pytest
from tests.described_photos import jpeg_with, png_with, webp_with

from retint_workers.imaging.color.declarations import UNUSABLE
from retint_workers.imaging.decoding.formats import read_header

BROKEN = b"not a profile"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("part 2 of 3.jpg", jpeg_with((0xE2, b"ICC_PROFILE\0\2\3" + BROKEN))),
        ("empty.jpg", jpeg_with((0xE2, b"ICC_PROFILE\0\1\1"))),
        ("not packed.png", png_with((b"iCCP", b"ICC Profile\0\0" + BROKEN))),
        ("nameless.png", png_with((b"iCCP", b""))),
        ("broken.webp", webp_with((b"ICCP", BROKEN))),
        ("empty.webp", webp_with((b"ICCP", b""))),
    ],
)
def test_a_profile_that_cannot_be_read_is_noted(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    header = read_header(tmp_path / name, 100)
    assert header.space.profile is None
    assert header.notes == [UNUSABLE]

"""JPEG in TIFF in the form of TIFF 6.0, section 22, as scanner software of the nineties wrote it."""

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests import photographs

from retint.errors import InvalidPhoto
from retint.recipes import parse
from retint.settings import Settings
from retint_workers.imaging.ingest import Ingested, ingest

PHOTO = photographs.color_photo(1, 96)[:70]


def write_tiff(path: Path, *, gray: bool = False, whole: bool = True, change: dict[int, Any] | None = None) -> Any:
    """Write a photo; where it is not whole the stream ends before its scan, which is the strip. Return its pixels."""
    pixels = photographs.to_gray(PHOTO) if gray else PHOTO
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=95)
    stream = buffer.getvalue()
    start_of_scan = stream.index(b"\xff\xda")
    scan = 0 if whole else start_of_scan + 2 + struct.unpack_from(">H", stream, start_of_scan + 2)[0]
    height, width = pixels.shape[:2]
    fields = {
        256: width, 257: height, 258: 8, 259: 6, 262: 1 if gray else 6, 273: 8 + scan, 277: 1 if gray else 3,
        278: height, 279: len(stream) - scan, 512: 1, 513: 8, 514: scan or len(stream),
    } | (change or {})  # fmt: skip
    entries = [struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(fields.items()) if value is not None]
    at = 8 + len(stream)
    directory = struct.pack("<H", len(entries)) + b"".join(entries) + bytes(4)
    if not gray:  # eight bits for each of three samples
        bits = struct.pack("<HHII", 258, 3, 3, at + len(directory))
        directory = directory.replace(struct.pack("<HHII", 258, 4, 1, 8), bits) + struct.pack("<3H", 8, 8, 8)
    path.write_bytes(struct.pack("<2sHI", b"II", 42, at) + stream + directory)
    return pixels


def ingest_file(path: Path) -> Ingested:
    return ingest(path, parse({"region": "whole"}), Settings())


@pytest.mark.parametrize("gray", [True, False])
@pytest.mark.parametrize("whole", [True, False])
def test_it_is_converted_as_others_read_it(gray: bool, whole: bool, tmp_path: Path) -> None:
    path = tmp_path / "kofax.tif"
    pixels = write_tiff(path, gray=gray, whole=whole)
    ingested = ingest_file(path)
    assert ingested.facts["bands"] == (1 if gray else 3)
    assert "JPEG in its old form" in " ".join(ingested.facts["notes"])
    proxy = np.asarray(Image.open(io.BytesIO(ingested.proxy))).astype(int)
    assert np.abs(proxy - (pixels[..., None] if gray else pixels)).mean() < 3


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({513: None, 514: None}, "later gave up"),
        ({513: 9}, "damaged"),
        ({513: 2**31}, "damaged"),
        ({256: 95}, "damaged"),
        ({514: 300, 279: 400, 273: 308}, "incomplete|damaged"),
        ({262: 5}, "samples are of a kind"),
    ],
)
def test_what_cannot_be_decoded_is_refused_in_a_sentence(change: dict[int, Any], sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "kofax.tif"
    write_tiff(path, change=change)
    with pytest.raises(InvalidPhoto, match=sentence):
        ingest_file(path)

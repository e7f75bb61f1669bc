"""Photographs from folders and shards, good ones and others."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.photographs import color_photo

from retint_models.datasets.photographs import open_photos


def jpeg(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


def test_a_folder_gives_its_photographs_and_counts_what_it_skips(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(jpeg(color_photo(0, 300)))
    (folder / "deep" / "b.jpg").write_bytes(jpeg(color_photo(1, 120)))
    (folder / "broken.jpg").write_bytes(jpeg(color_photo(2, 64))[:400])
    (folder / "text.png").write_text("no photograph")
    (folder / "gray.jpg").write_bytes(jpeg(color_photo(3, 64)[..., :1].repeat(3, 2)))
    (folder / "notes.txt").write_text("left alone")
    photos = open_photos(folder, tmp_path / "cache", short_side=128)
    assert [photo.shape for photo in photos] == [(128, 128, 3), (120, 120, 3)]
    assert photos.skipped == {"broken": 2, "gray": 1}
    assert np.abs(photos[1].astype(int) - color_photo(1, 120)).mean() < 4


def test_shards_are_decoded_once_with_what_the_manifest_says(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with tarfile.open(folder / "train-000.tar", "w") as shard:
        for number in range(3):
            member = tarfile.TarInfo(f"photo-{number}.jpg")
            data = jpeg(color_photo(number, 64))
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    (folder / "manifest.jsonl").write_text(json.dumps({"file": "photo-1.jpg", "source": "attic"}) + "\n")
    first = open_photos(folder, tmp_path / "cache")
    assert len(first) == 3
    assert [entry.get("source") for entry in first.entries] == [None, "attic", None]
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    again = open_photos(folder, tmp_path / "cache")
    assert np.array_equal(again[2], first[2])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == written


def test_a_broken_shard_gives_what_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with tarfile.open(folder / "whole.tar", "w") as shard:
        for number in range(2):
            member, data = tarfile.TarInfo(f"photo-{number}.jpg"), jpeg(color_photo(number, 64))
            member.size = len(data)
            shard.addfile(member, io.BytesIO(data))
    (folder / "cut.tar").write_bytes((folder / "whole.tar").read_bytes()[:2000])
    (folder / "text.tar").write_text("no shard at all")
    photos = open_photos(folder, tmp_path / "cache")
    assert len(photos) == 2
    assert photos.skipped == {"broken": 2}


def test_photographs_are_told_from_others(tmp_path: Path) -> None:
    identities = set()
    for count in (1, 2):
        folder = tmp_path / f"of-{count}"
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.jpg").write_bytes(jpeg(color_photo(number, 64)))
        identities.add(open_photos(folder, tmp_path / "cache").identity)
    assert len(identities) == 2


def test_a_folder_without_photographs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(FileNotFoundError, match=r"no usable photograph in .*in \(skipped: nothing\)"):
        open_photos(tmp_path / "in", tmp_path / "cache")

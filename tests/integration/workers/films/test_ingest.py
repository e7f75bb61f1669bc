"""Films at ingest: what is recognised as a film, and what is refused."""

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from tests import films

from retint import recipes
from retint.errors import InvalidPhoto
from retint.settings import Settings
from retint_workers.films import decoder, ingest

KEEP = recipes.parse({"colorizer": "keep", "defader": "keep"})


def cut_off(path: Path) -> Path:
    """The same file without its last third."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
    return path


def with_alpha(path: Path) -> Path:
    frames = [np.dstack([frame, np.full(frame.shape[:2], 99, np.uint8)]) for frame in films.two_scenes(4)]
    return films.write(path, frames, codec="qtrle", pixels="argb", sound=None)


def only_sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        films.write_tone(container, container.add_stream("aac", rate=films.SOUND_HZ), 1)
    return path


def garbage(path: Path, head: bytes) -> Path:
    path.write_bytes(head + np.random.default_rng(0).bytes(100_000))
    return path


FASTSTART = {"movflags": "+faststart"}
BAD = {
    "no pictures": (only_sound, ".mp4", "no_video"),
    "cut off, the index in front": (
        lambda path: cut_off(films.write(path, films.two_scenes(60), container_options=FASTSTART)), ".mp4", "truncated",
    ),
    "cut off, the index lost": (lambda path: cut_off(films.write(path, films.two_scenes(30))), ".mp4", "damaged"),
    "cut off Matroska": (lambda path: cut_off(films.write(path, films.two_scenes(60))), ".mkv", "truncated"),
    "no frames": (lambda path: films.write(path, [], sound=None), ".mkv", "damaged"),
    "frames too small": (
        lambda path: films.write(path, [np.zeros((2, 64, 3), np.uint8)] * 3, sound=None, codec="ffv1"),
        ".mkv",
        "too_small",
    ),
    "transparent": (with_alpha, ".mov", "transparent"),
    "garbage like MP4": (lambda path: garbage(path, b"\0\0\0\x18ftypisom\0\0\0\0isomiso2"), ".mp4", "damaged"),
    "garbage like Matroska": (lambda path: garbage(path, b"\x1aE\xdf\xa3"), ".mkv", "damaged"),
    "garbage like AVI": (lambda path: garbage(path, b"RIFF\0\0\1\0AVI LIST"), ".avi", "no_video"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_film_that_cannot_be_restored_is_refused_with_a_sentence(
    tmp_path: Path, settings: Settings, name: str
) -> None:
    make, suffix, code = BAD[name]
    path = make(tmp_path / f"film{suffix}")
    assert decoder.is_film(path)
    with pytest.raises(InvalidPhoto) as refusal:
        ingest.ingest(path, KEEP, settings)
    assert refusal.value.code == code
    assert refusal.value.message[0].isupper()
    assert refusal.value.message.endswith(".")


def test_a_film_with_more_gigapixels_than_allowed_is_refused_and_the_limit_is_said(
    tmp_path: Path, settings: Settings
) -> None:
    path = films.write(tmp_path / "film.mp4", films.pan(films.gray_photo("coffee"), 3), sound=None)
    with pytest.raises(InvalidPhoto, match=r"3 frames of 128 × 96 .* at most 0 are restored here"):
        ingest.ingest(path, KEEP, settings, limit_gp=0)


def test_films_are_told_by_content_not_by_name(tmp_path: Path) -> None:
    path = films.write(tmp_path / "film.jpg.mp4", films.pan(films.gray_photo("coffee"), 2))
    assert decoder.is_film(path.rename(tmp_path / "film.jpg"))
    still = tmp_path / "still.mp4"
    Image.fromarray(films.gray_photo("coffee")).save(still, "JPEG")
    playlist = tmp_path / "list.mp4"
    playlist.write_text("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n")
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert not any(decoder.is_film(path) for path in (still, playlist, empty))

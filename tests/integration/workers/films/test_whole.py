"""Whole files: names in any encoding, tags, sound and subtitles, and whose fault an error is."""

import os
from fractions import Fraction
from pathlib import Path

import av
import pytest
from tests import films
from tests.integration.workers.films.conftest import Restore

from retint import recipes
from retint.errors import InvalidPhoto, Transient
from retint.settings import Settings
from retint_workers.films import color_film, ingest, segments
from retint_workers.films.encoder import ffv1
from retint_workers.films.segments import SegmentWriter

KEEP = recipes.parse({"colorizer": "keep", "defader": "keep"})
SIZE = 96, 64


@pytest.mark.parametrize(
    "name",
    [b"M\xfcller.mp4", b"-i.mp4", b"100%d %s.mp4", b"file:film.mp4", b"a'b\"c\n.mp4", b"x" * 251 + b".mp4"],
    ids=["latin-1", "dash", "percent", "protocol", "quotes", "longest"],
)
def test_names_in_any_encoding_are_opened(tmp_path: Path, restore: Restore, name: bytes) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
    films.write(tmp_path / "film.mp4", films.two_scenes(2, SIZE)).rename(path)
    facts, rendered = restore(path, KEEP)
    assert facts["frames"] == len(films.decode(rendered.files["result"])[1]) == 2


UNKNOWN = {
    "PQ": ({"color_trc": 16}, "unknown_transfer", "PQ"),
    "HLG": ({"color_trc": 18}, "unknown_transfer", "HLG"),
    "linear": ({"color_trc": 8}, "unknown_transfer", "linear"),
    "logarithmic": ({"color_trc": 9}, "unknown_transfer", "logarithmic"),
    "YCgCo": ({"colorspace": 8}, "unknown_matrix", "number 8"),
}


@pytest.mark.parametrize("kind", UNKNOWN)
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "ffv1")])
def test_pixels_that_are_not_understood_are_refused(
    tmp_path: Path, settings: Settings, kind: str, suffix: str, codec: str
) -> None:
    context, code, word = UNKNOWN[kind]
    path = films.write(tmp_path / f"film{suffix}", films.two_scenes(2, SIZE), codec=codec, sound=None)
    marked = tmp_path / f"marked{suffix}"
    if codec == "libx264":
        films.write(marked, films.two_scenes(2, SIZE), sound=None, options=x264_says(context))
    else:
        say_in_container(path, marked, context)
    with pytest.raises(InvalidPhoto, match=word) as refusal:
        ingest.ingest(marked, KEEP, settings)
    assert refusal.value.code == code


def x264_says(context: dict[str, int]) -> dict[str, str]:
    """The encoder's options by which it says a curve or a matrix."""
    names = {"color_trc": "color_trc", "colorspace": "colorspace"}
    return {names[name]: str(value) for name, value in context.items()}


def say_in_container(path: Path, output: Path, context: dict[str, int]) -> None:
    """Copy a film into a container that says a curve or a matrix."""
    with av.open(str(path)) as container, av.open(str(output), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0], opaque=True)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)


@pytest.mark.parametrize("trc", [1, 4, 5, 6, 13, 14])
def test_ordinary_curves_are_taken_and_kept(tmp_path: Path, restore: Restore, trc: int) -> None:
    path = films.write(tmp_path / "film.mp4", films.two_scenes(2, SIZE), sound=None, color_trc=trc)
    _, rendered = restore(path, KEEP)
    assert films.decode(rendered.files["result"])[1][0].color_trc == films.decode(path)[1][0].color_trc == trc


@pytest.mark.parametrize("color_range", [1, 2])
@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "libx264"), (".mkv", "ffv1")])
def test_the_range_stays(tmp_path: Path, restore: Restore, suffix: str, codec: str, color_range: int) -> None:
    path = films.write(
        tmp_path / f"film{suffix}", films.two_scenes(2, SIZE), codec=codec, color_range=color_range, sound=None
    )
    _, rendered = restore(path, KEEP)
    before, after = (films.decode(each)[1][0] for each in (path, rendered.files["result"]))
    assert after.color_range == (before.color_range or 1) == color_range
    assert abs((films.luma(after) - films.luma(before)).mean()) < 0.5


def test_tags_that_the_container_cannot_hold_are_told(tmp_path: Path, restore: Restore) -> None:
    path = films.write(
        tmp_path / "film.mkv",
        films.two_scenes(2, SIZE),
        metadata={"title": "A walk", "ACCESSION": "1923.45.12", "comment": "Reel 3"},
    )
    _, rendered = restore(path, KEEP)
    with av.open(str(rendered.files["result"])) as container:
        tags = {name.lower(): value for name, value in container.metadata.items()}
    assert (tags["title"], tags["accession"]) == ("A walk", "1923.45.12")
    assert tags["comment"].startswith("Reel 3")
    assert rendered.facts["notes"] == []
    path = films.write(tmp_path / "film.wmv", films.two_scenes(2, SIZE), codec="wmv2", metadata={"WM/Mood": "calm"})
    _, rendered = restore(path, KEEP)
    assert "Tags of the film are left out, because mp4 cannot hold them: WM/Mood." in rendered.facts["notes"]


def test_own_tags_survive_in_mp4(tmp_path: Path, restore: Restore) -> None:
    path = films.write(
        tmp_path / "film.mov",
        films.two_scenes(2, SIZE),
        metadata={"title": "A walk", "accession": "1923.45.12"},
        container_options={"movflags": "+use_metadata_tags"},
    )
    with av.open(str(path)) as container:
        assert container.metadata["accession"] == "1923.45.12"
    _, rendered = restore(path, KEEP)
    with av.open(str(rendered.files["result"])) as container:
        kept = container.metadata.get("accession")
    assert kept == "1923.45.12" or any("accession" in note for note in rendered.facts["notes"])


def test_a_segment_that_cannot_be_written_is_not_the_films_fault(tmp_path: Path) -> None:
    settings = ffv1(96, 64, Fraction(24))
    frame = av.VideoFrame(96, 64, "yuv444p10le")
    frame.pts, frame.time_base = 0, Fraction(1, 24)
    with (
        pytest.raises(Transient, match="A segment of the film cannot be read or written"),
        SegmentWriter(tmp_path / "missing" / "picture-00000000.segment", settings) as writer,
    ):
        writer.write(frame)
    broken = tmp_path / "color.mkv"
    broken.write_bytes(b"\x1aE\xdf\xa3" + bytes(100))
    with pytest.raises(Transient, match="color layer cannot be read or written"):
        color_film.read_record(broken)
    assert segments.list_complete(tmp_path, "picture") == []

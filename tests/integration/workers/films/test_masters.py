"""Masters: films without loss come out without loss, ProRes as ProRes."""

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tests import films
from tests.integration.workers.films.conftest import Restore

from retint import recipes
from retint.settings import Settings
from retint_workers.films import codecs, ingest
from retint_workers.films.decoder import Film
from retint_workers.films.frame_format import FrameFormat
from retint_workers.films.frames import read_planes

KEEP = recipes.parse({"colorizer": "keep", "defader": "keep"})
COLOR = recipes.parse({"defader": "keep"})
SIZE = 96, 64
MASTERS = [
    ("ffv1", "yuv420p", ".mkv", "ffv1", "yuv420p", ".mkv"),
    ("ffv1", "yuv422p10le", ".mkv", "ffv1", "yuv422p10le", ".mkv"),
    ("ffv1", "yuv444p12le", ".mkv", "ffv1", "yuv444p12le", ".mkv"),
    ("ffv1", "yuv420p16le", ".mkv", "ffv1", "yuv420p16le", ".mkv"),
    ("ffv1", "yuv411p", ".avi", "ffv1", "yuv411p", ".mkv"),
    ("ffv1", "gray", ".mkv", "ffv1", "yuv444p", ".mkv"),
    ("ffv1", "gray16le", ".mkv", "ffv1", "yuv444p16le", ".mkv"),
    ("ffv1", "bgr0", ".mkv", "ffv1", "bgr0", ".mkv"),
    ("ffv1", "gbrp16le", ".mkv", "ffv1", "gbrp16le", ".mkv"),
    ("huffyuv", "yuv422p", ".avi", "ffv1", "yuv422p", ".mkv"),
    ("huffyuv", "rgb24", ".avi", "ffv1", "bgr0", ".mkv"),
    ("utvideo", "yuv420p", ".avi", "ffv1", "yuv420p", ".mkv"),
    ("rawvideo", "yuv420p", ".avi", "ffv1", "yuv420p", ".mkv"),
    ("rawvideo", "uyvy422", ".mov", "rawvideo", "uyvy422", ".mov"),
    ("rawvideo", "rgb24", ".mov", "ffv1", "bgr0", ".mkv"),
    ("v210", "yuv422p10le", ".mov", "v210", "yuv422p10le", ".mov"),
    ("v210", "yuv422p10le", ".avi", "ffv1", "yuv422p10le", ".mkv"),
    ("r210", "gbrp10le", ".mov", "ffv1", "gbrp10le", ".mkv"),
    ("jpeg2000", "yuv422p10le", ".mov", "ffv1", "yuv422p10le", ".mkv"),
    ("cfhd", "yuv422p10le", ".mov", "ffv1", "yuv422p10le", ".mkv"),
]
"""Codec, pixel format and suffix of the original, then of the result."""


def normalized(path: Path) -> list[Any]:
    with Film(path) as film:
        return list(film.frames())


def samples_of(frame: Any) -> list[Any]:
    """Return a frame's samples, without the bytes that fill up packed R'G'B'."""
    return [frame.reformat(format="rgb48le").to_ndarray()] if frame.format.is_rgb else read_planes(frame)


def luma_of(frame: Any) -> Any:
    return read_planes(frame)[0].astype(np.int64)


@pytest.mark.parametrize(("codec", "pixels", "suffix", "kept", "kept_pixels", "kept_suffix"), MASTERS)
def test_a_master_that_nobody_restores_keeps_every_bit(
    tmp_path: Path,
    restore: Restore,
    codec: str,
    pixels: str,
    suffix: str,
    kept: str,
    kept_pixels: str,
    kept_suffix: str,
) -> None:
    path = films.write(
        tmp_path / f"film{suffix}", films.two_scenes(4, SIZE), codec=codec, pixels=pixels, sound="pcm_s16le"
    )
    facts, rendered = restore(path, KEEP)
    result = rendered.files["result"]
    assert result.suffix == kept_suffix
    with av.open(str(result)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == (kept, kept_pixels)
        assert container.streams.audio[0].codec_context.name == "pcm_s16le"
    for one, other in zip(normalized(path), normalized(result), strict=True):
        assert all((a == b).all() for a, b in zip(samples_of(one), samples_of(other), strict=True))
    told = [note for note in facts["notes"] if "without loss" in note]
    assert bool(told) == ((codec, suffix) != (kept, kept_suffix))


@pytest.mark.parametrize(("profile", "pixels"), [("lt", "yuv422p10le"), ("hq", "yuv422p10le"), ("4444", "yuv444p10le")])
def test_prores_stays_prores_of_its_profile(tmp_path: Path, restore: Restore, profile: str, pixels: str) -> None:
    path = films.write(
        tmp_path / "film.mov",
        films.two_scenes(2, SIZE),
        codec="prores_ks",
        pixels=pixels,
        options={"profile": profile},
    )
    _, rendered = restore(path, KEEP)
    with av.open(str(path)) as one, av.open(str(rendered.files["result"])) as other:
        tags = [each.streams.video[0].codec_context.codec_tag for each in (one, other)]
    assert tags[0] == tags[1]
    before, after = films.decode(path)[1][0], films.decode(rendered.files["result"])[1][0]
    assert np.abs(films.luma(before) - films.luma(after)).mean() < 1


@pytest.mark.parametrize("pixels", ["gray", "gray16le", "yuv422p10le", "yuv420p"])
def test_color_leaves_a_masters_luma_alone(tmp_path: Path, restore: Restore, pixels: str) -> None:
    path = films.write(
        tmp_path / "film.mkv", films.pan(films.gray_photo("coffee"), 2, SIZE), codec="ffv1", pixels=pixels, sound=None
    )
    facts, rendered = restore(path, COLOR)
    result = rendered.files["result"]
    for before, after in zip(normalized(path), normalized(result), strict=True):
        full = (1 << facts["bits"]) - 1
        assert np.abs(luma_of(after) - luma_of(before)).max() <= max(1, full // 4000)
        chroma = read_planes(after)[1].astype(float) / full
        assert np.ptp(chroma) > 0.03
    assert facts["bits"] == normalized(result)[0].format.components[0].bits


def test_what_is_whiter_than_white_stays(tmp_path: Path, restore: Restore) -> None:
    path = films.write(
        tmp_path / "film.mkv", films.pan(films.gray_photo("coffee"), 2, SIZE), codec="ffv1", pixels="yuv422p10le"
    )
    bright = brighten(path, tmp_path / "bright.mkv")
    assert luma_of(normalized(bright)[0]).max() == 1019
    _, rendered = restore(bright, COLOR)
    result = normalized(rendered.files["result"])[0]
    assert np.abs(luma_of(result) - luma_of(normalized(bright)[0])).max() <= 1
    assert np.ptp(read_planes(result)[1].astype(int)) > 30


def brighten(path: Path, output: Path) -> Path:
    """Write a master again with luma stretched to all codes that video allows, 4 to 1019."""
    with av.open(str(path)) as container, av.open(str(output), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=films.RATE)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv422p10le"
        for frame in container.decode(video=0):
            luma = read_planes(frame)[0]
            stretched = (luma.astype(float) - luma.min()) / np.ptp(luma)
            copy = frame.reformat(format="yuv444p10le").reformat(format="yuv422p10le")
            copy.pts, copy.time_base = frame.pts, frame.time_base
            read_planes(copy)[0][:] = np.rint(4 + stretched * 1015)
            out.mux(stream.encode(copy))
        out.mux(stream.encode())
    return output


def test_an_opaque_alpha_channel_is_left_out_and_that_is_said(tmp_path: Path, settings: Settings) -> None:
    frames = [np.dstack([frame, np.full(frame.shape[:2], 255, np.uint8)]) for frame in films.two_scenes(2, SIZE)]
    path = films.write(tmp_path / "film.mkv", frames, codec="ffv1", pixels="yuva422p10le", sound=None)
    assert any("alpha channel" in note for note in ingest.ingest(path, KEEP, settings).facts["notes"])


def test_how_large_a_master_gets_is_said_beforehand(tmp_path: Path) -> None:
    path = films.write(tmp_path / "film.avi", films.two_scenes(2, SIZE), codec="huffyuv", pixels="yuv422p", sound=None)

    def notes_for(frames: int) -> list[str]:
        with Film(path) as film:
            frame_format = FrameFormat.read(next(film.frames()), film.stream)
            return codecs.describe_changes(film, frame_format, codecs.choose_result(film, frame_format), frames, 1000)

    assert notes_for(1_000_000)[-1] == "The result will have about 6 GB."
    assert len(notes_for(1000)) == 1


def test_h264_without_loss_stays_without_loss(tmp_path: Path, restore: Restore) -> None:
    path = films.write(tmp_path / "film.mp4", films.two_scenes(3, SIZE), options={"qp": "0"}, sound=None)
    _, rendered = restore(path, KEEP)
    for one, other in zip(normalized(path), normalized(rendered.files["result"]), strict=True):
        assert all((a == b).all() for a, b in zip(read_planes(one), read_planes(other), strict=True))


def test_a_codec_that_codes_frame_by_frame_gets_a_better_quality_and_that_is_said(
    tmp_path: Path, settings: Settings
) -> None:
    path = films.write(tmp_path / "film.avi", films.two_scenes(2, SIZE), codec="mjpeg", pixels="yuvj422p", sound=None)
    (note,) = ingest.ingest(path, KEEP, settings).facts["notes"]
    assert note == "The film's picture (mjpeg) becomes H.264 in MP4 of very high quality, which is not lossless."

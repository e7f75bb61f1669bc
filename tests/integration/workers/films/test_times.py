"""Frame rates, the last frame's duration, timecode: what a container says of time."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from tests import films
from tests.integration.workers.films.conftest import Restore

from retint import recipes
from retint_workers.films.decoder import Film

KEEP = recipes.parse({"colorizer": "keep", "defader": "keep"})
SIZE = 96, 64


def rates_and_duration(path: Path) -> tuple[Any, Any, float]:
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        return video.average_rate, video.base_rate, (container.duration or 0) / av.time_base


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".mov"])
@pytest.mark.parametrize("rate", [16, 18, 24, Fraction(24000, 1001), Fraction(50, 3)])
def test_the_frame_rate_and_the_whole_duration_stay(
    tmp_path: Path, restore: Restore, suffix: str, rate: Fraction | int
) -> None:
    path = films.write(tmp_path / f"film{suffix}", films.two_scenes(10, SIZE), rate=rate, sound=None)
    _, rendered = restore(path, KEEP)
    before, after = rates_and_duration(path), rates_and_duration(rendered.files["result"])
    assert after[0] == pytest.approx(float(before[0]), rel=1e-3)
    assert after[1] == pytest.approx(float(before[1]), rel=1e-3)
    assert after[2] == pytest.approx(before[2], abs=0.0015)
    for name in ("preview", "before"):
        assert rates_and_duration(rendered.files[name])[2] == pytest.approx(before[2], abs=0.0015)


@pytest.mark.case("57")
def test_a_small_gauge_master_in_matroska_keeps_its_rate(tmp_path: Path, restore: Restore) -> None:
    path = films.write(
        tmp_path / "film.mkv", films.two_scenes(10, SIZE), rate=18, codec="ffv1", pixels="gray", sound=None
    )
    _, rendered = restore(path, KEEP)
    rate, base, duration = rates_and_duration(rendered.files["result"])
    assert (rate, base) == (18, 18)
    assert duration == pytest.approx(10 / 18, abs=0.0015)


@pytest.mark.parametrize("codec", ["libx264", "prores_ks"])
def test_uneven_times_and_a_long_last_frame_stay(tmp_path: Path, restore: Restore, codec: str) -> None:
    pixels = {"libx264": "yuv420p", "prores_ks": "yuv422p10le"}[codec]
    path = hold_last_frame(
        films.write(
            tmp_path / "even.mov",
            films.two_scenes(6, SIZE),
            times=films.uneven_times(6),
            codec=codec,
            pixels=pixels,
            options={"bf": "0"} if codec == "libx264" else {},
            sound=None,
        ),
        tmp_path / "film.mov",
        seconds=2,
    )
    _, rendered = restore(path, KEEP)
    result = rendered.files["result"]
    assert films.decode(result)[0] == films.decode(path)[0]
    assert rates_and_duration(result)[2] == pytest.approx(rates_and_duration(path)[2], abs=0.0015)
    assert rates_and_duration(result)[2] > 2


def hold_last_frame(path: Path, output: Path, seconds: int) -> Path:
    """Copy a film so that its last frame lasts some seconds."""
    with av.open(str(path)) as container, av.open(str(output), "w") as out:
        stream = out.add_stream_from_template(container.streams.video[0], opaque=True)
        packets = [packet for packet in container.demux(video=0) if packet.size]
        packets[-1].duration = round(seconds / Fraction(packets[-1].time_base))
        for packet in packets:
            packet.stream = stream
            out.mux(packet)
    return output


def timecode_of(path: Path) -> str | None:
    with Film(path) as film:
        return film.timecode


@pytest.mark.parametrize(
    ("suffix", "codec", "pixels"),
    [
        (".mov", "libx264", "yuv420p"),
        (".mp4", "libx264", "yuv420p"),
        (".mov", "prores_ks", "yuv422p10le"),
        (".mov", "png", "rgb24"),
        (".mkv", "ffv1", "yuv420p"),
        (".mxf", "mpeg2video", "yuv422p"),
        (".mxf", "jpeg2000", "yuv422p"),
    ],
)
def test_the_timecode_stays(tmp_path: Path, restore: Restore, suffix: str, codec: str, pixels: str) -> None:
    path = films.write(
        tmp_path / f"film{suffix}",
        films.two_scenes(4, SIZE),
        rate=25,
        codec=codec,
        pixels=pixels,
        sound=None,
        metadata={"timecode": "10:20:30:12"},
    )
    assert timecode_of(path) == "10:20:30:12"
    facts, rendered = restore(path, KEEP)
    assert timecode_of(rendered.files["result"]) == "10:20:30:12"
    assert not [note for note in [*facts["notes"], *rendered.facts["notes"]] if "timecode" in note or "data" in note]


def test_a_rate_that_nobody_can_mean_is_not_believed(tmp_path: Path, restore: Restore) -> None:
    path = films.write(tmp_path / "film.dv", films.two_scenes(4, (720, 576)), rate=25, codec="dvvideo", sound=None)
    facts, rendered = restore(path, KEEP)
    assert facts["rate"] == 25
    assert rates_and_duration(rendered.files["result"])[0] == 25

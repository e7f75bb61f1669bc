"""Films through all stages: what of a film survives, and what its result looks like."""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from tests import films
from tests.integration.workers.films.restored_film import restore

from retint import recipes
from retint.errors import InvalidPhoto
from retint.settings import Settings
from retint_workers.films import color_film, decide, ingest, muxing, render
from retint_workers.films.frame_renderer import RenderRequest
from retint_workers.imaging import provenance
from retint_workers.inference import colorize as colorize_stage

KEEP = recipes.parse({"colorizer": "keep", "defader": "keep"})
COLOR = recipes.parse({"defader": "keep"})


def size(path: Path) -> tuple[int, int]:
    with Image.open(path) as image:
        return image.size


def test_a_film_keeps_its_frames_times_sound_and_words_and_gains_color(tmp_path: Path, settings: Settings) -> None:
    path = films.write(
        tmp_path / "film.mp4",
        films.two_scenes(40),
        times=films.uneven_times(40),
        metadata={"title": "A walk", "comment": "Reel 3"},
    )
    facts, rendered = restore(path, recipes.parse({}), settings)
    assert (facts["frames"], facts["scenes"], facts["kind"], facts["audio"]) == (40, [0, 20], "neutral", 1)
    result = rendered.files["result"]
    assert films.read_packets(result, "audio") == films.read_packets(path, "audio")
    before, after = films.decode(path), films.decode(result)
    assert after[0] == before[0]
    assert 0 < rendered.facts["luma_drift"] <= 1 / 255
    assert max(np.ptp(films.to_rgb(frame), axis=2).mean() for frame in after[1]) > 8
    with av.open(str(result)) as container:
        assert container.metadata["title"] == "A walk"
        assert container.metadata["comment"].startswith("Reel 3 The colors are conjecture")
        said = provenance.read_xmp(muxing.read_xmp(result, container))
    assert said["OriginalSHA256"] == facts["sha256"]
    assert said[provenance.SOURCE_TYPE] == provenance.INVENTED
    for name in ("preview", "before"):
        times, frames = films.decode(rendered.files[name])
        assert times == before[0]
        assert frames[0].format.name == "yuv420p"
        assert films.read_packets(rendered.files[name], "audio") == films.read_packets(path, "audio")
        boxes = rendered.files[name].read_bytes()
        assert boxes.index(b"moov") < boxes.index(b"mdat")
    assert size(rendered.files["thumb"]) == (128, 96)
    assert rendered.facts["cdc"] < rendered.facts["cdc_frame_by_frame"]


@pytest.mark.parametrize("turn", [0, -90])
def test_the_palette_lies_on_every_frame(turn: int, tmp_path: Path, settings: Settings) -> None:
    path = films.write(tmp_path / "film.mp4", films.two_scenes(6, (200, 160)), turn=turn)
    _, plain = restore(path, COLOR, settings)
    path.with_name(f"{path.name}.work").rename(tmp_path / "plain")
    marked_recipe = COLOR.model_copy(update={"watermark": True})
    _, marked = restore(path, marked_recipe, settings)
    plain_frames = films.decode(tmp_path / "plain" / plain.files["result"].name)[1]
    for bare, shown in zip(plain_frames, films.decode(marked.files["result"])[1], strict=True):
        changed = np.abs(films.to_rgb(shown).astype(int) - films.to_rgb(bare)).max(axis=2) > 40
        rows, columns = np.nonzero(changed)
        assert len(rows) > 40  # some sixty, as H.264 shows a small palette
        assert rows.mean() / shown.height > 0.8
        assert (columns.mean() / shown.width > 0.8) == (turn == -90)  # as stored: a viewer turns it
    with av.open(str(marked.files["result"])) as container:
        assert "palette" in provenance.read_xmp(muxing.read_xmp(marked.files["result"], container))["Watermark"]
    small = films.write(tmp_path / "small.mp4", films.two_scenes(2, (64, 48)))
    with pytest.raises(InvalidPhoto, match="too small for a watermark"):
        restore(small, marked_recipe, settings)


def test_colorizing_leaves_every_frame_its_light(tmp_path: Path, settings: Settings) -> None:
    path = films.write(
        tmp_path / "film.mp4", films.pan(films.gray_photo("chelsea"), 6, (320, 240)), options={"crf": "1"}
    )
    _, rendered = restore(path, COLOR, settings)
    for before, after in zip(films.decode(path)[1], films.decode(rendered.files["result"])[1], strict=True):
        off = films.luma(after) - films.luma(before)
        assert abs(off.mean()) < 0.5
        assert np.percentile(np.abs(off), 99) <= 8  # what H.264 does to it


def test_the_color_layer_is_a_film_that_anyone_can_open(tmp_path: Path, settings: Settings) -> None:
    path = films.write(tmp_path / "film.mp4", films.pan(films.gray_photo("astronaut"), 3))
    _, rendered = restore(path, COLOR, settings)
    color = tmp_path / "film.mp4.work" / "color.mkv"
    assert color_film.read_record(color)["colorizer"] == "compact"
    shown, result = (films.decode(each)[1] for each in (color, rendered.files["result"]))
    assert (shown[0].format.name, shown[0].color_range, shown[0].colorspace) == ("yuv444p10le", 2, 1)
    small = Image.fromarray(films.to_rgb(result[2]).astype(np.uint8)).resize((shown[2].width, shown[2].height))
    assert np.abs(films.to_rgb(shown[2]) - np.asarray(small)).mean() < 4


def test_matroska_keeps_subtitles_and_its_clock(tmp_path: Path, settings: Settings) -> None:
    silent = films.write(
        tmp_path / "silent.mkv", films.pan(films.gray_photo("rocket"), 12), times=films.uneven_times(12)
    )
    subtitles = tmp_path / "words.srt"
    subtitles.write_text("1\n00:00:00,100 --> 00:00:00,300\nHello\n\n2\n00:00:00,350 --> 00:00:00,450\nthere\n")
    path = tmp_path / "film.mkv"
    with av.open(str(silent)) as one, av.open(str(subtitles)) as two, av.open(str(path), "w") as out:
        streams = {id(each): out.add_stream_from_template(each, opaque=True) for each in (*one.streams, *two.streams)}
        for packet in (*one.demux(), *two.demux()):
            if packet.size:
                packet.stream = streams[id(packet.stream)]
                out.mux(packet)
    _, rendered = restore(path, COLOR, settings)
    result = rendered.files["result"]
    assert result.suffix == ".mkv"
    assert rendered.facts["format"] == "matroska"
    assert [text for _, text in films.read_packets(result, "subtitle")] == [b"Hello", b"there"]
    for kind in ("subtitle", "audio"):
        assert films.read_packets(result, kind) == films.read_packets(path, kind)
    assert films.decode(result)[0] == films.decode(path)[0]


def test_sound_that_mp4_cannot_hold_is_reencoded_and_that_is_said(tmp_path: Path, settings: Settings) -> None:
    path = films.write(
        tmp_path / "film.avi", films.pan(films.gray_photo("coffee"), 24), codec="mpeg4", sound="adpcm_ima_wav"
    )
    _, rendered = restore(path, KEEP, settings)
    assert rendered.files["result"].suffix == ".mp4"
    assert rendered.facts["notes"] == ["The sound was re-encoded as AAC, because mp4 cannot hold adpcm_ima_wav."]
    with av.open(str(rendered.files["result"])) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    assert 0.9 < len(sound) / films.SOUND_HZ < 1.2
    assert np.abs(np.fft.rfft(sound[8192:24576])).argmax() * films.SOUND_HZ / 16384 == pytest.approx(440, abs=5)
    times = films.decode(rendered.files["result"])[0]
    assert {later - sooner for sooner, later in pairwise(times)} == {Fraction(1, films.RATE)}


LATE = {"output_ts_offset": "100"}


def test_a_clock_that_runs_already_is_set_to_zero(tmp_path: Path, settings: Settings) -> None:
    path = films.write(
        tmp_path / "film.ts", films.pan(films.gray_photo("coffee"), 24), sound="mp2", container_options=LATE
    )
    _, rendered = restore(path, KEEP, settings)
    before, after = films.decode(path)[0], films.decode(rendered.files["result"])[0]
    assert before[0] >= 100
    assert after[0] < Fraction(1, 10)
    assert [time - after[0] for time in after] == [time - before[0] for time in before]


@pytest.mark.parametrize(
    ("pixels", "options", "kept"),
    [
        ("yuv420p", {"colorspace": 5, "color_range": 1}, ("yuv420p", 5, 1)),
        ("yuvj420p", {"colorspace": 1, "color_range": 2}, ("yuvj420p", 1, 2)),
        ("yuv422p", {"colorspace": 1, "color_range": 1}, ("yuv422p", 1, 1)),
        ("yuv420p10le", {"colorspace": 9, "color_range": 1}, ("yuv420p10le", 9, 1)),
    ],
)
def test_how_pixels_are_meant_survives(
    tmp_path: Path, settings: Settings, pixels: str, options: dict[str, Any], kept: tuple[str, int, int]
) -> None:
    path = films.write(tmp_path / "film.mp4", films.pan(films.gray_photo("coffee"), 3), pixels=pixels, **options)
    _, rendered = restore(path, COLOR, settings)
    (before, *_), (after, *_) = (films.decode(each)[1] for each in (path, rendered.files["result"]))
    assert (after.format.name, after.colorspace, after.color_range) == kept
    assert abs((films.luma(after) - films.luma(before)).mean()) < 0.5


def test_odd_sizes_and_wide_pixels_survive(tmp_path: Path, settings: Settings) -> None:
    frames = films.pan(films.gray_photo("coffee"), 3, (129, 97))
    path = films.write(tmp_path / "film.mp4", frames, pixels="yuv444p", sample_aspect_ratio=Fraction(16, 11))
    facts, rendered = restore(path, COLOR, settings)
    frame = films.decode(rendered.files["result"])[1][0]
    assert (frame.width, frame.height, facts["width"]) == (129, 97, 188)
    with av.open(str(rendered.files["result"])) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


def test_a_film_taken_on_its_side_is_looked_at_upright(tmp_path: Path, settings: Settings) -> None:
    upright = list(films.pan(films.gray_photo("astronaut"), 3, (96, 128)))
    path = films.write(tmp_path / "film.mp4", [np.rot90(frame) for frame in upright], turn=-90)
    facts, rendered = restore(path, COLOR, settings)
    assert (facts["width"], facts["height"], facts["orientation"]) == (96, 128, 6)
    frame = films.decode(rendered.files["result"])[1][0]
    assert (frame.width, frame.height, frame.rotation) == (128, 96, -90)
    straight = films.write(tmp_path / "straight.mp4", upright)
    _, other = restore(straight, COLOR, settings)
    colors = np.rot90(films.to_rgb(frame), -1), films.to_rgb(films.decode(other.files["result"])[1][0])
    chroma = [each - each.mean(axis=2, keepdims=True) for each in colors]
    assert np.corrcoef(chroma[0].ravel(), chroma[1].ravel())[0, 1] > 0.9
    assert size(rendered.files["thumb"]) == (96, 128)


def test_fields_stay_fields(tmp_path: Path, settings: Settings) -> None:
    options = {"x264-params": "tff=1"}
    frames = films.pan(films.gray_photo("coffee"), 4)
    path = films.write(tmp_path / "film.mp4", frames, options=options, flags=1 << 18)  # AV_CODEC_FLAG_INTERLACED_DCT
    assert films.decode(path)[1][0].interlaced_frame
    _, rendered = restore(path, KEEP, settings)
    assert films.decode(rendered.files["result"])[1][0].interlaced_frame


@pytest.mark.parametrize("count", [1, 2])
def test_the_shortest_films_are_films(tmp_path: Path, settings: Settings, count: int) -> None:
    path = films.write(tmp_path / "film.mp4", films.pan(films.gray_photo("coffee"), count), sound=None)
    facts, rendered = restore(path, recipes.parse({}), settings)
    assert facts["frames"] == len(films.decode(rendered.files["result"])[1]) == count
    assert (rendered.facts["cdc"] is None) == (count == 1)


def test_a_film_interrupted_when_all_its_segments_are_complete_is_finished(tmp_path: Path, settings: Settings) -> None:
    path = films.write(tmp_path / "film.mp4", films.two_scenes(30))
    _, rendered = restore(path, recipes.parse({}), settings)
    first = films.read_packets(rendered.files["result"], "video")
    folder = path.with_name(f"{path.name}.work")
    for name in ("color.mkv", "result.mp4"):
        (folder / name).unlink()
    facts = ingest.ingest(path, recipes.parse({}), settings).facts
    color, density = decide.decide(path, folder, facts, recipes.parse({}), settings)
    again = render.render(RenderRequest(path, folder, facts, recipes.parse({}), color, density), settings)
    assert films.read_packets(again.files["result"], "video") == first


def test_a_film_that_a_network_gives_no_color_stays_gray_and_says_so(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    colorize: Any = colorize_stage.colorize

    def find_no_color(*arguments: Any) -> Any:
        return (replace(layer, chroma=layer.chroma * np.float16(0)) for layer in colorize(*arguments))

    monkeypatch.setattr(colorize_stage, "colorize", find_no_color)
    path = films.write(tmp_path / "film.mp4", films.two_scenes(8))
    recipe = recipes.parse({"defader": "keep", "invert": True, "region": [[0.1, 0.1, 0.5, 0.5]]})
    facts, rendered = restore(path, recipe, settings)
    assert str(rendered.facts["colorless"]).startswith("The network found no color to give this film")
    assert "A film is restored as a whole and not inverted, whatever its recipe says." in facts["notes"]

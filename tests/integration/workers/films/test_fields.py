"""Interlaced films: fields stay fields, in their order, told by the stream and by the container."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from tests import films
from tests.integration.workers.films.conftest import Restore
from tests.paths import SHARED

from retint import recipes
from retint_workers.films.decoder import Film
from retint_workers.films.fields import FIELD_ORDERS
from retint_workers.films.frame_format import FrameFormat
from retint_workers.films.frames import FrameBuilder, FrameConverter, read_planes

KEEP = recipes.parse({"colorizer": "keep", "defader": "keep"})
COLOR = recipes.parse({"defader": "keep"})
CASE = SHARED / "cases" / "47-interlaced"
SMALL, PAL, NTSC = (96, 64), (720, 576), (720, 480)
PAL_RATE, NTSC_RATE = 25, Fraction(30000, 1001)
FILMS = [
    ("libx264", "yuv420p", ".mp4", "tff", SMALL, 24),
    ("libx264", "yuv420p", ".mov", "bff", SMALL, 24),
    ("libx264", "yuv422p10le", ".mkv", "bff", SMALL, 24),
    ("mpeg2video", "yuv420p", ".mpg", "tff", SMALL, 25),
    ("mpeg2video", "yuv422p", ".mov", "bff", SMALL, 25),
    ("dvvideo", "yuv420p", ".avi", "bff", PAL, PAL_RATE),
    ("dvvideo", "yuv411p", ".mov", "bff", NTSC, NTSC_RATE),
    ("ffv1", "yuv422p", ".mkv", "bff", SMALL, 25),
    ("ffv1", "yuv420p", ".mkv", "tff", SMALL, 25),
    ("v210", "yuv422p10le", ".mov", "tff", SMALL, 25),
    ("prores_ks", "yuv422p10le", ".mov", "bff", SMALL, 25),
]
"""Codec, pixel format, suffix, order of fields, size, frames per second."""


def container_order(path: Path) -> str | None:
    with av.open(str(path)) as container:
        return FIELD_ORDERS.get(container.streams.video[0].codec_context.field_order)


def fields_of(frame: Any) -> tuple[Any, Any]:
    luma = read_planes(frame)[0].astype(float)
    return luma[::2], luma[1::2]


@pytest.mark.parametrize(("codec", "pixels", "suffix", "order", "size", "rate"), FILMS)
def test_fields_stay_in_their_order(
    tmp_path: Path, restore: Restore, codec: str, pixels: str, suffix: str, order: str, size: tuple[int, int], rate: Any
) -> None:
    moments = list(films.pan(films.gray_photo("coffee"), 8, size))
    path = films.write(
        tmp_path / f"film{suffix}",
        films.interlaced(moments, order),
        codec=codec,
        pixels=pixels,
        fields=order,
        rate=rate,
        sound=None,
    )
    _, rendered = restore(path, KEEP)
    result = rendered.files["result"]
    with Film(path) as one, Film(result) as other:
        before, after = list(one.frames()), list(other.frames())
    assert films.field_orders(result) == [order] * 4
    assert container_order(result) == order
    for was, is_now in zip(before, after, strict=True):
        for field, kept in zip(fields_of(was), fields_of(is_now), strict=True):
            assert np.abs(field - kept).mean() < 3 * (1 << (was.format.components[0].bits - 8))


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv420p10le", "yuv422p"])
def test_chroma_of_one_field_does_not_reach_the_other(tmp_path: Path, pixels: str) -> None:
    red, blue = (np.full((64, 96, 3), color, np.uint8) for color in ((200, 40, 40), (40, 40, 200)))
    path = films.write(
        tmp_path / "film.mkv",
        films.interlaced([red, blue], "tff"),
        codec="ffv1",
        pixels=pixels,
        fields="tff",
        sound=None,
    )
    with Film(path) as film:
        frame = next(film.frames())
        frame_format = FrameFormat.read(frame, film.stream)
        converter = FrameConverter(frame_format)
        rgb = converter.to_rgb(frame)
        built = FrameBuilder(converter, frame_format, keep_beyond=False).build(rgb, frame)
    top, bottom = rgb[::2].mean(axis=(0, 1)), rgb[1::2].mean(axis=(0, 1))
    assert top[0] > 3 * top[2]
    assert bottom[2] > 3 * bottom[0]
    for one, other in zip(read_planes(frame), read_planes(built), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 3


def test_a_colored_interlaced_film_is_verified(tmp_path: Path, restore: Restore) -> None:
    picture = films.gray_photo("coffee")
    picture[:, ::2, 0] //= 2
    picture[::3, :, 2] //= 3
    moments = list(films.pan(picture, 4, (240, 180)))
    path = films.write(tmp_path / "film.mp4", films.interlaced(moments, "bff"), fields="bff", sound=None)
    facts, rendered = restore(path, KEEP.model_copy(update={"watermark": True}))
    assert facts["field_order"] == "bff"
    assert films.field_orders(rendered.files["result"]) == ["bff"] * 2


def test_a_container_is_believed_where_the_codec_does_not_know(tmp_path: Path, restore: Restore) -> None:
    path = films.write(
        tmp_path / "film.mkv", films.two_scenes(2, SMALL), codec="ffv1", pixels="yuv422p", field_order=3, sound=None
    )
    assert films.field_orders(path) == [None] * 2
    _, rendered = restore(path, KEEP)
    assert films.field_orders(rendered.files["result"]) == ["bff"] * 2
    assert container_order(rendered.files["result"]) == "bff"


def test_progressive_films_stay_progressive(tmp_path: Path, restore: Restore) -> None:
    path = films.write(tmp_path / "film.mkv", films.two_scenes(2, SMALL), sound=None)
    _, rendered = restore(path, KEEP)
    assert films.field_orders(rendered.files["result"]) == [None] * 2
    assert container_order(rendered.files["result"]) is None


@pytest.mark.case("47")
@pytest.mark.skipif(not CASE.is_dir(), reason=f"{CASE} is missing")
@pytest.mark.parametrize(("name", "order"), [("h264-tff.mp4", "tff"), ("dv-food-20.avi", "bff")])
def test_the_films_of_case_47(tmp_path: Path, restore: Restore, name: str, order: str) -> None:
    path = tmp_path / name
    path.write_bytes((CASE / name).read_bytes())
    _, rendered = restore(path, COLOR)
    assert set(films.field_orders(rendered.files["result"])) == {order}
    for before, after in zip(films.decode(path)[1], films.decode(rendered.files["result"])[1], strict=True):
        assert abs((films.luma(after) - films.luma(before)).mean()) < 0.5

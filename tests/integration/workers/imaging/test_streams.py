"""Strips: read ahead in a thread, and passed on to an encoder."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from tests.timing import AT_ONCE_S

from retint.errors import InvalidPhoto
from retint_workers.imaging.decoding.conversion import open_photo
from retint_workers.imaging.streams import StripPipe, fetch_strips, read_strips

SHAPES = [(1, 1, 1), (1, 2000, 3), (2000, 1, 1), (37, 23, 3), (16, 5, 3)]


def make_pixels(shape: tuple[int, int, int], dtype: Any) -> Any:
    pixels = np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)
    return pixels[..., 0] if shape[2] == 1 else pixels


def pass_strips(pixels: Any, rows: int, consume: Callable[[pyvips.Image], None]) -> None:
    shape = pixels.shape if pixels.ndim == 3 else (*pixels.shape, 1)
    with StripPipe(shape, pixels.itemsize * 8, consume) as pipe:
        for top in range(0, len(pixels), rows):
            pipe.write(pixels[top : top + rows])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [1, 7, 2000])
def test_an_encoder_gets_the_pixels_however_they_are_cut(shape: tuple[int, int, int], dtype: Any, rows: int) -> None:
    pixels, got = make_pixels(shape, dtype), []
    pass_strips(pixels, rows, lambda image: got.extend([image.xres, *(strip for _, strip in fetch_strips(image))]))
    assert got[0] == 1.0  # none is stated
    assert np.array_equal(np.concatenate(got[1:]), pixels)


def test_strips_may_be_read_only_parts_of_larger_arrays() -> None:
    whole, got = make_pixels((40, 30, 3), np.uint16), []
    part = whole[:, 5:15]
    part.flags.writeable = False
    pass_strips(part, 8, lambda image: got.append(image.numpy()))
    assert np.array_equal(got[0], part)


def test_rows_that_end_early_are_an_error() -> None:
    with pytest.raises(pyvips.Error), StripPipe((100, 20, 3), 8, lambda image: image.copy_memory()) as pipe:
        pipe.write(np.zeros((50, 20, 3), np.uint8))


@pytest.mark.parametrize("reads", [False, True])
def test_an_encoder_that_fails_stops_the_writer_and_says_why(reads: bool) -> None:
    def fail(image: pyvips.Image) -> None:
        if reads:
            image.crop(0, 0, 20, 1).avg()
        raise pyvips.Error("disk full")

    def write() -> None:
        with StripPipe((1000, 20, 3), 8, fail) as pipe:
            for _ in range(100):
                pipe.write(np.zeros((10, 20, 3), np.uint8))

    raised: list[BaseException] = []

    def run() -> None:
        try:
            write()
        except pyvips.Error as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(AT_ONCE_S)
    assert not thread.is_alive()
    assert "disk full" in str(raised[0])


def test_what_fails_while_strips_are_made_is_what_is_raised() -> None:
    with pytest.raises(ValueError, match="mine"), StripPipe((100, 20, 3), 8, lambda image: image.copy_memory()):
        raise ValueError("mine")


def write_photo(folder: Path) -> Path:
    path = folder / "photo.png"
    pyvips.Image.new_from_array(make_pixels((600, 9000, 3), np.uint8)).pngsave(str(path), compression=1)
    return path


def count_decoders() -> int:
    return sum(thread.name.startswith("retint-decoder") for thread in threading.enumerate())


def test_a_photo_is_read_ahead_and_given_up_at_any_strip(tmp_path: Path) -> None:
    header = open_photo(write_photo(tmp_path), 100, tmp_path)
    strips = read_strips(header, 7)
    tops = [top for top, _ in strips]
    assert len(tops) > 1
    assert not any(top % 7 for top in tops)
    again = read_strips(header, 7)
    assert np.array_equal(next(again)[1], make_pixels((600, 9000, 3), np.uint8)[: tops[1]])
    assert count_decoders() == 1
    again.close()
    assert count_decoders() == 0


def test_a_photo_that_is_damaged_further_down_is_an_error_where_it_is(tmp_path: Path) -> None:
    path = write_photo(tmp_path)
    header = open_photo(path, 100, tmp_path)
    path.write_bytes(path.read_bytes()[: 600 * 9000 * 2])
    strips = read_strips(header)
    next(strips)
    with pytest.raises(InvalidPhoto):
        list(strips)
    assert count_decoders() == 0

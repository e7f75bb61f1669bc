"""Color that holds still: cuts found, flicker gone, nothing smeared, and the index that measures it."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from tests import films

from retint_models.layers import rendering
from retint_models.layers.temporal import Consistency, SceneDetector, Smoother, jensen_shannon_divergence
from retint_models.layers.types import ColorLayer

SIZE = (170, 128)


def luma(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(frame).convert("L"))


def layer(frame: NDArray[np.uint8], chroma: NDArray[Any]) -> ColorLayer:
    light = (luma(frame) / 255).astype(np.float16)
    return ColorLayer(chroma.astype(np.float16), light, np.zeros(light.shape, np.uint8))


def flickering(frames: list[NDArray[np.uint8]], seed: int = 0) -> Iterator[ColorLayer]:
    """Layers whose colors follow luma, and jump from frame to frame as a network's do."""
    random = np.random.default_rng(seed)
    for frame in frames:
        light = luma(frame) / 255
        coarse = random.normal(0, 0.05, (2, 4, 5))
        jump = np.stack([np.asarray(Image.fromarray(c).resize(light.shape[::-1])) for c in coarse])
        yield layer(frame, np.stack([0.1 - 0.2 * light, 0.2 * light - 0.05]) + jump)


def consistency(layers: list[ColorLayer]) -> float:
    index = Consistency()
    for each in layers:
        gray = np.rint(each.luma.astype(np.float32) * 255).astype(np.uint8)
        index.add(rendering.apply(gray, 0, gray.shape, each, None))
    assert index.value is not None
    return index.value


def test_cuts_are_found_and_pans_exposure_grain_and_flashes_are_none() -> None:
    random = np.random.default_rng(1)
    frames = [*films.pan(films.gray_photo("astronaut"), 24), *films.pan(films.gray_photo("coffee"), 24)]
    frames += films.pan(films.gray_photo("chelsea"), 24)
    scenes = SceneDetector()
    for number, frame in enumerate(frames):
        exposed = luma(frame) * (1 + 0.2 * np.sin(number)) + random.normal(0, 6, frame.shape[:2])
        flash = number in (10, 55)
        scenes.add(np.full_like(frame[..., 0], 250) if flash else np.clip(exposed, 0, 255).astype(np.uint8))
    assert scenes.starts == [0, 24, 48]


def test_a_cut_from_black_is_a_cut_and_black_is_one_scene() -> None:
    scenes = SceneDetector()
    black = np.zeros((96, 128), np.uint8)
    for frame in [*[black] * 5, *[luma(f) for f in films.pan(films.gray_photo("coffee"), 5)]]:
        scenes.add(frame)
    assert scenes.starts == [0, 5]


def test_flicker_goes_and_the_index_says_so() -> None:
    frames = list(films.pan(films.gray_photo("astronaut"), 30, SIZE))
    plain = list(flickering(frames))
    smoother = Smoother()
    smooth = [smoother.smooth(each) for each in plain]
    assert consistency(smooth) < 0.5 * consistency(plain)


def test_what_moves_is_not_smeared() -> None:
    """A red disc on a blue ground, of other lightness, crosses the picture: it takes its color along."""
    rows, columns = np.mgrid[:128, :170]
    ground = luma(next(films.pan(films.gray_photo("moon"), 1, SIZE))) * 0.4
    smoother = Smoother()
    for number in range(20):
        disc = (columns - 20 - 5 * number) ** 2 + (rows - 64) ** 2 < 400
        frame = np.repeat(np.where(disc, 200, ground).astype(np.uint8)[..., None], 3, 2)
        red = np.where(disc, 0.2, -0.1)
        smooth = smoother.smooth(layer(frame, np.stack([-red, red])))
    off = np.abs(smooth.chroma[1].astype(np.float64) - red)
    assert off.mean() < 0.005
    assert np.percentile(off, 99) < 0.1


def test_nothing_is_remembered_across_a_cut() -> None:
    frames = films.two_scenes(10)
    smoother = Smoother()
    layers = list(flickering(frames))
    for number, each in enumerate(layers):
        if number == 5:
            smoother.start_scene()
        smooth = smoother.smooth(each)
        if number in (0, 5):
            assert np.array_equal(smooth.chroma, each.chroma)


def test_what_was_interrupted_goes_on_in_the_same_way() -> None:
    layers = list(flickering(list(films.pan(films.gray_photo("coffee"), 8, SIZE))))
    straight, index = Smoother(), Consistency()
    smooth = [straight.smooth(each) for each in layers]
    resumed, other = Smoother(), Consistency()
    for number, each in enumerate(layers):
        assert np.array_equal(resumed.smooth(each).chroma, smooth[number].chroma)
        picture = np.asarray(each.luma.astype(np.float32)[..., None] * [255, 200, 100], np.uint8)
        index.add(picture)
        other.add(picture)
        resumed, other = Smoother(resumed.state), Consistency(other.state)
    assert other.value == index.value


def test_the_index_is_that_of_the_paper() -> None:
    """Two frames that share no value in any channel: ln 2 at distance 1, and nothing else to take the mean with."""
    index = Consistency()
    assert index.value is None
    index.add(np.full((4, 4, 3), 10, np.uint8))
    index.add(np.full((4, 4, 3), 20, np.uint8))
    assert index.value == pytest.approx(np.log(2))
    index.add(np.full((4, 4, 3), 10, np.uint8))  # at distance 1 ln 2 again, at distance 2 nothing
    assert index.value == pytest.approx(np.log(2) / 2)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.lists(st.floats(0, 1), min_size=4, max_size=4))
@settings(deadline=None)
def test_divergence_is_symmetric_and_bounded(one: list[float], two: list[float]) -> None:
    p, q = ((np.array(each) + 0.01) / (np.array(each) + 0.01).sum() for each in (one, two))
    assert jensen_shannon_divergence(p, q) == pytest.approx(jensen_shannon_divergence(q, p))
    assert -1e-12 <= jensen_shannon_divergence(p, q) <= np.log(2)
    assert jensen_shannon_divergence(p, p) == pytest.approx(0)


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (7, 300)])
def test_layers_of_any_size_are_smoothed(size: tuple[int, int]) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (*size, 3)).astype(np.uint8)
    smoother = Smoother()
    for _ in range(3):
        smooth = smoother.smooth(layer(frame, np.full((2, *size), 0.1)))
    assert np.allclose(smooth.chroma, 0.1, atol=1e-3)

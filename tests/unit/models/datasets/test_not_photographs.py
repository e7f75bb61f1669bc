"""Pictures that are no photographs: gray, sound, the same for a seed, and of many kinds that differ."""

import zlib

import numpy as np
import pytest
from tests.photographs import color_photo

from retint_models.datasets import not_photographs as drawn
from retint_models.datasets import reproductions
from retint_models.datasets.fading import Floats, as_floats
from retint_models.layers.color import rec709_luma

KINDS = [*drawn.DRAWN, *drawn.FROM_PHOTOGRAPHS]


@pytest.fixture(scope="module")
def photograph() -> Floats:
    """The luma of a photograph that is wider than high."""
    luma: Floats = rec709_luma(as_floats(color_photo(1)[:180]))[..., 0]
    return luma


def draw(kind: str | None, seed: int, photograph: Floats | None, side: int = 96) -> Floats:
    rng = np.random.default_rng((zlib.crc32((kind or "").encode()), seed))
    return drawn.draw_not_photograph(rng, side, photograph, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_is_gray_in_range_and_of_its_side(kind: str, photograph: Floats) -> None:
    for seed, side in enumerate((64, 96, 161)):
        picture = draw(kind, seed, photograph, side)
        assert picture.dtype == np.float32
        assert picture.shape == (side, side)
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
        assert picture.max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_draws_the_same_picture_again(kind: str, photograph: Floats) -> None:
    before = photograph.copy()
    one, same, other = (draw(kind, seed, photograph) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)
    assert np.array_equal(photograph, before), "the photograph is left as it was"


def test_kinds_come_in_their_shares(photograph: Floats, monkeypatch: pytest.MonkeyPatch) -> None:
    shares = {kind: share for kind, (share, _) in (drawn.DRAWN | drawn.FROM_PHOTOGRAPHS).items()}
    assert sum(shares.values()) == pytest.approx(1)
    for kinds in (drawn.DRAWN, drawn.FROM_PHOTOGRAPHS):
        for number, kind in enumerate(kinds):  # each leaves its number as a gray, to be told without drawing it
            gray = np.full((128, 128), (number + 1) / 20 + (kinds is drawn.DRAWN) / 40, np.float32)
            monkeypatch.setitem(kinds, kind, (shares[kind], lambda *_, gray=gray: gray))
    monkeypatch.setattr(drawn, "scan_at_random", lambda picture, *_, is_sharp: picture)
    grays = {kind: draw(kind, 0, photograph, 64)[0, 0] for kind in KINDS}
    rng = np.random.default_rng(3)
    seen = [drawn.draw_not_photograph(rng, 64, photograph)[0, 0] for _ in range(2000)]
    assert {kind: seen.count(gray) / 2000 for kind, gray in grays.items()} == pytest.approx(shares, abs=0.025)
    alone = {drawn.draw_not_photograph(rng, 64)[0, 0] for _ in range(500)}
    assert alone == {grays[kind] for kind in drawn.DRAWN}, "without a photograph nothing is made from one"


def test_blank_kinds_have_little_to_see_and_pages_have_ink(photograph: Floats) -> None:
    """Where nothing is drawn, neighbors are alike; ink makes edges."""

    def edges(kind: str) -> float:
        pictures = [draw(kind, seed, photograph) for seed in range(12)]
        return float(np.median([np.quantile(np.abs(np.diff(picture, axis=0)), 0.98) for picture in pictures]))

    blank = max(edges(kind) for kind in ("uniform", "paper", "fog"))
    assert min(edges(kind) for kind in ("text page", "form", "map", "engraving", "halftone", "newspaper")) > 2 * blank


def test_pictures_of_one_kind_are_of_every_gray(photograph: Floats) -> None:
    for kind in ("uniform", "paper", "fog"):
        means = [float(draw(kind, seed, photograph).mean()) for seed in range(40)]
        assert np.ptp(means) > 0.6, kind


def test_a_negative_is_dark_where_the_photograph_is_light(photograph: Floats) -> None:
    square = drawn.cut_square(photograph, 128)
    for seed in range(8):
        negative = reproductions.make_negative(np.random.default_rng(seed), square)
        inside = slice(20, -20)
        assert np.corrcoef(negative[inside, inside].ravel(), square[inside, inside].ravel())[0, 1] < -0.5


@pytest.mark.parametrize("kind", ["engraving", "halftone"])
def test_the_screen_of_a_reproduction_is_seen(kind: str, photograph: Floats) -> None:
    """A fine screen would look like the photograph, whose color a network should tell."""

    def fineness(picture: Floats) -> float:
        """How much of a picture's variation lies within cells of 8 x 8 pixels."""
        cells = picture.reshape(12, 8, 12, 8)
        return float((cells - cells.mean((1, 3), keepdims=True)).std() / picture.std())

    assert fineness(drawn.cut_square(photograph, 96)) < 0.7
    assert np.median([fineness(draw(kind, seed, photograph)) for seed in range(12)]) > 0.85


def test_a_picture_too_small_or_of_no_kind_is_refused(photograph: Floats) -> None:
    with pytest.raises(ValueError, match="draw at least 64"):
        draw(None, 0, photograph, 63)
    with pytest.raises(ValueError, match="no kind 'poem'"):
        draw("poem", 0, photograph)
    with pytest.raises(ValueError, match="no kind 'negative'"):
        draw("negative", 0, None)

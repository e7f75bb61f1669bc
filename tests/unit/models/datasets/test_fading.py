"""Old prints, simulated: each step does what its physics says."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from retint_models.datasets import fading
from retint_models.layers.color import rec709_chroma, rec709_luma

DIAGONAL = np.eye(3, dtype=np.float32)


@pytest.fixture
def densities() -> fading.Floats:
    """Densities of a small picture, from near white to near black."""
    return np.random.default_rng(5).uniform(0.05, 2.4, (24, 32, 3)).astype(np.float32)


@pytest.fixture
def photograph() -> fading.Floats:
    """A small color picture with soft shapes."""
    rows, columns = np.mgrid[0:48, 0:64].astype(np.float32) / 64
    return np.stack([columns, rows, 0.5 + 0.4 * np.sin(9 * columns) * np.cos(7 * rows)], axis=-1).astype(np.float32)


def test_dyes_fade_by_multiplication(densities: fading.Floats) -> None:
    faded = fading.fade_dyes(densities, DIAGONAL, np.array([0.5, 0, 0.2], np.float32))
    assert faded == pytest.approx(densities * np.array([0.5, 1, 0.8]), abs=1e-6)


def test_a_dye_that_absorbs_elsewhere_takes_that_density_along(densities: fading.Floats) -> None:
    absorption = DIAGONAL.copy()
    absorption[2, 1] = 0.3  # magenta in blue
    change = fading.fade_dyes(densities, absorption, np.array([0, 0.4, 0], np.float32)) - densities
    assert change[..., 1] == pytest.approx(-0.4 * densities[..., 1], abs=1e-5)
    assert change[..., 2] == pytest.approx(0.3 * change[..., 1], abs=1e-5)


def test_more_loss_leaves_less_density(densities: fading.Floats) -> None:
    left = [fading.fade_dyes(densities, DIAGONAL, np.full(3, loss, np.float32)) for loss in (0, 0.2, 0.5, 0.9)]
    assert all((more < less).all() for less, more in pairwise(left))


def test_a_shield_spares_dense_places() -> None:
    densities = np.array([[[0.1] * 3, [2.2] * 3]], np.float32)
    thin, dense = fading.shielded_loss(densities, np.full(3, 0.6, np.float32), 0.5)[0, :, 0]
    assert dense < thin == pytest.approx(0.6, rel=0.03)


def test_a_stain_adds_its_density(densities: fading.Floats) -> None:
    added = np.array([0.02, 0.1, 0.3], np.float32)
    assert fading.stain(densities, added) - densities == pytest.approx(
        np.broadcast_to(added, densities.shape), abs=1e-6
    )


def test_oxidised_silver_turns_brown_and_loses_its_highlights_first(densities: fading.Floats) -> None:
    gray = densities[..., :1].repeat(3, -1)
    left = fading.oxidise(gray, 0.5, np.array([1, 0.9, 0.6], np.float32), toe=0.6) / gray
    assert (left[..., 0] < left[..., 1]).all()
    assert (left[..., 1] < left[..., 2]).all(), "most density is left in blue: the print looks brown"
    light, dark = left[gray < 0.3].mean(), left[gray > 2].mean()
    assert light < dark - 0.1


def test_flare_lifts_blacks_and_keeps_the_mean() -> None:
    linear = np.random.default_rng(1).uniform(0, 1, (20, 20, 3)).astype(np.float32)
    scanned = fading.scan(linear, 0.07, np.ones(3, np.float32))
    assert scanned.min() > linear.min()
    assert scanned.mean() == pytest.approx(linear.mean(), rel=1e-5)


def test_ordinary_light_changes_nothing(photograph: fading.Floats) -> None:
    inside = np.clip(photograph, 0.01, 0.99)
    assert fading.relight(inside, 1, 0) == pytest.approx(inside, abs=1e-6)
    assert (fading.relight(inside, 1, 1) > inside).all()


def test_the_rim_is_the_edge_and_the_field_is_smooth() -> None:
    rim = fading.edge_proximity((60, 90), 0.1)[..., 0]
    assert rim[0].min() == rim[:, -1].min() == 1
    assert rim[30, 45] < 0.02
    field = fading.smooth_field((60, 90), 4, np.random.default_rng(2))[..., 0]
    assert np.abs(np.diff(field, axis=0)).max() < 0.12
    assert field.std() > 0.1


@pytest.mark.parametrize("family", fading.SHARES)
def test_a_seed_makes_the_same_print_again(photograph: fading.Floats, family: fading.Family) -> None:
    one, same, other = (fading.simulate(photograph, np.random.default_rng(seed), family) for seed in (1, 1, 4))
    assert np.array_equal(one.print, same.print)
    if family != "clean":
        assert not np.array_equal(one.print, other.print)
    assert one.print.shape == one.truth.shape == photograph.shape
    assert one.print.min() >= 0
    assert one.print.max() <= 1


def test_a_clean_photograph_is_its_own_truth(photograph: fading.Floats) -> None:
    for seed in range(8):
        pair = fading.simulate(photograph, np.random.default_rng(seed), "clean")
        assert np.array_equal(pair.print, pair.truth)


def test_families_come_in_their_shares() -> None:
    rng = np.random.default_rng(0)
    drawn = [fading.draw_family(rng) for _ in range(600)]
    assert sum(fading.SHARES.values()) == pytest.approx(1)
    for family, share in fading.SHARES.items():
        assert drawn.count(family) / len(drawn) == pytest.approx(share, abs=0.06)


def test_a_tinted_print_carries_the_chroma_of_its_truth(photograph: fading.Floats) -> None:
    pair = fading.simulate(0.2 + 0.6 * photograph, np.random.default_rng(3), "tinted")
    told = np.abs(rec709_chroma(pair.print) - rec709_chroma(pair.truth))
    assert np.quantile(told, 0.8) < 0.01, "but for the gamut, chroma is the same before and after"
    assert np.abs(rec709_chroma(pair.truth)).max() > 0.02
    assert np.abs(rec709_luma(pair.print) - rec709_luma(pair.truth)).mean() > 0.02


@pytest.mark.parametrize("family", ["silver", "toned", "gray"])
def test_a_silver_print_becomes_the_gray_of_its_photograph(photograph: fading.Floats, family: fading.Family) -> None:
    pair = fading.simulate(photograph, np.random.default_rng(2), family)
    assert np.ptp(pair.truth, axis=-1).max() == 0
    assert rec709_luma(pair.truth) == pytest.approx(rec709_luma(photograph), abs=1e-6)
    assert (np.ptp(pair.print, axis=-1).max() == 0) == (family == "gray")


def test_a_toned_print_is_browner_than_one_that_faded(photograph: fading.Floats) -> None:
    def brown(family: fading.Family) -> float:
        prints = [fading.simulate(photograph, np.random.default_rng(seed), family).print for seed in range(40)]
        return float(np.mean([print_[..., 0] - print_[..., 2] for print_ in prints]))

    assert brown("toned") > 1.15 * brown("silver")


def test_toning_leaves_less_density_in_red_and_more_in_blue(densities: fading.Floats) -> None:
    gray = densities[..., :1].repeat(3, -1)
    red, green, blue = np.moveaxis(fading.tone(gray, np.random.default_rng(4)) / gray, -1, 0)
    assert (red < green).all()
    assert (green < blue).all()


def test_an_old_print_is_gray_gone_brown_and_paler(photograph: fading.Floats) -> None:
    clean = fading.as_bytes(photograph)
    old = fading.make_old_print(clean, seed=3)
    assert np.array_equal(old, fading.make_old_print(clean, seed=3))
    assert not np.array_equal(old, fading.make_old_print(clean, seed=4))
    red, green, blue = old.reshape(-1, 3).mean(0)
    assert red > green > blue
    assert rec709_luma(fading.as_floats(old)).std() < 0.9 * rec709_luma(photograph).std()


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_photograph_is_refused(wrong: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        fading.make_old_print(wrong, seed=1)


@pytest.mark.parametrize(("contrast", "factor"), [(0.5, 1.5), (-0.5, 1 / 1.5), (0.0, 1.0)])
def test_the_light_of_2018_scales_around_the_mean_and_adds(
    contrast: float, factor: float, photograph: fading.Floats
) -> None:
    middle = 0.4 + 0.2 * photograph  # far enough from black and white that nothing is clipped
    made = fading.relight_2018(middle, 0.1, contrast)
    assert made.mean() == pytest.approx(middle.mean() + 0.1, abs=1e-5)
    assert made.std() == pytest.approx(factor * middle.std(), rel=1e-4)
    assert fading.relight_2018(photograph, 0.5, 0.5).max() == 1

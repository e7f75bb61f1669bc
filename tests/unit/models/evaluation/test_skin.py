"""Skin that is found by its color, and errors on it."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from retint_models.evaluation.skin import find_skin, score_skin
from retint_models.networks.color import rgb_to_lab


def paint(*colors: tuple[int, int, int], side: int = 60) -> Tensor:
    """Return stripes of colors in CIELAB (3, side, side * number)."""
    stripes = np.repeat(np.array([colors], np.uint8), side, axis=0).repeat(side, axis=1)
    return rgb_to_lab(torch.from_numpy(stripes).permute(2, 0, 1).float() / 255)


LIGHT, DARK, GRASS, SKY, RED_CLOTH = (224, 172, 146), (104, 70, 54), (90, 130, 60), (120, 160, 210), (190, 40, 40)


def test_light_and_dark_skin_is_found_and_grass_sky_and_red_cloth_are_not() -> None:
    found = find_skin(paint(LIGHT, DARK, GRASS, SKY, RED_CLOTH)).float().view(60, 5, 60).mean((0, 2))
    assert found.tolist() == [1, 1, 0, 0, 0]


def test_specks_are_not_skin() -> None:
    lab = paint(GRASS)
    lab[:, 10:13, 10:40] = paint(LIGHT)[:, :3, :30]
    assert not find_skin(lab).any()
    lab[:, 30:36, 10:40] = paint(LIGHT)[:, :6, :30]
    assert int(find_skin(lab).sum()) == 6 * 30


def test_errors_elsewhere_do_not_count_and_red_cheeks_do() -> None:
    true = paint(LIGHT, SKY)
    wrong_sky, red = true.clone(), true.clone()
    wrong_sky[1, :, 60:] += 30
    red[1, :15, :60] += 20
    assert score_skin(wrong_sky, true) == pytest.approx({"skin": 0, "skin_redder": 0, "red_cheeks": 0}, abs=1e-4)
    scores = score_skin(red, true)
    assert scores["red_cheeks"] == pytest.approx(15 / 60)
    assert scores["skin_redder"] == pytest.approx(20 * 15 / 60)
    assert 2 < scores["skin"] < 6
    pale = true.clone()
    pale[1, :, :60] -= 20
    assert score_skin(pale, true)["red_cheeks"] == 0


def test_a_picture_with_hardly_any_skin_has_no_score() -> None:
    lab = paint(GRASS, SKY)
    lab[:, :6, :6] = paint(LIGHT)[:, :6, :6]
    assert find_skin(lab).any()
    assert all(math.isnan(score) for score in score_skin(lab, lab).values())

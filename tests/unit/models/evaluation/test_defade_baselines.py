"""Classic repairs of prints whose repair is known."""

import numpy as np
from tests import photographs

from retint_models.evaluation.defade_baselines import auto_levels, auto_levels_joint, clahe, gray_world


def test_auto_levels_give_a_flat_cast_print_its_range_and_its_neutral_back() -> None:
    ramp = np.linspace(0, 255, 200)[:, None, None] * np.ones((1, 20, 3))
    flat = (60 + 0.4 * ramp * np.array([1, 0.9, 0.7])).astype(np.uint8)
    restored = auto_levels(flat)
    assert restored.min() == 0
    assert restored.max() == 255
    assert np.ptp(restored.astype(int), axis=-1).max() <= 6
    joint = auto_levels_joint(flat)
    assert np.ptp(joint[-1, 0].astype(int)) > 40, "stretched together, the cast stays"


def test_gray_world_evens_out_the_means() -> None:
    cast = np.full((8, 8, 3), (160, 120, 80), np.uint8)
    assert np.ptp(gray_world(cast)[0, 0].astype(int)) <= 1


def test_clahe_raises_local_contrast() -> None:
    flat = (100 + photographs.color_photo(0, side=96) // 5).astype(np.uint8)
    assert clahe(flat).std() > 1.5 * flat.std()

"""Telling gray, toned and color photographs apart."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import photographs

from retint_models.datasets import fading
from retint_workers.imaging.kinds import detect_kind

DATA = Path("../shared/data")
OLD_IN_COLOR = {8, 9, 10, 11, 12, 25}
"""Which of the historical photographs are in color: autochromes, a tinted postcard, snapshots. By eye."""


@pytest.mark.parametrize("number", range(8))
def test_a_photograph_is_recognized_in_color_gray_and_toned(number: int) -> None:
    photo = photographs.color_photo(number)
    gray = photographs.to_gray(photo)
    assert detect_kind(photo) == "color"
    assert detect_kind(np.repeat(gray[..., None], 3, axis=2)) == "neutral"
    assert detect_kind(photographs.to_sepia(gray)) == "toned"
    assert detect_kind(photographs.to_sepia(gray)[..., ::-1]) == "toned"  # a cyanotype's blue
    assert detect_kind(fading.make_old_print(photo, number)) in ("toned", "neutral")


def test_a_toned_print_on_a_colored_mount_is_toned() -> None:
    mounted = photographs.to_sepia(photographs.to_gray(photographs.color_photo(0, 256)))
    mounted[:, :6] = mounted[:, -6:] = (150, 20, 30)
    assert detect_kind(mounted) == "toned"


def test_a_gray_photo_with_the_noise_of_a_color_scanner_is_neutral() -> None:
    gray = np.repeat(photographs.to_gray(photographs.color_photo(0, 700))[..., None], 3, axis=2)
    noisy = gray + np.random.default_rng(0).normal(0, 6, gray.shape)
    assert detect_kind(np.clip(noisy, 0, 255).astype(np.uint8)) == "neutral"


def test_kinds_of_real_photographs_are_recognized() -> None:
    if not DATA.exists():
        pytest.skip("needs ../shared/data, the project's photographs")
    colored = [
        detect_kind(np.asarray(Image.open(file).convert("RGB"))) for file in sorted((DATA / "dev").glob("*.jpg"))
    ]
    assert colored.count("color") >= 0.99 * len(colored)
    old = {int(file.stem[-2:]): file for file in (DATA / "historical").glob("*.jpg")}
    kinds = {number: detect_kind(np.asarray(Image.open(file).convert("RGB"))) for number, file in old.items()}
    assert all(kinds[number] == "color" for number in OLD_IN_COLOR)
    monochrome = [kind for number, kind in kinds.items() if number not in OLD_IN_COLOR]
    assert sum(kind != "color" for kind in monochrome) >= 27

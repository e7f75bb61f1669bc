"""Telling gray, toned and color photographs apart, and these from what is no photograph."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from tests import photographs, scans

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


@pytest.mark.parametrize("number", range(4))
def test_an_empty_page_is_blank(number: int) -> None:
    assert detect_kind(scans.make_blank(number)) == "blank"


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((1, 1, 3), 9, np.uint8),
        np.full((1, 20_000, 3), 200, np.uint8),
        np.repeat(np.linspace(0, 220, 320).astype(np.uint8)[None, :, None], 240, axis=0).repeat(3, axis=2),
        np.clip(np.random.default_rng(0).normal(128, 10, (400, 500, 3)), 0, 255).astype(np.uint8),
    ],
    ids=["one pixel", "strip", "ramp", "noise"],
)
def test_there_is_nothing_to_see_in_evenness_slow_changes_and_noise(pixels: NDArray[np.uint8]) -> None:
    assert detect_kind(pixels) == "blank"


def test_a_faded_print_of_little_contrast_is_not_blank() -> None:
    gray = photographs.to_gray(photographs.color_photo(0))
    assert detect_kind(np.repeat((150 + gray[..., None] / 10).astype(np.uint8), 3, axis=2)) == "neutral"


@pytest.mark.parametrize("number", range(4))
def test_a_page_of_writing_is_a_document(number: int) -> None:
    assert detect_kind(scans.make_document(number)) == "document"


def test_thin_lines_in_one_place_as_of_a_biplane_in_the_sky_are_no_document() -> None:
    sky = np.full((300, 400, 3), 210, np.uint8)
    for row in range(100, 200, 8):
        sky[row : row + 3, 150:260] = 40
    assert detect_kind(sky) == "neutral"


@pytest.mark.parametrize("number", range(4))
def test_a_colored_stamp_does_not_make_a_color_photograph(number: int) -> None:
    gray = photographs.to_gray(photographs.color_photo(number, 400))
    assert detect_kind(scans.stamp(np.repeat(gray[..., None], 3, axis=2), number)) == "neutral"
    assert detect_kind(scans.stamp(photographs.to_sepia(gray), number)) == "toned"


def test_an_oval_in_a_colored_mount_is_judged_without_the_mount() -> None:
    gray = photographs.to_gray(photographs.color_photo(0, 400))
    down, across = np.mgrid[-1:1:400j, -1:1:400j]
    mounted = np.where((down**2 + across**2 <= 1)[..., None], gray[..., None], (150, 120, 85)).astype(np.uint8)
    assert detect_kind(mounted) == "neutral"


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
    assert sum(kind != "color" for kind in monochrome) == 29

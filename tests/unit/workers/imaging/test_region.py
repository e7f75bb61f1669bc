"""Finding the pictures in a scan."""

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from tests import photographs, scans

from retint.region import Rectangle, Region
from retint_workers.imaging.region import crop, find_region


def make_print(number: int, width: int = 480, height: int = 360) -> NDArray[np.uint8]:
    """Return a gray or sepia photograph (h, w, 3)."""
    gray = photographs.to_gray(photographs.color_photo(number, 480)[:height, :width])
    return np.repeat(gray[..., None], 3, axis=2) if number % 2 else photographs.to_sepia(gray)


def cover(region: Region, height: int, width: int) -> NDArray[np.bool_]:
    """Return which pixels of a page are inside a region, (h, w)."""
    inside = np.zeros((height, width), bool)
    for rectangle in region.rectangles:
        crop(inside, rectangle)[:] = True
    return inside


def compare(region: Region, truth: NDArray[np.bool_]) -> float:
    """Return the overlap of a region with the truth: intersection over union."""
    inside = cover(region, *truth.shape)
    return float((inside & truth).sum() / (inside | truth).sum())


@pytest.mark.parametrize("arrangement", scans.ARRANGEMENTS)
def test_the_pictures_are_found_in_every_arrangement(arrangement: str) -> None:
    number = list(scans.ARRANGEMENTS).index(arrangement)
    scan = scans.make_scan([make_print(number), make_print(number + 4)], arrangement, number)
    region = find_region(scan.page)
    assert compare(region, scan.truth) > 0.93
    assert region.confidence > 0.6
    assert len(region.rectangles) == (2 if arrangement.startswith("two") else 1)


@pytest.mark.parametrize("number", range(4))
def test_a_photograph_without_a_mount_is_whole(number: int) -> None:
    assert find_region(make_print(number)).is_whole
    assert find_region(photographs.color_photo(number, 480)).is_whole


def test_an_object_before_an_even_background_is_no_picture_on_a_mount() -> None:
    page = np.full((400, 500, 3), 240, np.uint8)
    down, across = np.mgrid[:400, :500]
    page[(down - 210) ** 2 + (across - 250) ** 2 < 130**2] = (60, 50, 40)
    page[330:, 230:270] = (60, 50, 40)
    assert find_region(page).is_whole


def test_a_skewed_print_with_a_border_on_a_bed_is_found_inside_its_border() -> None:
    page = Image.new("RGB", (700, 560), (20, 20, 22))
    paper = Image.new("RGB", (504, 384), (240, 238, 230))
    paper.paste(Image.fromarray(make_print(1)), (12, 12))
    turned = paper.convert("RGBA").rotate(2.5, Image.Resampling.BICUBIC, expand=True)
    page.paste(turned, (80, 70), turned)
    truth = Image.new("L", (504, 384))
    truth.paste(255, (12, 12, 492, 372))
    mask = Image.new("L", page.size)
    mask.paste(truth.rotate(2.5, expand=True), (80, 70))
    region = find_region(np.asarray(page))
    assert compare(region, np.asarray(mask) > 127) > 0.93
    assert region.rectangles[0].width * 700 == pytest.approx(480, abs=6)


def test_a_print_in_the_corner_of_a_bed_is_found() -> None:
    page = np.full((500, 640, 3), 12, np.uint8)
    page[:360, :480] = make_print(0)
    region = find_region(page)
    assert (region.bounds.left, region.bounds.top) == (0, 0)
    assert cover(region, 500, 640).mean() == pytest.approx(0.54, abs=0.01)


def test_a_dark_coat_that_nearly_meets_a_black_bed_is_found() -> None:
    page = np.full((460, 580, 3), 14, np.uint8)
    page[50:410, 50:530] = make_print(1)
    down, across = np.mgrid[:460, :580]
    page[(down < 410) & (across >= 50) & (down - 190 > 0.75 * (across - 50))] = 19
    region = find_region(page)
    assert cover(region, 460, 580).sum() == pytest.approx(360 * 480, rel=0.03)


def lay(picture: NDArray[np.uint8], left: int, top: int, size: tuple[int, int], color: scans.Color) -> scans.Sheet:
    """Lay a picture on a page of one color."""
    sheet = scans.Sheet.blank(size, color)
    sheet.lay(Image.fromarray(picture), left, top)
    return sheet


@pytest.mark.parametrize(("width", "is_picture"), [(280, True), (360, False), (480, False)])
def test_an_upright_oval_is_a_picture_but_what_is_round_or_wide_is_a_plate(width: int, is_picture: bool) -> None:
    sheet = lay(make_print(1)[:, :width], 60, 60, (width + 120, 480), (150, 120, 85))
    down, across = np.mgrid[-1:1:360j, -1 : 1 : width * 1j]
    page = np.array(sheet.page)
    page[60:420, 60 : 60 + width][down**2 + across**2 > 1] = (150, 120, 85)
    region = find_region(page)
    assert region.is_whole != is_picture
    assert not is_picture or compare(region, np.asarray(sheet.mask) > 0) > 0.94


@pytest.mark.parametrize("top", [430, 500])
def test_a_target_as_large_as_the_picture_is_none_even_where_the_page_ends(top: int) -> None:
    sheet = lay(make_print(1), 60, 40, (600, 640), (238, 236, 230))
    target = scans.draw_target(480, 180, (50, 50, 50), rows=3)
    sheet.lay(target, 60, top, is_picture=False)
    assert compare(find_region(np.asarray(sheet.page)), np.asarray(sheet.mask) > 0) > 0.96


@pytest.mark.parametrize("seed", [5, 36])
def test_a_strip_of_narrow_patches_is_cut_off(seed: int) -> None:
    scan = scans.make_scan([make_print(1)[:260, :400]], "target at the edge", seed)
    assert compare(find_region(scan.page), scan.truth) > 0.98


def test_a_stain_from_the_edge_of_the_mount_to_the_picture_is_cut_off() -> None:
    sheet = lay(make_print(1), 60, 60, (600, 480), (225, 215, 190))
    page = np.array(sheet.page)
    page[:60, 200:330] = (190, 175, 140)
    assert compare(find_region(page), np.asarray(sheet.mask) > 0) > 0.96


def test_frames_of_a_film_are_pictures_however_long_but_a_ruler_is_none() -> None:
    sheet = lay(make_print(1)[100:180], 40, 30, (560, 480), (40, 35, 30))
    sheet.lay(Image.fromarray(make_print(3)[100:180]), 40, 140)
    assert len(find_region(np.asarray(sheet.page)).rectangles) == 2
    sheet = lay(make_print(1)[:240], 40, 30, (560, 480), (40, 35, 30))
    sheet.lay(Image.new("RGB", (500, 76), (230, 200, 60)), 30, 340, is_picture=False)
    assert compare(find_region(np.asarray(sheet.page)), np.asarray(sheet.mask) > 0) > 0.96


def test_a_white_sky_that_meets_a_white_mount_is_not_cut() -> None:
    page = np.full((460, 580, 3), 245, np.uint8)
    page[50:410, 50:530] = make_print(1)
    page[50:130, 50:530] = 245
    page[70:130, 200:230] = 40
    region = find_region(page)
    assert region.bounds.top == pytest.approx(70 / 460, abs=0.02)
    assert region.bounds.top + region.bounds.height == pytest.approx(410 / 460, abs=0.01)


def test_pictures_far_smaller_than_the_others_and_targets_are_left_out() -> None:
    page = np.full((600, 700, 3), (110, 80, 60), np.uint8)
    page[40:400, 40:520] = make_print(1)
    page[440:550, 40:180] = make_print(3)[:110, :140]
    assert len(find_region(page).rectangles) == 1


@pytest.mark.parametrize(
    "page",
    [
        np.full((1, 1, 3), 7, np.uint8),
        np.full((20_000, 1, 3), 200, np.uint8),
        np.full((1, 20_000, 3), 200, np.uint8),
        np.full((512, 768, 3), 252, np.uint8),
        np.zeros((512, 768, 3), np.uint8),
        np.random.default_rng(0).integers(0, 256, (300, 300, 3), np.uint8),
        np.tile(np.arange(256, dtype=np.uint8)[:, None], (200, 1, 3)),
    ],
    ids=["one pixel", "strip", "strip", "white", "black", "noise", "ramp"],
)
def test_a_page_on_which_nothing_lies_is_whole(page: NDArray[np.uint8]) -> None:
    assert find_region(page).is_whole


def test_a_page_with_a_few_words_on_it_is_whole() -> None:
    scan = scans.make_scan([make_print(1)], "handwriting below", 3)
    paper = np.median(scan.page[:5], axis=(0, 1))
    near = np.array(Image.fromarray(scan.truth.astype(np.uint8)).filter(ImageFilter.MaxFilter(9)))
    assert find_region(np.where(near[..., None], paper, scan.page).astype(np.uint8)).is_whole


def test_pixels_inside_a_rectangle_are_cut_out() -> None:
    page = np.arange(12).reshape(3, 4)
    assert crop(page, Rectangle(0.25, 1 / 3, 0.5, 2 / 3)).tolist() == [[5, 6], [9, 10]]

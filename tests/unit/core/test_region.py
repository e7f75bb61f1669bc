"""Rectangles and regions of a page."""

import json
import math
from typing import Any

import pytest

from retint.region import WHOLE, Rectangle, Region


@pytest.mark.parametrize(
    "numbers",
    [
        (-0.1, 0, 0.5, 0.5),
        (0, 0, 0, 1),
        (0, 0, 1, 0),
        (0.6, 0, 0.5, 1),
        (0, 0.6, 1, 0.5),
        (math.nan, 0, 1, 1),
        (0, 0, 2, 1),
    ],
)
def test_a_rectangle_lies_on_the_page(numbers: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="rectangle"):
        Rectangle(*numbers)


def test_fractions_that_add_up_to_a_little_more_than_one_are_rounded() -> None:
    assert Rectangle(0.1 + 0.2, 0, 0.7, 1).to_pixels(10, 10) == (3, 0, 10, 10)


@pytest.mark.parametrize("left", [0, 0.5, 0.99999, 1 - 1e-7])
def test_a_rectangle_has_at_least_a_pixel(left: float) -> None:
    first, top, right, bottom = Rectangle(left, 0.5, 1e-7, 1e-7).to_pixels(20_000, 1)
    assert 0 <= first < right <= 20_000
    assert (top, bottom) == (0, 1)


def test_rectangles_are_sorted_and_have_common_bounds() -> None:
    low, right, left = Rectangle(0, 0.5, 0.4, 0.5), Rectangle(0.5, 0.1, 0.25, 0.25), Rectangle(0.25, 0.1, 0.25, 0.25)
    region = Region((low, right, left), 0.5)
    assert region.rectangles == (left, right, low)
    assert region.bounds == Rectangle(0, 0.1, 0.75, 0.9)
    assert not region.is_whole
    assert WHOLE.is_whole


def test_facts_give_the_region_back() -> None:
    region = Region((Rectangle(0.1, 0.2, 0.3, 0.4), Rectangle(0.5, 0.2, 0.3, 0.4)), 0.75)
    assert Region.from_facts(json.loads(json.dumps(region.to_facts()))) == region


@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"rectangles": [], "confidence": 1, "found": "auto"},
        {"rectangles": [[0, 0, 1]], "confidence": 1, "found": "auto"},
        {"rectangles": 3, "confidence": 1, "found": "auto"},
        {"rectangles": [[0, 0, 1, "x"]], "confidence": 1, "found": "auto"},
        {"rectangles": [[0, 0, 1, 1]], "confidence": 2, "found": "auto"},
        {"rectangles": [[0, 0, 1, 1]], "confidence": 1, "found": "guessed"},
    ],
)
def test_facts_that_are_no_region_are_refused(facts: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"region|rectangle|could not convert"):
        Region.from_facts(facts)

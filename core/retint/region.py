"""Where the pictures lie in a scan: upright rectangles, as fractions of the upright page."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FOUND = ("auto", "whole", "stated")
"""Who says so: the finder, also where it finds the whole page; a recipe that wants all; a recipe with rectangles."""
ROUNDING = 1e-9


@dataclass(frozen=True)
class Rectangle:
    """A part of the page, in fractions of its width and height, each in [0, 1].

    Raises:
        ValueError: it is not a part of the page, or empty.
    """

    left: float
    top: float
    width: float
    height: float

    def __post_init__(self) -> None:
        """Check that it lies on the page."""
        numbers = (self.left, self.top, self.width, self.height)
        if not all(math.isfinite(number) and 0 <= number <= 1 for number in numbers):
            raise ValueError("A rectangle's left, top, width and height are fractions of the page, from 0 to 1.")
        if self.width == 0 or self.height == 0:
            raise ValueError("A rectangle has a width and a height above 0.")
        if max(self.left + self.width, self.top + self.height) > 1 + ROUNDING:
            raise ValueError("A rectangle does not reach beyond the page.")

    @property
    def area(self) -> float:
        """Its share of the page, (0, 1]."""
        return self.width * self.height

    def to_pixels(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Return left, top, right and bottom on a page of `width` x `height` pixels; at least one pixel each way."""
        left, right = _to_range(self.left, self.width, width)
        top, bottom = _to_range(self.top, self.height, height)
        return left, top, right, bottom


def _to_range(start: float, extent: float, length: int) -> tuple[int, int]:
    """Round a fraction of `length` pixels to a first pixel and one past the last."""
    first = min(round(start * length), length - 1)
    return first, max(first + 1, min(round((start + extent) * length), length))


@dataclass(frozen=True)
class Region:
    """The rectangles of all pictures on a page, sorted top to bottom, then left to right.

    `confidence`, in [0, 1], says how sure the finder is that these are the pictures.

    Raises:
        ValueError: there is no rectangle, or a value is out of range.
    """

    rectangles: tuple[Rectangle, ...]
    confidence: float = 1.0
    found: str = "auto"

    def __post_init__(self) -> None:
        """Sort the rectangles and check the rest."""
        if not self.rectangles:
            raise ValueError("A region has at least one rectangle.")
        if not 0 <= self.confidence <= 1:
            raise ValueError("A region's confidence is from 0 to 1.")
        if self.found not in FOUND:
            raise ValueError(f"A region is found in one of these ways: {', '.join(FOUND)}.")
        in_order = sorted(self.rectangles, key=lambda rectangle: (rectangle.top, rectangle.left))
        object.__setattr__(self, "rectangles", tuple(in_order))

    @property
    def is_whole(self) -> bool:
        """Whether it is the whole page."""
        return self.rectangles == WHOLE.rectangles

    @property
    def bounds(self) -> Rectangle:
        """The smallest rectangle around all."""
        left = min(one.left for one in self.rectangles)
        top = min(one.top for one in self.rectangles)
        right = max(min(one.left + one.width, 1) for one in self.rectangles)
        bottom = max(min(one.top + one.height, 1) for one in self.rectangles)
        return Rectangle(left, top, right - left, bottom - top)

    def to_facts(self) -> dict[str, Any]:
        """Return it as JSON values."""
        rectangles = [[one.left, one.top, one.width, one.height] for one in self.rectangles]
        return {"rectangles": rectangles, "confidence": self.confidence, "found": self.found}

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Region":
        """Read what `to_facts` returned.

        Raises:
            ValueError: it is nothing of the kind.
        """
        try:
            rectangles = tuple(Rectangle(*(float(number) for number in one)) for one in facts["rectangles"])
            return cls(rectangles, float(facts["confidence"]), str(facts["found"]))
        except (KeyError, TypeError) as error:
            raise ValueError("A region has rectangles of four numbers, a confidence, and how it was found.") from error


WHOLE = Region((Rectangle(0, 0, 1, 1),), 1.0, "whole")

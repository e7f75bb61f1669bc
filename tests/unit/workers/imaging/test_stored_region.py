"""A region lies at the same pixels of the picture however these are stored, and nothing outside of it changes."""

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from retint.region import WHOLE, Rectangle, Region
from retint_models.layers.rendering import to_stored_orientation
from retint_workers.imaging.stored_region import StoredRegion

TWO = Region((Rectangle(0.11, 0.2, 0.31, 0.5), Rectangle(0.53, 0.13, 0.4, 0.81)))


@dataclass
class Stored:
    """What `StoredRegion` knows of a header."""

    width: int
    height: int
    orientation: int

    @property
    def upright_size(self) -> tuple[int, int]:
        return (self.height, self.width) if self.orientation >= 5 else (self.width, self.height)


def locate(region: Region, upright: tuple[int, int], orientation: int = 1) -> StoredRegion:
    """Locate a region in a photo of this upright width and height."""
    stored = upright[::-1] if orientation >= 5 else upright
    return StoredRegion.locate(region, Stored(*stored, orientation))  # type: ignore[arg-type]


def paint(region: StoredRegion) -> NDArray[np.uint8]:
    """Return a picture in stored pixels that is 1 inside the region, else 0."""
    strip = np.zeros(region.size, np.uint8)
    return region.change_pixels(strip, 0, 1, lambda part, _: part + np.uint8(1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_region_is_the_same_part_of_the_upright_picture_in_every_orientation(orientation: int) -> None:
    upright = paint(locate(TWO, (97, 61)))
    assert 0.3 < upright.mean() < 0.6
    assert (paint(locate(TWO, (97, 61), orientation)) == to_stored_orientation(upright, orientation)).all()


@pytest.mark.parametrize("rows", [1, 7, 61])
@pytest.mark.parametrize("region", [TWO, WHOLE])
def test_strips_may_be_cut_anywhere(region: Region, rows: int) -> None:
    where = locate(region, (97, 61))
    photo = np.random.default_rng(3).integers(0, 255, (61, 97), np.uint8)
    seen: list[tuple[int, int]] = []

    def change(part: NDArray[np.uint8], top: int) -> NDArray[np.uint8]:
        seen.append((top, len(part)))
        return np.repeat((part + np.uint8(1))[..., None], 3, axis=2)

    strips = [where.change_pixels(photo[top : top + rows], top, 3, change) for top in range(0, 61, rows)]
    wanted = photo + paint(where)
    assert (np.concatenate(strips) == wanted[..., None]).all()
    assert [top for top, _ in seen] == list(np.cumsum([0, *(count for _, count in seen)])[:-1])
    assert sum(count for _, count in seen) == where.bounds_size[0]


def test_a_region_is_found_in_smaller_copies() -> None:
    where = locate(TWO, (970, 610))
    small = where.shrink(4, (153, 243))
    share = paint(where).mean()
    assert abs(paint(small).mean() - share) < 0.01
    whole = locate(WHOLE, (970, 610)).shrink(4, (153, 243))
    assert whole.is_whole
    assert whole.bounds == (0, 0, 243, 153)
    dot = locate(Region((Rectangle(0.5, 0.5, 0.001, 0.001),)), (970, 610)).shrink(8, (77, 122))
    assert dot.bounds_size == (1, 1)


def test_cells_count_where_they_lie_in_a_picture() -> None:
    where = locate(Region((Rectangle(0.1, 0.25, 0.5, 0.75),)), (100, 40))
    covered = where.cover((5, 13), 8)
    assert covered[2:5, 2:7].all()
    assert covered.sum() == 3 * 5
    assert locate(WHOLE, (100, 40)).cover((5, 13), 8).all()
    narrow = locate(Region((Rectangle(0.13, 0.3, 0.02, 0.5),)), (100, 40)).cover((5, 13), 8)
    assert narrow[1:4, 1].all()
    assert narrow.sum() == 3

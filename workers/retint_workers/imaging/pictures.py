"""Finds the picture in a photo: where it lies on the page, what it is, and its proxy."""

from dataclasses import dataclass

import numpy as np
import pyvips
from numpy.typing import NDArray

from retint.errors import InvalidPhoto
from retint.kinds import COLOR, NEUTRAL, TONED
from retint.recipes import Recipe, choose_proxy_side
from retint.region import WHOLE, Region
from retint_workers.imaging.decoding.formats import LONGEST_RATIO, SHORTEST_SIDE, Header
from retint_workers.imaging.kinds import detect_kind
from retint_workers.imaging.previews import load_display_picture
from retint_workers.imaging.region import find_region
from retint_workers.imaging.stored_region import StoredRegion

PAGE_SIDE = 768
"""Long side, in pixels, at which a page is looked at to find its pictures."""
PHOTOGRAPHS = (COLOR, TONED, NEUTRAL)
"""Kinds that are restored: of several pictures, the first of these that one is counts for all."""
HARMLESS_WARNINGS = ("extraneous bytes", "Invalid SOS parameters", "Inconsistent progression", "Unknown Adobe")
"""Parts of libjpeg's warnings about files that it still decodes completely."""
SURE = 0.9
"""Confidence from which a region is told without a doubt."""


@dataclass(frozen=True)
class FoundPicture:
    """The picture in a photo.

    Attributes:
        region: where it lies on the page: the pictures, where there are several.
        kind: see `retint.kinds`; of several pictures, the one that decides what is done to all.
        is_inverted: whether dark becomes light.
        proxy: what lies in the region's bounds, inverted or not: upright, 8-bit sRGB.
        notes: a sentence for each thing that people should know of it.
    """

    region: Region
    kind: str
    is_inverted: bool
    proxy: pyvips.Image
    notes: list[str]


def find_picture(header: Header, recipe: Recipe) -> FoundPicture:
    """Decode a photo completely, and find the picture in it, or take the region that the recipe states.

    Raises:
        InvalidPhoto: the recipe's region is too small in this photo.
        pyvips.Error: parts of the photo cannot be decoded.
    """
    side = PAGE_SIDE if recipe.region == "auto" else recipe.proxy_side
    page = load_complete_picture(header, side)
    region = _choose_region(page.numpy(), header, recipe)
    where = StoredRegion.locate(region, header)
    proxy_side = choose_proxy_side(recipe, where.bounds_size)

    def load(*, invert: bool) -> pyvips.Image:
        if where.is_whole and side == proxy_side and not invert:
            return page
        return load_display_picture(header, proxy_side, where.bounds, invert=invert)

    proxy = load(invert=recipe.invert)
    kinds = _detect_kinds(proxy.numpy(), region)
    kind = next((kind for kind in PHOTOGRAPHS if kind in kinds), kinds[0])
    is_inverted = recipe.invert and recipe.changes(kind)
    if is_inverted != recipe.invert:
        proxy = load(invert=False)
    notes = _describe_region(region) if recipe.changes(kind) and not region.is_whole else []
    if kind == COLOR and {NEUTRAL, TONED} & set(kinds) and not recipe.insist:
        notes.append("Not all of its pictures are in color, but none is colorized: state those that are not as region.")
    if is_inverted:
        notes.append("The picture is inverted, as the recipe asks.")
    return FoundPicture(region, kind, is_inverted, proxy, notes)


def load_complete_picture(header: Header, side: int) -> pyvips.Image:
    """Load a photo as a picture to look at, if all of it can be decoded.

    For a JPEG with a piece missing in the middle libjpeg only warns. It also warns of much that is harmless, so a
    photo with a harmless warning is decoded a second time.

    Raises:
        pyvips.Error: parts of it cannot be decoded.
    """
    if header.coding != "jpeg":
        return load_display_picture(header, side)
    try:
        return load_display_picture(header, side, fail_on="warning")
    except pyvips.Error as error:
        if not any(warning in str(error) for warning in HARMLESS_WARNINGS):
            raise
    return load_display_picture(header, side)


def _choose_region(page: NDArray[np.uint8], header: Header, recipe: Recipe) -> Region:
    """Return the region that the recipe states, or else the one that is found on the page.

    Raises:
        InvalidPhoto: the recipe's region is too small in this photo.
    """
    region = recipe.stated_region or find_region(page)
    try:
        _refuse_small(region, header)
    except InvalidPhoto:
        if recipe.stated_region is not None:
            raise
        return WHOLE
    return region


def _refuse_small(region: Region, header: Header) -> None:
    """Check that a region has enough pixels.

    Raises:
        InvalidPhoto: it has not; says how many.
    """
    width, height = header.upright_size
    if any(each.width * width < 1 or each.height * height < 1 for each in region.rectangles):
        raise InvalidPhoto(
            f"A rectangle of the region is smaller than a pixel of this photo, which has {width} × {height}.",
            code="region_too_small",
        )
    high, wide = StoredRegion.locate(region, header).bounds_size
    if not region.is_whole and (min(high, wide) < SHORTEST_SIDE or max(high, wide) > LONGEST_RATIO * min(high, wide)):
        raise InvalidPhoto(
            f"The region has {wide} × {high} pixels in this photo: {SHORTEST_SIDE} are needed on the short side, "
            f"and the long side may have {LONGEST_RATIO} times that.",
            code="region_too_small",
        )


def _detect_kinds(proxy: NDArray[np.uint8], region: Region) -> list[str]:
    """Tell what each picture of a region is, by what lies in its bounds."""
    (height, width), bounds = proxy.shape[:2], region.bounds
    kinds = []
    for each in region.rectangles:
        left, top = (each.left - bounds.left) / bounds.width * width, (each.top - bounds.top) / bounds.height * height
        right, bottom = left + each.width / bounds.width * width, top + each.height / bounds.height * height
        left, top = min(round(left), width - 1), min(round(top), height - 1)
        kinds.append(detect_kind(proxy[top : max(top + 1, round(bottom)), left : max(left + 1, round(right))]))
    return kinds


def _describe_region(region: Region) -> list[str]:
    """Return a sentence about what of the page is restored."""
    share = f"{sum(rectangle.area for rectangle in region.rectangles):.0%}"
    count = len(region.rectangles)
    if region.found == "stated":
        return [f"The recipe restores a part of the page ({share}); all around it keeps its pixels."]
    if count > 1:
        return [f"The page has {count} pictures ({share} of it), restored as one; all around them keeps its pixels."]
    seems = "is" if region.confidence >= SURE else "seems to be"
    return [f"The picture {seems} a part of the scan ({share}); all around it keeps its pixels."]

"""Sheets of pictures to judge by eye: a photo before and after, and a photo at several networks and settings."""

import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from retint import recipes
from retint.errors import InvalidRequest
from retint.recipes import Recipe
from retint.settings import Settings
from retint_models.layers.rendering import apply
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.imaging import ingest
from retint_workers.imaging.provenance import STATEMENT
from retint_workers.inference import colorize, defade, loading

Pixels = NDArray[np.uint8]
SURROUND, INK, FAINT = (119, 119, 119), (255, 255, 255), (214, 214, 214)
"""A neutral gray between black and white falsifies color least (ISO 3664)."""
GAP = 16
COMPARED_SIDE, TRIED_SIDE = 1024, 400
LETTERS = 17
COLUMNS = 4
"""Pictures side by side, at most, where each network is shown once."""


@dataclass(frozen=True)
class Tried:
    """A photo by one network at one setting.

    Attributes:
        recipe: what was tried.
        picture: uint8 (h, w, 3) in sRGB, at the proxy's size.
        seconds: that the networks took.
    """

    recipe: Recipe
    picture: Pixels
    seconds: float

    @property
    def title(self) -> str:
        """What the sheet calls it."""
        return f"{in_words(self.recipe)} \N{MIDDLE DOT} {self.seconds:.1f} s"


def in_words(recipe: Recipe) -> str:
    """Name a recipe's colorizer and its settings."""
    settings = (f"{name.replace('_', ' ')} {value:g}" for name, value in recipe.colorizer_settings.items())
    return ", ".join([recipe.colorizer, *settings])


# --- one photo, several recipes ---------------------------------------------------------------------------------------


def variants(
    names: Sequence[str], varied: Mapping[str, Sequence[float]], base: Recipe, imported: Path
) -> list[list[Recipe]]:
    """Put together what is tried: for each network one recipe for each setting that it has.

    Args:
        names: of the networks.
        varied: values by the setting's name.
        base: what all have in common.
        imported: folder of imported weights.

    Raises:
        InvalidRequest: a network is not here, none has a setting that was asked for, or a value is out of its range.
    """
    here = recipes.usable_networks("colorizer", imported)
    tried = []
    for name in names:
        recipes.check(base.model_copy(update={"colorizer": name}), imported)
        has = [setting for setting, values in varied.items() if values and setting in here[name].settings]
        combined = product(*(varied[setting] for setting in has))
        settings = [dict(zip(has, values, strict=True)) for values in combined]
        tried.append([base.model_copy(update={"colorizer": name, "colorizer_settings": one}) for one in settings])
    for setting, values in varied.items():
        if values and not any(setting in recipe.colorizer_settings for row in tried for recipe in row):
            raise InvalidRequest(f"None of these networks has the setting {setting}.", code="no_setting")
    for recipe in (recipe for row in tried for recipe in row):
        recipes.check(recipe, imported)
    return tried


def shown(photo: Path, settings: Settings) -> Pixels:
    """A photo as networks see it: uint8 (h, w, 3).

    Raises:
        InvalidPhoto: it cannot be restored.
    """
    proxy = ingest.ingest(photo, Recipe.model_validate({}), settings).proxy
    return np.asarray(Image.open(io.BytesIO(proxy)).convert("RGB"))


def tries(proxy: Pixels, tried: Sequence[Recipe], settings: Settings) -> Iterator[Tried]:
    """Restore a proxy by one recipe after the other.

    Raises:
        NetworkUnavailable: a network cannot be loaded here.
        Transient: a network failed.
    """
    for recipe in tried:
        loading.load_network("colorizer", recipe.colorizer, settings)  # which is not what is measured
        started = time.monotonic()
        color, density = _decide(proxy, recipe, settings)
        seconds = time.monotonic() - started
        yield Tried(recipe, apply(proxy, 0, proxy.shape[:2], color, density), seconds)


def _decide(proxy: Pixels, recipe: Recipe, settings: Settings) -> tuple[ColorLayer, DensityLayer | None]:
    (color,) = colorize.colorize([proxy], recipe, settings)
    if not isinstance(color, ColorLayer):
        raise color
    if not defade.is_wanted(recipe):
        return color, None
    (density,) = defade.defade([defade.make_input(proxy, color)], recipe, settings)
    if not isinstance(density, DensityLayer):
        raise density
    return color, density


def of_tries(name: str, proxy: Pixels, rows: Sequence[Sequence[Tried]]) -> Image.Image:
    """Lay tries out, a row for each network; where each has but one, as many in a row as are well seen."""
    first = ("as it is", proxy)
    if max(len(row) for row in rows) == 1:
        cells = [first, *((tried.title, tried.picture) for row in rows for tried in row)]
        laid = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    else:
        laid = [[first, *((tried.title, tried.picture) for tried in row)] for row in rows]
    return _sheet(laid, TRIED_SIDE, [name, STATEMENT])


# --- before and after -------------------------------------------------------------------------------------------------


def compare(before: Path, after: Path, recipe: Recipe, name: str, output: Path) -> None:
    """Write a photo before and after side by side, with what was done, as a JPEG that is marked as the result is.

    Args:
        before: a picture to look at, of the original.
        after: the same of the result, with the result's XMP.
        recipe: what was done.
        name: the photo's.
        output: the sheet.
    """
    with Image.open(before) as first, Image.open(after) as second:
        mark = second.info["xmp"]
        cells = [("before", np.asarray(first.convert("RGB"))), ("after", np.asarray(second.convert("RGB")))]
    done = [] if recipe.colorizer == "keep" else [f"colorized by {in_words(recipe)}"]
    if defade.is_wanted(recipe):
        done.append(f"defaded by {recipe.defader}, strength {recipe.strength:g}")
    words = [name, "; ".join(done) or "nothing was asked for", *([STATEMENT] if recipe.colorizer != "keep" else [])]
    _sheet([cells], COMPARED_SIDE, words).save(output, "JPEG", quality=90, subsampling=0, xmp=mark)


# --- paper ------------------------------------------------------------------------------------------------------------


def _sheet(rows: Sequence[Sequence[tuple[str, Pixels]]], side: int, words: Sequence[str]) -> Image.Image:
    """Put titled pictures in rows on gray paper, the words below; pictures are made no larger than they are."""
    height, width = rows[0][0][1].shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    font = ImageFont.load_default(LETTERS)
    column = max(size[0], *(int(font.getlength(title)) for row in rows for title, _ in row)) + GAP
    line = size[1] + 2 * LETTERS + GAP
    wide = max(GAP + column * max(len(row) for row in rows), *(int(font.getlength(text)) + 2 * GAP for text in words))
    paper = Image.new("RGB", (wide, GAP + line * len(rows) + (len(words) * 3 * LETTERS) // 2 + GAP), SURROUND)
    draw = ImageDraw.Draw(paper)
    for row, cells in enumerate(rows):
        for place, (title, pixels) in enumerate(cells):
            corner = GAP + place * column, GAP + row * line
            paper.paste(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS), corner)
            draw.text((corner[0], corner[1] + size[1] + 4), title, INK, font)
    for number, text in enumerate(words):
        top = GAP + line * len(rows) + number * (3 * LETTERS) // 2
        draw.text((GAP, top), text, FAINT if number else INK, font)
    return paper

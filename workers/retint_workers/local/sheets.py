"""Sheets of pictures for judging by eye: a photo before and after, and a photo by several networks and settings."""

import io
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
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
from retint_workers.imaging import ingest
from retint_workers.imaging.provenance import COLOR_STATEMENT
from retint_workers.inference import loading
from retint_workers.inference.decide import decide_photo

Pixels = NDArray[np.uint8]
BACKGROUND, TITLE_COLOR, NOTE_COLOR = (119, 119, 119), (255, 255, 255), (214, 214, 214)
"""A neutral gray between black and white falsifies color least (ISO 3664)."""
GAP = 16
COMPARISON_SIDE, VARIANT_SIDE = 1024, 400
FONT_SIZE = 17
MAX_COLUMNS = 4
"""Pictures side by side where each network is shown once."""

Cell = tuple[str, Pixels]
"""A title and a picture."""


# --- one photo, several recipes ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """A photo by one network with one choice of settings.

    Attributes:
        recipe: what was done.
        picture: uint8 (h, w, 3) in sRGB, at the proxy's size.
        seconds: that the networks took.
    """

    recipe: Recipe
    picture: Pixels
    seconds: float

    @property
    def title(self) -> str:
        """The title on the sheet: network, settings, seconds."""
        return f"{describe_colorizer(self.recipe)} \N{MIDDLE DOT} {self.seconds:.1f} s"


def describe_colorizer(recipe: Recipe) -> str:
    """Name a recipe's colorizer and its settings."""
    settings = (f"{name.replace('_', ' ')} {value:g}" for name, value in recipe.colorizer_settings.items())
    return ", ".join([recipe.colorizer, *settings])


def combine_recipes(
    names: Sequence[str], values: Mapping[str, Sequence[float]], base: Recipe, imported: Path
) -> list[list[Recipe]]:
    """Combine networks and values of their settings: for each network a row of recipes.

    Args:
        names: of the colorizers.
        values: by the setting's name; a network gets those of the settings that it has.
        base: what all recipes have in common.
        imported: folder of imported weights.

    Raises:
        InvalidRequest: a network is not available, none has a setting that was asked for, or a value is out of range.
    """
    available = recipes.usable_networks("colorizer", imported)
    rows = []
    for name in names:
        recipes.check(base.model_copy(update={"colorizer": name}), imported)
        varied = [setting for setting, choices in values.items() if choices and setting in available[name].settings]
        combinations = product(*(values[setting] for setting in varied))
        settings = [dict(zip(varied, combination, strict=True)) for combination in combinations]
        rows.append([base.model_copy(update={"colorizer": name, "colorizer_settings": one}) for one in settings])
    for setting, choices in values.items():
        if choices and not any(setting in recipe.colorizer_settings for row in rows for recipe in row):
            raise InvalidRequest(f"None of these networks has the setting {setting}.", code="no_setting")
    for recipe in (recipe for row in rows for recipe in row):
        recipes.check(recipe, imported)
    return rows


def load_proxy(photo: Path, chosen: Sequence[Recipe], settings: Settings) -> tuple[Pixels, str]:
    """Return a photo's proxy, uint8 (h, w, 3), large enough for all of some recipes, and its kind.

    Raises:
        InvalidPhoto: it cannot be restored.
    """
    largest = max(chosen, key=lambda recipe: recipes.choose_proxy_side(recipe, (2, 3)))
    ingested = ingest.ingest(photo, largest, settings)
    return np.asarray(Image.open(io.BytesIO(ingested.proxy)).convert("RGB")), ingested.facts["kind"]


def render_variants(proxy: Pixels, kind: str, chosen: Sequence[Recipe], settings: Settings) -> Iterator[Variant]:
    """Restore a proxy by one recipe after the other.

    Raises:
        NetworkUnavailable: a network cannot be loaded here.
        Transient: a network failed.
    """
    for recipe in chosen:
        loading.load_network("colorizer", recipe.colorizer, settings)  # loading is not part of the measured time
        started = time.monotonic()
        color, density = decide_photo(proxy, kind, recipe, settings)
        seconds = time.monotonic() - started
        yield Variant(recipe, apply(proxy, 0, proxy.shape[:2], color, density), seconds)


def draw_variants(name: str, proxy: Pixels, rows: Sequence[Sequence[Variant]]) -> Image.Image:
    """Draw the sheet: a row for each network; where each has only one variant, several in a row."""
    original = ("as it is", proxy)
    if max(len(row) for row in rows) == 1:
        cells = [original, *((variant.title, variant.picture) for row in rows for variant in row)]
        table = [cells[start : start + MAX_COLUMNS] for start in range(0, len(cells), MAX_COLUMNS)]
    else:
        table = [[original, *((variant.title, variant.picture) for variant in row)] for row in rows]
    return _draw_sheet(table, VARIANT_SIDE, [name, COLOR_STATEMENT])


# --- before and after -------------------------------------------------------------------------------------------------


def save_comparison(made: Mapping[str, Path], recipe: Recipe, name: str, output: Path) -> None:
    """Write a photo before and after side by side, with what was done, as a JPEG with the result's XMP.

    Args:
        made: the files of layers and result, by name.
        recipe: what was asked for.
        name: the photo's.
        output: the sheet.
    """
    with Image.open(made["before"]) as first, Image.open(made["preview"]) as second:
        xmp = second.info["xmp"]
        cells = [("before", np.asarray(first.convert("RGB"))), ("after", np.asarray(second.convert("RGB")))]
    notes = [COLOR_STATEMENT] if "color" in made else []
    sheet = _draw_sheet([cells], COMPARISON_SIDE, [name, describe_steps(recipe, made), *notes])
    sheet.save(output, "JPEG", quality=90, subsampling=0, xmp=xmp)


def describe_steps(recipe: Recipe, made: Collection[str]) -> str:
    """Say what was done to a photo, by what was asked for and the layers that were made of it."""
    steps = [f"colorized by {describe_colorizer(recipe)}"] if "color" in made else []
    if "density" in made and recipe.strength > 0:
        steps.append(f"defaded by {recipe.defader}, strength {recipe.strength:g}")
    return "; ".join(steps) or "no network changed it"


# --- drawing ----------------------------------------------------------------------------------------------------------


def _draw_sheet(rows: Sequence[Sequence[Cell]], side: int, lines: Sequence[str]) -> Image.Image:
    """Draw titled pictures in rows on gray, with lines of text below.

    Args:
        rows: all pictures have one size.
        side: the most pixels of a picture's long side; pictures are not enlarged.
        lines: the first is set off as the sheet's title.
    """
    height, width = rows[0][0][1].shape[:2]
    scale = min(1.0, side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    font = ImageFont.load_default(FONT_SIZE)
    cell_width = max(size[0], *(int(font.getlength(title)) for row in rows for title, _ in row)) + GAP
    cell_height = size[1] + 2 * FONT_SIZE + GAP
    line_height = 3 * FONT_SIZE / 2
    columns = max(len(row) for row in rows)
    sheet_width = max(GAP + cell_width * columns, *(int(font.getlength(line)) + 2 * GAP for line in lines))
    sheet_height = GAP + cell_height * len(rows) + int(len(lines) * line_height) + GAP
    sheet = Image.new("RGB", (sheet_width, sheet_height), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for row, cells in enumerate(rows):
        for column, (title, pixels) in enumerate(cells):
            left, top = GAP + column * cell_width, GAP + row * cell_height
            sheet.paste(Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS), (left, top))
            draw.text((left, top + size[1] + 4), title, TITLE_COLOR, font)
    for number, line in enumerate(lines):
        top = GAP + cell_height * len(rows) + int(number * line_height)
        draw.text((GAP, top), line, NOTE_COLOR if number else TITLE_COLOR, font)
    return sheet

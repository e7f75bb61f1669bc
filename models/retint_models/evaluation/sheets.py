"""Contact sheets: results of networks side by side, to be judged by eye."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from retint_models.datasets.photographs import SUFFIXES, read_photo
from retint_models.evaluation.pages import make_pages
from retint_models.evaluation.pictures import Pixels
from retint_models.evaluation.prints import PrintSample, Repair
from retint_models.evaluation.samples import ColorSample, Decide
from retint_models.layers import rendering

BACKGROUND, GAP, TITLE_HEIGHT = (119, 119, 119), 12, 20
"""Middle gray; pixels between groups; pixels for a title."""


def draw_colorized(samples: Sequence[ColorSample], networks: Mapping[str, Decide]) -> Image.Image:
    """Draw each photo in gray, by each network, and in its true colors."""
    groups = [
        [sample.gray, *(show(sample.gray, decide) for decide in networks.values()), sample.true] for sample in samples
    ]
    columns = " | ".join(["gray", *networks, "true"])
    return draw_sheet(groups, [f"{sample.name}: {columns}" for sample in samples], columns=1, side=384)


def draw_defaded(samples: Sequence[PrintSample], repairs: Mapping[str, Repair]) -> Image.Image:
    """Draw each print as it is, by each defader, and as it should be."""
    groups = [
        [sample.print, *(repair(sample.print) for repair in repairs.values()), sample.truth] for sample in samples
    ]
    columns = " | ".join(["faded", *repairs, "true"])
    return draw_sheet(groups, [f"{sample.name} ({sample.family}): {columns}" for sample in samples])


def show(photo: Pixels, decide: Decide) -> Pixels:
    """Return a photo, uint8 (h, w, 3), in the colors that a network gives it."""
    rendered: Pixels = rendering.colorize_proxy(photo, decide(photo))
    return rendered


def draw_pages(networks: Mapping[str, Decide]) -> Image.Image:
    """Draw pages without a photograph as they are and by each network, which should leave them gray."""
    pages = [(name, np.repeat(gray[..., None], 3, axis=2)) for name, gray in make_pages()]
    groups = [[page, *(show(page, decide) for decide in networks.values())] for _, page in pages]
    columns = " | ".join(["as it is", *networks])
    return draw_sheet(groups, [f"{name}: {columns}" for name, _ in pages], columns=3)


def draw_restored(folder: Path, networks: Mapping[str, Decide], repairs: Mapping[str, Repair]) -> Image.Image:
    """Draw old photographs as they are, by each network, and by each colorizer through the repair of each defader.

    Raises:
        FileNotFoundError: there is no photograph in the folder.
        OSError: a photograph cannot be read.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no photograph in {folder}")
    groups = []
    for file in files:
        photo = read_photo(file, 384)
        repaired = [repair(photo) for repair in repairs.values()]
        colored = [show(photo, decide) for decide in networks.values()]
        both = [show(picture, decide) for picture in repaired for decide in networks.values()]
        groups.append([photo, *colored, *repaired, *both])
    both_names = [f"{defader}, {colorizer}" for defader in repairs for colorizer in networks]
    columns = " | ".join(["as it is", *networks, *repairs, *both_names])
    return draw_sheet(groups, [f"{file.name}: {columns}" for file in files], columns=1, side=384)


def draw_sheet(
    groups: Sequence[Sequence[Pixels]], titles: Sequence[str], columns: int = 2, side: int = 256
) -> Image.Image:
    """Draw groups of pictures, uint8 (h, w, 3), on one sheet, each group in a row with its title below.

    Args:
        groups: As many pictures in each group.
        titles: One a group.
        columns: Groups side by side.
        side: Longest side of a picture on the sheet, in pixels.
    """
    each = len(groups[0])
    width, height = each * side + GAP, side + TITLE_HEIGHT
    lines = -(-len(groups) // columns)
    sheet = Image.new("RGB", (columns * width + GAP, lines * height + GAP), BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    for number, (group, title) in enumerate(zip(groups, titles, strict=True)):
        left, top = GAP + number % columns * width, GAP + number // columns * height
        for place, pixels in enumerate(group):
            picture = Image.fromarray(pixels)
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            offset_x, offset_y = (side - picture.width) // 2, (side - picture.height) // 2
            sheet.paste(picture, (left + place * side + offset_x, top + offset_y))
        draw.text((left, top + side + 3), title, fill=(255, 255, 255))
    return sheet

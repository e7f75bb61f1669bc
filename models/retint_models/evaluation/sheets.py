"""Contact sheets: results of networks side by side, to be judged by eye."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from retint_models.datasets.photographs import SUFFIXES, read_photo
from retint_models.evaluation.colorize import colorize_with
from retint_models.evaluation.defade import repair_with
from retint_models.evaluation.pictures import Pixels
from retint_models.evaluation.prints import PrintSample, Repair
from retint_models.evaluation.samples import ColorSample
from retint_models.layers import rendering
from retint_models.networks.registry import Colorizer, Defader

BACKGROUND, GAP, TITLE_HEIGHT = (119, 119, 119), 12, 20
"""Middle gray; pixels between groups; pixels for a title."""


def draw_colorized(samples: Sequence[ColorSample], colorizers: dict[str, Colorizer]) -> Image.Image:
    """Draw each photo in gray, by each colorizer, and in its true colors."""
    colorizations = [colorize_with(colorizer) for colorizer in colorizers.values()]
    groups = [
        [sample.gray, *(colorize(number, sample.gray) for colorize in colorizations), sample.true]
        for number, sample in enumerate(samples)
    ]
    columns = " | ".join(["gray", *colorizers, "true"])
    return draw_sheet(groups, [f"{sample.name}: {columns}" for sample in samples])


def draw_defaded(samples: Sequence[PrintSample], defaders: dict[str, Defader]) -> Image.Image:
    """Draw each print as it is, by each defader, and as it should be."""
    repairs = [repair_with(defader) for defader in defaders.values()]
    groups = [[sample.print, *(repair(sample.print) for repair in repairs), sample.truth] for sample in samples]
    columns = " | ".join(["faded", *defaders, "true"])
    return draw_sheet(groups, [f"{sample.name} ({sample.family}): {columns}" for sample in samples])


def draw_colors(colorizer: Colorizer) -> Repair:
    """Return a function that shows a photo, uint8 (h, w, 3), in the colors that a colorizer gives it."""
    return lambda photo: rendering.colorize_proxy(photo, colorizer([photo], {})[0])


def draw_restored(folder: Path, colorizers: dict[str, Colorizer], defaders: dict[str, Defader]) -> Image.Image:
    """Draw old photographs as they are, by each network, and by the first colorizer through the repair of each defader.

    Raises:
        FileNotFoundError: there is no photograph in the folder.
        OSError: a photograph cannot be read.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no photograph in {folder}")
    repairs = [repair_with(defader) for defader in defaders.values()]
    draws = [draw_colors(colorizer) for colorizer in colorizers.values()]
    groups = []
    for file in files:
        photo = read_photo(file, 384)
        repaired = [repair(photo) for repair in repairs]
        colored = [draw(photo) for draw in draws]
        both = [draws[0](picture) for picture in repaired if draws]
        groups.append([photo, *colored, *repaired, *both])
    first = next(iter(colorizers), "")
    columns = " | ".join(["as it is", *colorizers, *defaders, *(f"{name}, {first}" for name in defaders if first)])
    return draw_sheet(groups, [f"{file.name}: {columns}" for file in files], side=320)


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

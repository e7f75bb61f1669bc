"""Contact sheets: what networks do, side by side, for eyes to judge."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from retint_models.datasets.photographs import SUFFIXES, read_photo
from retint_models.evaluation import colorize, defade
from retint_models.evaluation.colorize import Shot
from retint_models.evaluation.defade import Case
from retint_models.layers import rendering
from retint_models.networks.registry import Colorizer, Defader

Pixels = NDArray[np.uint8]

GROUND, GAP, TITLE = (119, 119, 119), 12, 20
"""Middle gray, pixels between groups, and pixels for a title."""


def colorized(shots: Sequence[Shot], colorizers: dict[str, Colorizer]) -> Image.Image:
    """Show each photo gray, by each colorizer, and as it was."""
    makers = [colorize.by(colorizer) for colorizer in colorizers.values()]
    tiles = [[shot.gray, *(make(number, shot.gray) for make in makers), shot.true] for number, shot in enumerate(shots)]
    words = " | ".join(["gray", *colorizers, "true"])
    return sheet(tiles, [f"{shot.name}: {words}" for shot in shots])


def defaded(cases: Sequence[Case], defaders: dict[str, Defader]) -> Image.Image:
    """Show each print as it is, by each defader, and as it should be."""
    makers = [defade.by(defader) for defader in defaders.values()]
    tiles = [[case.print, *(make(case.print) for make in makers), case.truth] for case in cases]
    words = " | ".join(["faded", *defaders, "true"])
    return sheet(tiles, [f"{case.name} ({case.family}): {words}" for case in cases])


def restored(folder: Path, colorizers: dict[str, Colorizer], defaders: dict[str, Defader]) -> Image.Image:
    """Show old photographs, whose truth nobody knows: as they are, by each network, and colorized, then defaded.

    Raises:
        FileNotFoundError: no photograph there.
        OSError: one of them cannot be read.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not files:
        raise FileNotFoundError(f"no photograph in {folder}")
    repairs = [defade.by(defader) for defader in defaders.values()]
    tiles = []
    for file in files:
        seen = read_photo(file, 384)
        colored = [rendering.colorize_proxy(seen, by([seen], {})[0]) for by in colorizers.values()]
        group = [seen, *colored, *(repair(seen) for repair in repairs)]
        tiles.append(group + [repair(colored[0]) for repair in repairs if colored])
    first = next(iter(colorizers), "")
    words = " | ".join(["as it is", *colorizers, *defaders, *(f"{first}, {name}" for name in defaders if first)])
    return sheet(tiles, [f"{file.name}: {words}" for file in files], side=320)


def sheet(tiles: Sequence[Sequence[Pixels]], titles: Sequence[str], columns: int = 2, side: int = 256) -> Image.Image:
    """Lay groups of pictures, uint8 (h, w, 3), out on one sheet, each group side by side with its title below."""
    each = len(tiles[0])
    wide, high = each * side + GAP, side + TITLE
    lines = -(-len(tiles) // columns)
    paper = Image.new("RGB", (columns * wide + GAP, lines * high + GAP), GROUND)
    draw = ImageDraw.Draw(paper)
    for number, (group, title) in enumerate(zip(tiles, titles, strict=True)):
        left, top = GAP + number % columns * wide, GAP + number // columns * high
        for place, pixels in enumerate(group):
            picture = Image.fromarray(pixels)
            picture.thumbnail((side, side), Image.Resampling.LANCZOS)
            indent, drop = (side - picture.width) // 2, (side - picture.height) // 2
            paper.paste(picture, (left + place * side + indent, top + drop))
        draw.text((left, top + side + 3), title, fill=(255, 255, 255))
    return paper

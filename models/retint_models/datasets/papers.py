"""Draw surfaces that show nothing: paper and card of any gray, with grain, fibres, foxing, creases; album pages; fog.

All pictures are float32 (side, side), gray in [0, 1], the share of light that the surface reflects, gamma-coded.
Lengths are in parts of the side or in pixels of the picture, which a scan then reduces (`not_photographs`).
"""

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

from retint_models.datasets.fading import Floats, smooth_field

LIGHT, MIDDLE, DARK = (0.72, 0.98), (0.3, 0.75), (0.02, 0.3)
"""Grays of white and cream paper, of gray and brown card, and of black pages."""


def draw_uniform(rng: Generator, side: int) -> Floats:
    """Draw a surface of one gray, half of the time with the noise of a sensor."""
    surface = np.full((side, side), rng.uniform(0, 1), np.float32)
    return surface if rng.random() < 0.5 else surface + draw_grain(rng, side) * np.float32(rng.uniform(0.002, 0.03))


def draw_paper(rng: Generator, side: int, light: float = 0.6) -> Floats:
    """Draw an empty sheet, each time with some of what paper can have; a share of all sheets is light."""
    low, high = (LIGHT, MIDDLE, DARK)[rng.choice(3, p=(light, 0.7 * (1 - light), 0.3 * (1 - light)))]
    darkening = draw_grain(rng, side) * np.float32(rng.choice((0.004, 0.012, 0.03)) * rng.uniform(0.5, 1.5))
    for draw, probability, amount in (
        (draw_fibres, 0.35, 0.15),
        (draw_laid_lines, 0.2, 0.05),
        (draw_foxing, 0.3, 0.3),
        (draw_creases, 0.3, 0.25),
        (draw_tide_lines, 0.2, 0.12),
    ):
        if rng.random() < probability:
            darkening += draw(rng, side) * np.float32(amount * rng.uniform(0.2, 1))
    return np.float32(rng.uniform(low, high)) * (1 - darkening) * shade(rng, side)


def draw_fog(rng: Generator, side: int) -> Floats:
    """Draw a soft field of little contrast: a fogged frame, a leader, a print that has faded away.

    Most have grain or a leak of light, since a smooth field without either might as well be a sky.
    """
    soft = sum(smooth_field((side, side), cells, rng)[..., 0] / cells for cells in rng.integers(2, 9, 3))
    field = np.float32(rng.uniform(0.1, 0.9)) + np.float32(rng.uniform(0.02, 0.12)) * soft
    if rng.random() < 0.8:
        field += draw_grain(rng, side) * np.float32(rng.uniform(0.005, 0.04))
    if rng.random() < 0.3:
        field += np.float32(rng.uniform(-0.4, 0.4)) * fall_off(rng, side)
    return np.asarray(field, np.float32)


def draw_album_page(rng: Generator, side: int) -> Floats:
    """Draw a page from which the photographs are gone: pale places, corners, rests of glue."""
    page = Image.fromarray(draw_paper(rng, side) * np.float32(rng.uniform(0.3, 1)))
    draw = ImageDraw.Draw(page)
    for _ in range(int(rng.integers(1, 5))):
        left, top = rng.uniform(0.02, 0.6, 2) * side
        right, bottom = np.array([left, top]) + rng.uniform(0.2, 0.5, 2) * side
        gray, style = float(page.getpixel((int(left), int(top)))), rng.integers(4)  # type: ignore[arg-type]
        near = min(1.0, gray * rng.uniform(0.8, 1.3) + 0.02)
        if style == 0:
            draw.rectangle((left, top, right, bottom), fill=near)
        elif style == 1:
            draw.rectangle((left, top, right, bottom), outline=near, width=int(rng.integers(1, 5)))
        reach = rng.uniform(0.03, 0.07) * side
        for x, y in ((left, top), (right, top), (left, bottom), (right, bottom)):
            if style == 2:
                inward = reach * np.sign(np.array([left + right - 2 * x, top + bottom - 2 * y]))
                draw.polygon(((x, y), (x + inward[0], y), (x, y + inward[1])), fill=near)
            elif style == 3:
                draw.ellipse((x - reach, y - reach / 2, x + reach, y + reach / 2), fill=near)
    return np.array(page)


def draw_grain(rng: Generator, side: int) -> Floats:
    """Draw noise of one to three coarsenesses, of mean 0 and standard deviation 1."""
    grain = np.zeros((side, side), np.float32)
    for coarseness in rng.choice((1, 1, 2, 3, 5, 9), int(rng.integers(1, 4))):
        cells = rng.standard_normal((side // coarseness + 1,) * 2, np.float32)
        rough = Image.fromarray(cells).resize((side, side), Image.Resampling.BICUBIC)
        grain += np.asarray(rough) * np.float32(rng.uniform(0.3, 1))
    return np.asarray(grain / grain.std(), np.float32)


def draw_fibres(rng: Generator, side: int) -> Floats:
    """Draw short curved fibres, darker and lighter than their paper, in [-1, 1]."""
    image = Image.new("L", (side, side), 128)
    draw = ImageDraw.Draw(image)
    count, length = int(rng.integers(20, 200)), rng.uniform(0.01, 0.06) * side
    starts, bends = rng.uniform(0, side, (count, 1, 2)), rng.normal(0, length, (count, 2, 2))
    paths = np.concatenate([starts, starts + np.cumsum(bends, axis=1)], axis=1)
    for path, gray in zip(paths.reshape(count, 6).tolist(), rng.integers(0, 256, count).tolist(), strict=True):
        draw.line(path, fill=gray)
    return np.asarray(image, np.float32) / 127.5 - 1


def draw_laid_lines(rng: Generator, side: int) -> Floats:
    """Draw the wires of a paper mould: many fine lines and, across them, a few chain lines; in [-1, 1]."""
    places = np.arange(side, dtype=np.float32)
    fine = np.sin(places * np.float32(2 * np.pi / rng.uniform(3, 9)))
    chains = np.exp(-(((places + rng.uniform(0, side)) % rng.uniform(0.1, 0.3) * side) ** 2) / 4).astype(np.float32)
    lines = np.clip(0.6 * fine[:, None] + chains[None, :], -1, 1)
    return np.asarray(lines if rng.random() < 0.5 else lines.T, np.float32)


def draw_foxing(rng: Generator, side: int) -> Floats:
    """Draw the round brown spots of damp, 1 where they are dark."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    count, largest = int(rng.integers(3, 60)), rng.uniform(0.01, 0.06) * side
    for x, y, size in rng.uniform(0, 1, (count, 3)).tolist():
        radius = 1 + largest * size**3
        box = (x * side - radius, y * side - radius, x * side + radius, y * side + radius)
        draw.ellipse(box, fill=int(rng.integers(60, 256)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.5, 3))), np.float32) / np.float32(255)


def draw_creases(rng: Generator, side: int) -> Floats:
    """Draw folds, dark on one side and light on the other, in [-1, 1]."""
    image = Image.new("L", (side, side), 128)
    draw = ImageDraw.Draw(image)
    for _ in range(int(rng.integers(1, 6))):
        ends = rng.uniform(-0.2, 1.2, 4) * side
        if rng.random() < 0.5:
            ends[2 + rng.integers(2)] = ends[rng.integers(2)]
        offset = rng.uniform(-2.5, 2.5, 2)
        draw.line(ends.tolist(), fill=255, width=int(rng.integers(1, 4)))
        draw.line((ends + np.tile(offset, 2)).tolist(), fill=0, width=int(rng.integers(1, 3)))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 2))), np.float32) / 127.5 - 1


def draw_tide_lines(rng: Generator, side: int) -> Floats:
    """Draw the outlines that water leaves, 1 where they are darkest."""
    field = smooth_field((side, side), int(rng.integers(2, 6)), rng)[..., 0]
    beyond = field - np.float32(rng.uniform(-0.3, 0.5))
    lines = np.exp(-((beyond / np.float32(rng.uniform(0.02, 0.1))) ** 2))
    return np.asarray(lines + np.float32(0.3) * (beyond > 0), np.float32)


def shade(rng: Generator, side: int) -> Floats:
    """Draw how much light falls on each place, about 1: slopes, dark corners, the shadow of a fold or an edge."""
    down, across = np.meshgrid(*[np.linspace(-1, 1, side, dtype=np.float32)] * 2, indexing="ij")
    light = np.ones((side, side), np.float32)
    if rng.random() < 0.5:
        slope = rng.normal(0, 0.08, 2).astype(np.float32)
        light += slope[0] * down + slope[1] * across
    if rng.random() < 0.3:
        light -= np.float32(rng.uniform(0.02, 0.2)) * (down**2 + across**2)
    if rng.random() < 0.25:
        light -= np.float32(rng.uniform(0.1, 0.6)) * fall_off(rng, side)
    return light


def fall_off(rng: Generator, side: int) -> Floats:
    """Draw what is 1 at one edge of the picture and falls to 0 at some distance."""
    reach = np.float32(rng.uniform(0.02, 0.25) * side)
    from_edge = np.exp(-np.arange(side, dtype=np.float32) / reach)
    ramp = np.broadcast_to(from_edge, (side, side))
    return np.ascontiguousarray(np.rot90(ramp, int(rng.integers(4))))


def ramp(side: int, turn: float) -> Floats:
    """Return the distance of each pixel along a direction, in radians from the horizontal."""
    places = np.arange(side, dtype=np.float32)
    distance: Floats = places * np.float32(np.cos(turn)) + places[:, None] * np.float32(np.sin(turn))
    return distance

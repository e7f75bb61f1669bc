"""Draw blank sheets, writing and drawings to judge colorizers on: what they color there is invented.

It shares no formula, typeface or constant with `retint_models.datasets.not_photographs`, which networks are trained on:
paper is noise with a spectrum, letters are Pillow's old bitmap ones, most lines are drawn by distance. So a network
that leaves these pages gray has not learned a program by heart.
"""

from collections.abc import Iterator

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Gray = NDArray[np.uint8]
Field = NDArray[np.float64]

SIZE = (352, 256)
"""Height and width of a page: its short side is what networks look at."""

SENTENCES = (
    "Received of Mr Halloran the sum of four pounds and six shillings for the hire of one boat.",
    "No. 1187. The bridge from the south bank, looking towards the mill, before it was pulled down.",
    "Meeting of the committee, 14 March 1931. Present: the chair, the treasurer and five members.",
    "Dear Anna, we came here on Tuesday by the slow train and it has rained ever since.",
)


def make_pages() -> list[tuple[str, Gray]]:
    """Make all pages, always the same: names such as `blank: uniform 128` or `text: typed 2`, and gray uint8 (h, w).

    The part of a name before the colon is its group: `blank`, `text` or `drawing`.
    """
    groups = {"blank": draw_blanks, "text": draw_texts, "drawing": draw_drawings}
    return [
        (f"{group}: {name}", np.clip(page + 0.5, 0, 255).astype(np.uint8))
        for number, (group, draw) in enumerate(groups.items())
        for name, page in draw(np.random.default_rng((1839, number)))
    ]


def invert(gray: Gray) -> Gray:
    """Return the negative of a photograph (h, w), as a scanner shows it: reversed, and flatter for the film's base."""
    return np.asarray(235 - 0.86 * gray.astype(np.float64), np.uint8)


# --- groups of pages --------------------------------------------------------------------------------------------------


def draw_blanks(rng: Generator) -> Iterator[tuple[str, Field]]:
    """Yield even grays, ramps, papers, fog, and cards with a rim or a shadow; (h, w), 0 to 255."""
    for gray in (0, 12, 40, 70, 100, 128, 155, 180, 205, 230, 250, 255):
        yield f"uniform {gray}", np.full(SIZE, float(gray))
    down, across = np.mgrid[0 : SIZE[0], 0 : SIZE[1]] / 256
    for name, slope in {"down": down, "up": -down, "right": across, "aslant": down - across}.items():
        yield f"ramp {name}", 150 + 60 * (slope - slope.mean())
    for number, gray in enumerate((225, 240, 190, 140, 90, 30)):
        yield f"paper {number}", gray + rng.uniform(2, 6) * spectral_noise(rng, rng.uniform(0.2, 0.9))
    for number in range(4):
        yield f"fog {number}", rng.uniform(90, 220) + rng.uniform(6, 16) * spectral_noise(rng, 1.8)
    for number, gray in enumerate((215, 120, 60)):
        rim = np.minimum.reduce([down, down[::-1], across, across[:, ::-1]])
        shadow = 1 - 0.35 * np.exp(-(across if number % 2 else down) / 0.08)
        card = np.where(rim < 0.04, 0.8 * gray, float(gray)) * shadow
        yield f"card {number}", card + 3 * spectral_noise(rng, 0.5)


def draw_texts(rng: Generator) -> Iterator[tuple[str, Field]]:
    """Yield typed pages, small print, pages by hand, tables, music, and light writing on slate."""
    for number in range(6):
        yield f"typed {number}", on_paper(rng, set_type(rng, SIZE[1] - 30, 11 + 2 * (number % 3)))
    for number in range(3):
        large = set_type(rng, 2 * SIZE[1] - 30, 11, scale=2 + number % 2)
        yield f"small print {number}", on_paper(rng, large)
    for number in range(4):
        yield f"hand {number}", on_paper(rng, write_waves(rng, pitch=rng.uniform(14, 34)))
    for number in range(3):
        ink = set_type(rng, SIZE[1] - 30, 16)
        ink[12 :: 16 + 8 * number, 12:-12] = 1
        ink[:, 20 :: 40 + 20 * number] = 1
        yield f"table {number}", on_paper(rng, ink)
    for number in range(2):
        yield f"music {number}", on_paper(rng, draw_music(rng))
    for number in range(2):
        yield f"slate {number}", 255 - on_paper(rng, write_waves(rng, pitch=20 + 20 * number))


def draw_drawings(rng: Generator) -> Iterator[tuple[str, Field]]:
    """Yield contour maps, plans of rooms, charts, engraved disks and chessboards of dots."""
    down, across = np.mgrid[0 : SIZE[0], 0 : SIZE[1]].astype(np.float64)
    for number in range(3):
        levels = rng.uniform(2, 5) * spectral_noise(rng, 1.9)
        apart = np.abs(levels - np.round(levels)) / (np.hypot(*np.gradient(levels)) + 0.01)
        yield f"map {number}", on_paper(rng, np.clip(1.3 - apart, 0, 1))
    for number in range(3):
        yield f"plan {number}", on_paper(rng, draw_rooms(rng))
    for number in range(3):
        curves = 170 + 20 * np.cumsum(rng.normal(0, 0.4, (4, SIZE[1])), axis=1) + 30 * np.arange(4)[:, None]
        ink = np.clip(2 - np.abs(down[None] - curves[:, None]), 0, 1).max(axis=0)
        ink[:, 30:32] = ink[-40:-38] = 1
        yield f"chart {number}", on_paper(rng, ink)
    for number in range(3):
        row, column, radius = rng.uniform((120, 90, 60), (230, 170, 110))
        tone = np.clip(1 - ((down - row) ** 2 + (across - column) ** 2) / radius**2, 0, 1)
        lines = 0.5 + 0.5 * np.cos((down + (number - 1) * across) * 2 * np.pi / (5 + number))
        yield f"engraving {number}", on_paper(rng, (lines < tone).astype(np.float64))
    for number in range(2):
        dots = np.sin(down * np.pi / (5 + 3 * number)) * np.sin(across * np.pi / (5 + 3 * number))
        yield f"dots {number}", on_paper(rng, (np.abs(dots) > 0.6 - 0.4 * down / SIZE[0]).astype(np.float64))


# --- paper and ink ----------------------------------------------------------------------------------------------------


def spectral_noise(rng: Generator, slope: float) -> Field:
    """Return noise (h, w) of mean 0 and deviation 1 whose amplitude falls with frequency: f to the power of -slope."""
    frequency = np.hypot(np.fft.fftfreq(SIZE[0])[:, None], np.fft.rfftfreq(SIZE[1])[None])
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal(SIZE)) * frequency**-slope, SIZE)
    return np.asarray(noise / noise.std())


def on_paper(rng: Generator, ink: Field) -> Field:
    """Put ink (h, w) in [0, 1] on a light sheet, from pale to black; 0 to 255."""
    paper = rng.uniform(185, 250) + rng.uniform(0.5, 4) * spectral_noise(rng, rng.uniform(0.2, 1.2))
    return np.asarray(paper + ink * (rng.uniform(15, 120) - paper))


def set_type(rng: Generator, width: int, pitch: int, scale: int = 1) -> Field:
    """Set sentences in the old bitmap typeface, line by line; `scale` reduces a larger page to the usual size."""
    height = SIZE[0] * scale
    image = Image.new("L", (SIZE[1] * scale, height))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default_imagefont()
    characters = width // 6
    for top in range(15, height - 20, pitch):
        text = " ".join(SENTENCES[number] for number in rng.permutation(len(SENTENCES)))
        first = int(rng.integers(40))
        draw.text((15, top), text[first : first + int(characters * rng.uniform(0.6, 1))], fill=255, font=font)
    return np.asarray(image.resize(SIZE[::-1], Image.Resampling.LANCZOS), np.float64) / 255


def write_waves(rng: Generator, pitch: float) -> Field:
    """Write by hand: lines that are sums of three waves, with gaps between words."""
    ink, rows = np.zeros(SIZE), np.arange(SIZE[0])[:, None]
    across = np.arange(SIZE[1])
    for base in np.arange(25, SIZE[0] - 15, pitch):
        speeds, sizes = rng.uniform((0.5, 0.9, 0.1), (0.9, 1.6, 0.3)), rng.uniform(0.05, 0.2, 3) * pitch
        waves = sum(
            size * np.sin(speed * across + rng.uniform(0, 6)) for speed, size in zip(speeds, sizes, strict=True)
        )
        steep = np.hypot(1, np.gradient(waves))
        stroke = np.clip(1.3 - np.abs(rows - base - waves) / steep, 0, 1)
        is_word = np.sin(0.12 * across + rng.uniform(0, 6)) + np.sin(0.31 * across) > -0.7
        ink = np.maximum(ink, stroke * (is_word & (across > 20) & (across < rng.integers(150, 240))))
    return ink


def draw_music(rng: Generator) -> Field:
    """Draw staves of five lines with notes."""
    image = Image.new("L", SIZE[::-1])
    draw = ImageDraw.Draw(image)
    for top in range(24, SIZE[0] - 50, 52):
        for line in range(5):
            draw.line((14, top + 6 * line, SIZE[1] - 14, top + 6 * line), fill=200)
        for x in np.cumsum(rng.uniform(8, 24, 14)) + 20:
            y = top + 3 * int(rng.integers(-1, 9))
            draw.ellipse((x, y - 3, x + 7, y + 3), fill=255)
            draw.line((x + 7, y, x + 7, y - 18), fill=255)
    return np.asarray(image, np.float64) / 255


def draw_rooms(rng: Generator) -> Field:
    """Draw the plan of a house: a rectangle that walls divide again and again, each with a door."""
    image = Image.new("L", SIZE[::-1])
    draw = ImageDraw.Draw(image)
    rooms = [(25.0, 30.0, SIZE[1] - 25.0, SIZE[0] - 30.0)]
    draw.rectangle(rooms[0], outline=255, width=4)
    while rooms:
        left, top, right, bottom = rooms.pop()
        wide, high = right - left, bottom - top
        if max(wide, high) < 90:
            continue
        cut = rng.uniform(0.35, 0.65)
        if wide > high:
            x = left + cut * wide
            draw.line((x, top, x, bottom - 18), fill=255, width=3)
            rooms += [(left, top, x, bottom), (x, top, right, bottom)]
        else:
            y = top + cut * high
            draw.line((left + 18, y, right, y), fill=255, width=3)
            rooms += [(left, top, right, y), (left, y, right, bottom)]
    return np.asarray(image, np.float64) / 255

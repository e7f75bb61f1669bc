"""Draw writing: type, typewriting, handwriting and invented scripts, set as pages, forms, labels and backs of cards.

Ink is drawn white on black into `Image` of mode L, and `print_ink` puts it on paper. Pillow's own typeface is the only
one that every machine has. It knows Latin alone, so other scripts are invented: strokes in cells, joined or apart,
whose lines are as dense as those of real ones.
"""

from collections.abc import Callable
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFont

from retint_models.datasets.fading import Floats
from retint_models.datasets.papers import draw_paper

Write = Callable[[Image.Image, float, float, float], None]
"""Writes one line of ink: where its left and top are, and how wide it is, in pixels."""

LETTERS = "eeeeeetttttaaaaooooiiiinnnnsssshhhrrrddlluccmmwffgyppbvk"
"""Letters about as often as English has them."""


def draw_text_page(rng: Generator, side: int) -> Floats:
    """Draw a page of text in one to three columns, with paragraphs and perhaps a heading."""
    ink = Image.new("L", (side, side))
    size = side / rng.uniform(10, 55)
    margin = rng.uniform(-0.05, 0.15) * side
    top = rng.uniform(-0.05, 0.2) * side
    if rng.random() < 0.4:
        heading = size * rng.uniform(1.2, 3)
        choose_script(rng, heading)(ink, side * rng.uniform(0.05, 0.4), top, side * rng.uniform(0.3, 0.6))
        top += 2 * heading
    fill_columns(ink, choose_script(rng, size), rng, (margin, top, side - margin, side * rng.uniform(0.7, 1.05)), size)
    return print_ink(ink, rng)


def draw_form(rng: Generator, side: int) -> Floats:
    """Draw a form or a table: rules, labels in type, entries by hand or machine, some left empty."""
    ink = Image.new("L", (side, side))
    draw = ImageDraw.Draw(ink)
    rows, columns = int(rng.integers(4, 26)), int(rng.integers(1, 9))
    left, top, right, bottom = np.array([0, 0, side, side]) + rng.uniform(-0.03, 0.12, 4) * side * [1, 1, -1, -1]
    ys = np.linspace(top, bottom, rows + 1)
    xs = left + (right - left) * np.concatenate([[0], np.sort(rng.uniform(0.1, 0.95, columns - 1)), [1]])
    is_ruled = rng.random(2) < (0.8, 0.6)
    for y in ys if is_ruled[0] else ys[:: rows + 1]:
        draw.line((left, y, right, y), fill=int(rng.integers(90, 256)), width=int(rng.integers(1, 3)))
    for x in xs if is_ruled[1] else xs[:0]:
        draw.line((x, top, x, bottom), fill=int(rng.integers(90, 256)))
    size = 0.6 * (bottom - top) / rows
    label, entry = choose_typeface(rng, size * rng.uniform(0.6, 1)), choose_script(rng, size)
    for y in ys[:-1]:
        for number, (x, following) in enumerate(pairwise(xs)):
            write = label if number == 0 or rng.random() < 0.3 else entry
            if rng.random() < 0.7:
                write(ink, x + 2, y + 0.2 * size, (following - x) * rng.uniform(0.2, 0.9))
    return print_ink(ink, rng)


def draw_label(rng: Generator, side: int) -> Floats:
    """Draw a few large words: a title page, a caption, a poster, a detail of a page; perhaps inside a frame."""
    ink = Image.new("L", (side, side))
    if rng.random() < 0.4:
        draw_frame(ink, rng)
    top = rng.uniform(0, 0.5) * side
    for _ in range(int(rng.integers(1, 6))):
        size = side * rng.uniform(0.03, 0.3)
        choose_script(rng, size)(ink, side * rng.uniform(-0.1, 0.4), top, side * rng.uniform(0.3, 1.1))
        top += size * rng.uniform(1.1, 2.5)
    return print_ink(ink, rng)


def draw_card_back(rng: Generator, side: int) -> Floats:
    """Draw the back of a card: a stamp, a postmark, lines for an address, a studio's name, a little writing."""
    ink = Image.new("L", (side, side))
    draw = ImageDraw.Draw(ink)
    if rng.random() < 0.4:
        draw.line((side / 2, 0.1 * side, side / 2, 0.9 * side), fill=200, width=int(rng.integers(1, 3)))
    if rng.random() < 0.5:
        for y in np.linspace(rng.uniform(0.4, 0.6), rng.uniform(0.7, 0.95), int(rng.integers(3, 6))) * side:
            draw.line((side * 0.55, y, side * 0.95, y), fill=int(rng.integers(80, 220)))
    for _ in range(int(rng.integers(0, 3))):
        draw_stamp(ink, rng)
    if rng.random() < 0.3:
        draw_frame(ink, rng)
    for _ in range(int(rng.integers(1, 6))):
        x, y, width = rng.uniform((0, 0, 0.1), (0.6, 0.9, 0.6)) * side
        choose_script(rng, side * rng.uniform(0.02, 0.07))(ink, x, y, width)
    return print_ink(ink, rng)


# --- how ink lies on a page -------------------------------------------------------------------------------------------


def print_ink(ink: Image.Image, rng: Generator) -> Floats:
    """Print ink on paper: black to pale; sometimes another page shows through, and one in ten is white on black."""
    covered = np.asarray(ink, np.float32) / 255
    darkness = np.float32(rng.uniform(0.3, 1) ** 0.5)
    page = draw_paper(rng, ink.width, light=0.85) * (1 - darkness * covered)
    if rng.random() < 0.15:
        page *= 1 - np.float32(rng.uniform(0.03, 0.15)) * covered[:, ::-1]
    return np.asarray(page if rng.random() < 0.9 else 1 - page, np.float32)


def fill_columns(
    ink: Image.Image, write: Write, rng: Generator, box: tuple[float, float, float, float], size: float
) -> None:
    """Write lines of a size in pixels into the columns of a box: left, top, right, bottom."""
    left, top, right, bottom = box
    columns = int(rng.choice((1, 1, 1, 2, 3)))
    pitch, gap = size * rng.uniform(1.1, 2), 1.5 * size
    width = (right - left - (columns - 1) * gap) / columns
    indent, filled = rng.uniform(0, 3) * size, rng.uniform(0.3, 0.9)
    for x in left + np.arange(columns) * (width + gap):
        y, starts = top, True
        while y < bottom:
            ends = rng.random() < 0.15
            before = indent if starts else 0.0
            write(ink, x + before, y, (width - before) * (rng.uniform(0.1, 0.8) if ends else rng.uniform(filled, 1)))
            y += pitch * (1.5 if ends and filled < 0.5 else 1)
            starts = ends


def draw_frame(ink: Image.Image, rng: Generator) -> None:
    """Draw one to three lines around the page, perhaps with ornaments on them."""
    draw, side = ImageDraw.Draw(ink), ink.width
    inset = rng.uniform(0.02, 0.15) * side
    for _ in range(int(rng.integers(1, 4))):
        draw.rectangle((inset, inset, side - inset, side - inset), outline=255, width=int(rng.integers(1, 4)))
        inset += rng.uniform(2, 0.04 * side)
    if rng.random() < 0.4:
        radius = rng.uniform(0.005, 0.02) * side
        for place in np.arange(inset, side - inset, 3 * radius):
            for x, y in ((place, inset), (place, side - inset), (inset, place), (side - inset, place)):
                draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=255)


def draw_stamp(ink: Image.Image, rng: Generator) -> None:
    """Draw a rubber stamp or a postmark: a ring or a box with words, and perhaps waves."""
    draw, side = ImageDraw.Draw(ink), ink.width
    x, y = rng.uniform(0.2, 0.8, 2) * side
    radius, gray = rng.uniform(0.06, 0.18) * side, int(rng.integers(90, 256))
    box = (x - radius, y - radius * rng.uniform(0.4, 1), x + radius, y + radius)
    shape = draw.ellipse if rng.random() < 0.6 else draw.rectangle
    shape(box, outline=gray, width=int(rng.integers(1, 4)))
    if rng.random() < 0.4:
        shape((box[0] + 4, box[1] + 4, box[2] - 4, box[3] - 4), outline=gray)
    choose_typeface(rng, radius * 0.35)(ink, x - 0.7 * radius, y - 0.2 * radius, 1.3 * radius)
    if rng.random() < 0.4:
        xs = np.linspace(x + radius, x + 3 * radius, 24)
        for line in range(4):
            waves = y + (line - 1.5) * radius / 2.5 + np.sin((xs - x) / radius * 6) * radius / 12
            draw.line(np.stack([xs, waves], 1).ravel().tolist(), fill=gray)


# --- hands and typefaces ----------------------------------------------------------------------------------------------


def choose_script(rng: Generator, size: float) -> Write:
    """Return one way of writing at a size in pixels, the same for as long as it is used."""
    choices = (choose_typeface, choose_typewriter, choose_handwriting, choose_invented_script)
    return choices[rng.choice(4, p=(0.35, 0.15, 0.25, 0.25))](rng, size)


def choose_typeface(rng: Generator, size: float) -> Write:
    """Return type: regular or bold, mixed or capital letters, words or numbers."""
    font, weight = load_font(max(4, round(size))), int(rng.random() < 0.25) * max(0, round(size / 18))
    is_capital, numbers = rng.random() < 0.2, rng.choice((0.05, 0.05, 0.8))

    def write(ink: Image.Image, left: float, top: float, width: float) -> None:
        text = invent_words(rng, max(1, int(width / (0.5 * size))), numbers)
        text = text.upper() if is_capital else text
        ImageDraw.Draw(ink).text((left, top), text, fill=255, font=font, stroke_width=weight)

    return write


def choose_typewriter(rng: Generator, size: float) -> Write:
    """Return typewriting: words that dance around their line, struck harder and softer."""
    font, dance = load_font(max(4, round(size))), rng.uniform(0, 0.08) * size

    def write(ink: Image.Image, left: float, top: float, width: float) -> None:
        draw, x = ImageDraw.Draw(ink), left
        for word in invent_words(rng, max(1, int(width / (0.6 * size))), 0.15).split():
            gray = int(rng.integers(150, 256))
            draw.text((x, top + rng.normal(0, dance)), word, fill=gray, font=font)
            x += 0.6 * size * (len(word) + 1)

    return write


def choose_handwriting(rng: Generator, size: float) -> Write:
    """Return a hand: letters as arches and loops of a running line, with its slant, width and pen."""
    slant, pen = rng.uniform(-0.3, 0.8), max(1, round(size * rng.uniform(0.05, 0.15)))
    stride, loop = size * rng.uniform(0.2, 0.4), size * rng.uniform(0, 0.2)
    tall, unsteady = rng.uniform(0.15, 0.4), rng.uniform(0, 0.06) * size

    def write(ink: Image.Image, left: float, top: float, width: float) -> None:
        draw, x = ImageDraw.Draw(ink), left
        base = top + 0.75 * size
        while x < left + width:
            letters = int(rng.integers(1, 9))
            turns = np.arange(0, letters, 0.25)
            heights = np.where(rng.random(letters) < tall, rng.choice((0.75, -0.35), letters), 0.35)
            rise = (0.5 - 0.5 * np.cos(2 * np.pi * turns)) * heights.repeat(4) * size
            xs = x + turns * stride + loop * np.sin(2 * np.pi * turns) + slant * rise
            ys = base - rise + rng.normal(0, unsteady, len(turns))
            draw.line(np.stack([xs, ys], 1).ravel().tolist(), fill=255, width=pen)
            x += letters * stride + rng.uniform(0.4, 0.9) * size

    return write


def choose_invented_script(rng: Generator, size: float) -> Write:
    """Return a script of 24 invented signs: in square cells, as letters, or joined by a line at the top or bottom."""
    cell = max(4, round(size))
    advance = max(3, round(cell * rng.choice((0.5, 0.65, 1.0))))
    strokes, pen = rng.choice((2, 3, 6)), max(1, round(cell * rng.uniform(0.06, 0.15)))
    joined = rng.choice((-1.0, -1.0, 0.1, 0.85))
    signs = []
    for _ in range(24):
        sign = Image.new("L", (advance, cell))
        draw_sign(sign, rng, int(strokes), pen)
        signs.append(sign)

    def write(ink: Image.Image, left: float, top: float, width: float) -> None:
        x, words = round(left), rng.random() < 0.8
        for sign in rng.integers(0, 30 if words else 24, max(1, int(width / advance))).tolist():
            if sign < 24:
                ink.paste(255, (x, round(top)), signs[sign])
                if joined > 0:
                    y = top + joined * cell
                    ImageDraw.Draw(ink).line((x, y, x + advance, y), fill=255, width=pen)
            x += advance

    return write


def draw_sign(sign: Image.Image, rng: Generator, strokes: int, pen: int) -> None:
    """Draw one sign of straight strokes and bows between the points of a grid of 3 x 4."""
    draw = ImageDraw.Draw(sign)
    grid = np.array([sign.width - 2, sign.height - 2]) / [2, 3]
    for _ in range(strokes):
        (x, y), (u, v) = rng.integers((0, 0), (3, 4), (2, 2)) * grid
        if rng.random() < 0.35:
            box = (min(x, u), min(y, v), max(x, u) + 1, max(y, v) + 1)
            draw.arc(box, int(rng.integers(0, 360)), int(rng.integers(360, 600)), fill=255, width=pen)
        else:
            draw.line((x, y, u, v), fill=255, width=pen)


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Load Pillow's typeface at a size in pixels."""
    return ImageFont.load_default(size)


def invent_words(rng: Generator, length: int, numbers: float) -> str:
    """Invent a line of words, of which a share are numbers, `length` characters long."""
    letters = rng.choice(list(LETTERS), length)
    is_number = np.repeat(rng.random(length // 4 + 1) < numbers, 4)[:length]
    signs = np.where(is_number, rng.choice(list("0123456789,.-"), length), letters)
    signs[rng.random(length) < 0.17] = " "
    return "".join(signs)

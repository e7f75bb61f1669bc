"""Simulated scans: photographs in mounts, on album pages and scanner beds, beside targets, rulers and handwriting."""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Color = tuple[int, int, int]
Random = np.random.Generator

PATCHES = [
    (115, 82, 68), (194, 150, 130), (98, 122, 157), (87, 108, 67), (133, 128, 177), (103, 189, 170),
    (214, 126, 44), (80, 91, 166), (193, 90, 99), (94, 60, 108), (157, 188, 64), (224, 163, 46),
    (56, 61, 150), (70, 148, 73), (175, 54, 60), (231, 199, 31), (187, 86, 149), (8, 133, 161),
    (243, 243, 242), (200, 200, 200), (160, 160, 160), (122, 122, 121), (85, 85, 85), (52, 52, 52),
]  # fmt: skip
"""A color target's patches: the usual 24, as sRGB."""


@dataclass(frozen=True)
class Scan:
    """A page (h, w, 3), and where its pictures are: `truth` (h, w), True inside."""

    page: NDArray[np.uint8]
    truth: NDArray[np.bool_]


@dataclass(frozen=True)
class Sheet:
    """A page while it is laid out, and the mask of its pictures."""

    page: Image.Image
    mask: Image.Image

    @classmethod
    def blank(cls, size: tuple[int, int], color: Color) -> "Sheet":
        return cls(Image.new("RGB", size, color), Image.new("L", size, 0))

    def lay(self, picture: Image.Image, left: int, top: int, is_picture: bool = True) -> None:
        self.page.paste(picture, (left, top))
        if is_picture:
            self.mask.paste(255, (left, top, left + picture.width, top + picture.height))


def make_scan(photos: list[NDArray[np.uint8]], arrangement: str, seed: int) -> Scan:
    """Lay the first photo (or two) out as named, and scan the page: skew, shading, noise, JPEG."""
    random = np.random.default_rng(seed)
    sheet, bed = ARRANGEMENTS[arrangement]([Image.fromarray(photo) for photo in photos], random)
    return _scan(sheet, bed, random, skews=arrangement not in UNSKEWED)


def _scan(sheet: Sheet, bed: Color, random: Random, skews: bool) -> Scan:
    angle = float(random.uniform(-2, 2)) if skews else 0.0
    page = sheet.page.rotate(angle, Image.Resampling.BICUBIC, fillcolor=bed)
    mask = sheet.mask.rotate(angle, Image.Resampling.BICUBIC)
    scale = min(1, 768 / max(page.size))
    size = (round(page.width * scale), round(page.height * scale))
    pixels = np.asarray(page.resize(size, Image.Resampling.LANCZOS), np.float64)
    height, width = pixels.shape[:2]
    slope = random.uniform(-0.04, 0.04, 2)
    shading = 1 + np.linspace(-1, 1, width) * slope[0] + np.linspace(-1, 1, height)[:, None] * slope[1]
    noisy = pixels * shading[..., None] + random.normal(0, random.uniform(1, 4), pixels.shape)
    file = io.BytesIO()
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(file, "jpeg", quality=int(random.integers(75, 95)))
    return Scan(np.asarray(Image.open(file).convert("RGB")), np.asarray(mask.resize(size)) > 127)


def make_document(seed: int, size: tuple[int, int] = (540, 700)) -> NDArray[np.uint8]:
    """Scan a typewritten page, or a handwritten one (odd seeds), (h, w, 3)."""
    random = np.random.default_rng(seed)
    color = _vary(((240, 236, 226), (226, 210, 180), (205, 190, 160))[seed % 3], random)
    ink = _vary(((30, 30, 30), (60, 45, 35), (40, 50, 120))[int(random.integers(3))], random)
    sheet = _paper(size, color, random)
    draw = ImageDraw.Draw(sheet.page)
    font = ImageFont.load_default(int(random.integers(10, 20)))
    for line in range(60, size[1] - 60, 30):
        if seed % 2:
            _write_by_hand(draw, 50, size[0] - 60, line, ink, random)
        else:
            words = ("the museum", "a letter", "of my mother", "in the garden", "with her uncle", "1923")
            text = " ".join(words[int(number)] for number in random.integers(0, len(words), 3))
            draw.text((50, line), text, fill=ink, font=font)
    return _scan(sheet, color, random, skews=True).page


def make_blank(seed: int, size: tuple[int, int] = (540, 700)) -> NDArray[np.uint8]:
    """Scan an empty page, (h, w, 3)."""
    random = np.random.default_rng(seed)
    color = _vary(((240, 236, 226), (128, 128, 128), (112, 84, 62), (16, 16, 18))[seed % 4], random)
    return _scan(_paper(size, color, random, 4), color, random, skews=False).page


def stamp(photo: NDArray[np.uint8], seed: int, share: float = 0.15) -> NDArray[np.uint8]:
    """Put an archive's red stamp on a photograph (h, w, 3), `share` of its width wide."""
    random = np.random.default_rng(seed)
    picture = Image.fromarray(photo)
    draw, width = ImageDraw.Draw(picture), round(photo.shape[1] * share)
    left, top = (int(random.integers(5, length - width - 5)) for length in picture.size)
    draw.ellipse((left, top, left + width, top + width // 2), outline=(190, 40, 50), width=max(2, width // 12))
    font = ImageFont.load_default(max(8, width // 6))
    draw.text((left + width // 4, top + width // 6), "ARCHIVE", fill=(190, 40, 50), font=font)
    return np.asarray(picture)


def _write_by_hand(
    draw: ImageDraw.ImageDraw, left: float, right: float, base: float, ink: Color, random: Random
) -> None:
    """Draw a line of strokes that look like handwriting."""
    while left < right:
        loops = int(random.integers(4, 12))
        xs = left + np.arange(loops) * 5 + random.normal(0, 1.5, loops)
        ys = base + random.uniform(-9, 7, loops)
        draw.line(list(zip(xs, ys, strict=True)), fill=ink, width=2, joint="curve")
        left += loops * 5 + 12


def _vary(color: Color, random: Random, by: int = 12) -> Color:
    red, green, blue = (int(np.clip(value + random.integers(-by, by + 1), 0, 255)) for value in color)
    return red, green, blue


def _paper(size: tuple[int, int], color: Color, random: Random, roughness: float = 3) -> Sheet:
    """Make a page of paper or card: its grain is as coarse as three pixels."""
    grain = random.normal(0, roughness, (size[1] // 3 + 1, size[0] // 3 + 1))
    rough = np.asarray(Image.fromarray(grain.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
    page = np.clip(np.array(color) + rough[..., None], 0, 255).astype(np.uint8)
    return Sheet(Image.fromarray(page), Image.new("L", size, 0))


def draw_target(width: int, height: int, paper: Color, rows: int) -> Image.Image:
    """Draw a color target: patches in `rows` rows on its card."""
    card = Image.new("RGB", (width, height), paper)
    draw = ImageDraw.Draw(card)
    across = math.ceil(len(PATCHES) / rows)
    column, row = width / across, height / rows
    for number, color in enumerate(PATCHES):
        left, top = number % across * column, number // across * row
        draw.rectangle((left + 2, top + 2, left + column - 3, top + row - 3), fill=color)
    return card


def _surround(photo: Image.Image, random: Random, low: float, high: float) -> tuple[tuple[int, int], int, int]:
    """Choose a page's size and the photo's place on it; margins are shares of the photo's sides."""
    left, right, top, bottom = random.uniform(low, high, 4)
    size = (round(photo.width * (1 + left + right)), round(photo.height * (1 + top + bottom)))
    return size, round(photo.width * left), round(photo.height * top)


def _lay_on_paper(photo: Image.Image, random: Random, color: Color, low: float, high: float) -> Sheet:
    size, left, top = _surround(photo, random, low, high)
    sheet = _paper(size, color, random)
    sheet.lay(photo, left, top)
    return sheet


def white_mount_and_target(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    photo, color = photos[0], _vary((238, 237, 233), random, 8)
    size, left, top = _surround(photo, random, 0.06, 0.15)
    strip = round(photo.height * 0.16)
    sheet = _paper((size[0], size[1] + strip + 20), color, random, 1)
    sheet.lay(photo, left, top)
    target = draw_target(round(photo.width * 0.7), strip, _vary((225, 225, 225), random), 2)
    sheet.lay(target, left, size[1], is_picture=False)
    return sheet, color


def brown_album_page(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    color = _vary((112, 84, 62), random, 20)
    return _lay_on_paper(photos[0], random, color, 0.1, 0.5), color


def gray_green_card(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    color = _vary((132, 143, 128), random)
    return _lay_on_paper(photos[0], random, color, 0.08, 0.3), color


def cream_mount(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    color = _vary((236, 222, 190), random)
    return _lay_on_paper(photos[0], random, color, 0.07, 0.09), color


def black_bed_and_target(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    photo, color = photos[0], _vary((14, 14, 16), random, 8)
    size, left, top = _surround(photo, random, 0.03, 0.15)
    strip = round(photo.width * 0.15)
    sheet = Sheet.blank((size[0] + strip + 15, size[1]), color)
    sheet.lay(photo, left, top)
    target = draw_target(round(photo.height * 0.9), strip, _vary((60, 60, 60), random), 2).rotate(90, expand=True)
    sheet.lay(target, size[0], top, is_picture=False)
    return sheet, color


def white_border(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    """A print with its own border, straight and filling the scan, or with a deckle edge on a dark bed."""
    photo, color = photos[0], _vary((240, 236, 226), random, 8)
    sheet = _lay_on_paper(photo, random, color, 0.04, 0.07)
    if random.random() < 0.5:
        return sheet, color
    bed = _vary((40, 40, 42), random, 20)
    width, height = sheet.page.size
    around = Sheet.blank((width + 80, height + 80), bed)
    outline = Image.new("L", around.page.size, 0)
    ImageDraw.Draw(outline).polygon(_deckle(width, height, random), fill=255)
    paper = Image.new("RGB", around.page.size, color)
    paper.paste(sheet.page, (40, 40))
    around.page.paste(paper, (0, 0), outline)
    around.mask.paste(sheet.mask, (40, 40))
    return around, bed


def _deckle(width: int, height: int, random: Random) -> list[tuple[float, float]]:
    """Return the corners of a ragged outline around a print that lies at (40, 40)."""
    tooth = random.uniform(4, 10)
    across, down = np.arange(0, width, tooth), np.arange(0, height, tooth)
    ragged: Callable[[Any], Any] = lambda count: 40 + random.uniform(-3, 1, count)  # noqa: E731
    top = list(zip(across + 40, ragged(len(across)), strict=True))
    right = list(zip(width + 80 - ragged(len(down)), down + 40, strict=True))
    bottom = list(zip(across[::-1] + 40, height + 80 - ragged(len(across)), strict=True))
    left = list(zip(ragged(len(down)), down[::-1] + 40, strict=True))
    return top + right + bottom + left


def two_pictures(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    """Two prints side by side or one below the other, each turned a little by itself."""
    color = _vary(((112, 84, 62), (32, 30, 30), (160, 156, 146))[int(random.integers(3))], random)
    first, second = photos[0], photos[1]
    gap = round(max(first.size) * random.uniform(0.06, 0.15))
    beside = bool(random.random() < 0.5)
    width = first.width + second.width + 3 * gap if beside else max(first.width, second.width) + 2 * gap
    height = max(first.height, second.height) + 2 * gap if beside else first.height + second.height + 3 * gap
    sheet = _paper((width, height), color, random)
    place = (first.width + 2 * gap, gap) if beside else (gap, first.height + 2 * gap)
    for photo, (left, top) in ((first, (gap, gap)), (second, place)):
        angle = float(random.uniform(-1, 1))
        whole = Image.new("L", photo.size, 255).rotate(angle, Image.Resampling.BICUBIC, expand=True)
        turned = photo.rotate(angle, Image.Resampling.BICUBIC, expand=True)
        sheet.page.paste(turned, (left, top), whole)
        sheet.mask.paste(255, (left, top), whole)
    return sheet, color


def handwriting_below(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    photo, color = photos[0], _vary((226, 216, 196), random)
    size, left, top = _surround(photo, random, 0.06, 0.12)
    lines = int(random.integers(1, 4))
    sheet = _paper((size[0], size[1] + 30 * lines), color, random, 2)
    sheet.lay(photo, left, top)
    ink = _vary(((40, 50, 120), (70, 45, 30), (30, 30, 30))[int(random.integers(3))], random)
    draw = ImageDraw.Draw(sheet.page)
    for line in range(lines):
        start, end = left + float(random.uniform(0, 60)), left + photo.width * float(random.uniform(0.6, 0.95))
        _write_by_hand(draw, start, end, top + photo.height + 22 + 28 * line, ink, random)
    return sheet, color


def ruler_beside(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    photo, color = photos[0], _vary(((120, 122, 124), (20, 20, 20), (215, 213, 208))[int(random.integers(3))], random)
    size, left, top = _surround(photo, random, 0.04, 0.12)
    sheet = _paper((size[0], size[1] + 60), color, random, 1)
    sheet.lay(photo, left, top)
    body = _vary(((236, 200, 40), (245, 243, 235), (190, 150, 90))[int(random.integers(3))], random)
    ruler = Image.new("RGB", (round(size[0] * 0.92), 38), body)
    draw = ImageDraw.Draw(ruler)
    for number, x in enumerate(range(4, ruler.width, 6)):
        draw.line((x, 0, x, 18 if number % 10 == 0 else 11 if number % 5 == 0 else 7), fill=(20, 20, 20))
        if number % 10 == 0:
            draw.text((x + 2, 20), str(number // 10), fill=(20, 20, 20))
    sheet.lay(ruler, round(size[0] * 0.03), size[1] + 8, is_picture=False)
    return sheet, color


def target_at_the_edge(photos: list[Image.Image], random: Random) -> tuple[Sheet, Color]:
    """A scan cut close: nothing around the photo but a strip with a target, below or beside it."""
    photo, card = photos[0], _vary((235, 235, 235), random, 10)
    below = bool(random.random() < 0.5)
    length = photo.width if below else photo.height
    target = draw_target(length, round(length * random.uniform(0.06, 0.14)), card, 1)
    if not below:
        target = target.rotate(90, expand=True)
    size = (photo.width, photo.height + target.height) if below else (photo.width + target.width, photo.height)
    sheet = Sheet.blank(size, card)
    sheet.lay(photo, 0, 0)
    sheet.lay(target, *((0, photo.height) if below else (photo.width, 0)), is_picture=False)
    return sheet, card


ARRANGEMENTS: dict[str, Callable[[list[Image.Image], Random], tuple[Sheet, Color]]] = {
    "white mount and target": white_mount_and_target,
    "brown album page": brown_album_page,
    "gray-green card": gray_green_card,
    "cream mount of 8 %": cream_mount,
    "black bed and target": black_bed_and_target,
    "white border": white_border,
    "two pictures on a page": two_pictures,
    "handwriting below": handwriting_below,
    "ruler beside": ruler_beside,
    "target at the edge": target_at_the_edge,
}
UNSKEWED = ("target at the edge",)

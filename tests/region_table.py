"""Measures how pictures are found in scans, and what they are taken for.

`python -m tests.region_table` prints the tables of docs/region.md; `--sheets FOLDER` draws outlines over scans and old
photographs instead, to be looked at. Limits were chosen on training photographs; those here only judge.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from tests import photographs, scans
from tests.paths import DATA

from retint.region import Region
from retint_models.datasets import fading
from retint_workers.imaging.kinds import detect_kind
from retint_workers.imaging.region import crop, find_region

Pixels = NDArray[np.uint8]

EVERY = 7
"""Each seventh photograph of dev is laid out in scans: 30."""
WITH_BORDERS = {6, 30}
"""Which of the historical photographs lie on a mount or have a border all around. By eye."""
PHOTOGRAPHS = ("color", "toned", "neutral")


def load(path: Path) -> Pixels:
    return np.asarray(Image.open(path).convert("RGB"))


def make_monochrome(photo: Pixels, number: int) -> Pixels:
    """Make a gray photograph of a color one, or a sepia one (odd numbers)."""
    gray = photographs.to_gray(photo)
    return photographs.to_sepia(gray) if number % 2 else np.repeat(gray[..., None], 3, axis=2)


def make_scans(arrangement: str, *, in_color: bool) -> Iterator[scans.Scan]:
    """Lay out each of the 30 photographs; the second picture of a page is the next one."""
    files = sorted((DATA / "dev").glob("*.jpg"))[::EVERY]
    first = list(scans.ARRANGEMENTS).index(arrangement) * len(files)
    for number in range(len(files)):
        photos = [load(files[(number + step) % len(files)]) for step in (0, 1)]
        if not in_color:
            photos = [make_monochrome(photo, number) for photo in photos]
        yield scans.make_scan(photos, arrangement, first + number)


def detect_kind_inside(page: Pixels, region: Region) -> str:
    """Tell what the pictures of a region are, as ingest does: the first of `PHOTOGRAPHS` that one of them is."""
    kinds = [detect_kind(crop(page, rectangle)) for rectangle in region.rectangles]
    return next((kind for kind in PHOTOGRAPHS if kind in kinds), kinds[0])


def cover(region: Region, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which pixels of a page lie in a region, (h, w)."""
    inside = np.zeros(shape[:2], bool)
    for rectangle in region.rectangles:
        crop(inside, rectangle)[:] = True
    return inside


def tabulate_scans() -> Iterator[str]:
    """Yield the lines about scans: kinds judged on the page and inside the region, and how well the region fits."""
    yield "### 300 gray and sepia photographs, 300 color photographs, in scans\n\n"
    yield "| arrangement | called color: whole page | inside | color photos not called color | overlap: median | worst"
    yield " | picture lost: median | worst | surroundings kept: median |\n|---|---|---|---|---|---|---|---|---|\n"
    sums = np.zeros(3, int)
    for arrangement in scans.ARRANGEMENTS:
        counts, fits = np.zeros(3, int), []
        for scan in make_scans(arrangement, in_color=False):
            region = find_region(scan.page)
            inside = cover(region, scan.page.shape)
            counts[0] += detect_kind(scan.page) == "color"
            counts[1] += detect_kind_inside(scan.page, region) == "color"
            both, outside = (inside & scan.truth).sum(), ~scan.truth
            fits.append((both / (inside | scan.truth).sum(), 1 - both / scan.truth.sum(), inside[outside].mean()))
        for scan in make_scans(arrangement, in_color=True):
            counts[2] += detect_kind_inside(scan.page, find_region(scan.page)) != "color"
        overlap, lost, kept = np.array(fits).T
        cells = [f"{np.median(overlap):.3f}", f"{overlap.min():.3f}", f"{np.median(lost):.1%}", f"{lost.max():.1%}"]
        yield f"| {arrangement} | {' | '.join(map(str, counts))} | {' | '.join(cells)} | {np.median(kept):.1%} |\n"
        sums += counts
    yield f"| all, of 300 each | {' | '.join(map(str, sums))} | | | | | |\n"


def tabulate_whole() -> Iterator[str]:
    """Yield the lines about photographs without a mount: how many lose what."""
    yield "\n### Photographs without a mount\n\n| photographs | count | region smaller than the page"
    yield " | lose more than 2 % | kinds |\n|---|---|---|---|---|\n"
    color = [load(path) for path in sorted((DATA / "dev").glob("*.jpg"))]
    old = [load(path) for path in list_old() if int(path.stem[-2:]) not in WITH_BORDERS]
    for name, photos in {
        "dev, in color": color,
        "dev, gray and sepia": [make_monochrome(photo, number) for number, photo in enumerate(color)],
        "dev, simulated old prints": [fading.make_old_print(photo, number) for number, photo in enumerate(color)],
        "historical, but for two with borders": old,
    }.items():
        regions = [find_region(photo) for photo in photos]
        shares = np.array([cover(region, photo.shape).mean() for photo, region in zip(photos, regions, strict=True)])
        kinds = Counter(detect_kind_inside(photo, region) for photo, region in zip(photos, regions, strict=True))
        told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        yield f"| {name} | {len(photos)} | {(shares < 1).sum()} | {(shares < 0.98).sum()} | {told} |\n"


def tabulate_others() -> Iterator[str]:
    """Yield the lines about what is no photograph, or has a stamp."""
    yield "\n### Blank pages, documents, stamps\n\n| pages | count | kinds |\n|---|---|---|\n"
    photos = [load(path) for path in sorted((DATA / "dev").glob("*.jpg"))[::EVERY]]
    for name, pages in {
        "empty paper, card, album pages, beds": [scans.make_blank(number) for number in range(40)],
        "typewritten and handwritten pages": [scans.make_document(number) for number in range(40)],
        "gray and sepia photographs with a red stamp, 15 % of the width": [
            scans.stamp(make_monochrome(photo, number), number) for number, photo in enumerate(photos)
        ],
        "the same, 30 % of the width": [
            scans.stamp(make_monochrome(photo, number), number, 0.3) for number, photo in enumerate(photos)
        ],
    }.items():
        kinds = Counter(detect_kind_inside(page, find_region(page)) for page in pages)
        told = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
        yield f"| {name} | {len(pages)} | {told} |\n"


def list_old() -> list[Path]:
    return sorted((DATA / "historical").glob("*.jpg"))


def draw_outlines(page: Pixels, side: int = 380) -> Image.Image:
    """Draw the region over a page, and its kind and confidence above."""
    region = find_region(page)
    picture = Image.fromarray(page)
    draw = ImageDraw.Draw(picture)
    for rectangle in region.rectangles:
        left, top, right, bottom = rectangle.to_pixels(*picture.size)
        draw.rectangle((left, top, right - 1, bottom - 1), outline=(255, 0, 255), width=3)
    picture.thumbnail((side, side))
    cell = Image.new("RGB", (side + 10, side + 24), "white")
    cell.paste(picture, (5, 18))
    title = f"{detect_kind_inside(page, region)} {'whole' if region.is_whole else region.confidence}"
    ImageDraw.Draw(cell).text((5, 3), title, fill="black")
    return cell


def write_sheet(pages: list[Pixels], path: Path, across: int = 5) -> None:
    """Write a contact sheet of pages with their regions."""
    cells = [draw_outlines(page) for page in pages]
    width, height = cells[0].size
    sheet = Image.new("RGB", (across * width, -(-len(cells) // across) * height), "white")
    for number, cell in enumerate(cells):
        sheet.paste(cell, (number % across * width, number // across * height))
    sheet.save(path, quality=88)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sheets", type=Path, help="Write contact sheets into this folder instead.")
    arguments = parser.parse_args()
    if not (DATA / "dev").is_dir():
        sys.exit("The project's photographs are needed: there is no folder shared/data/dev beside the checkout.")
    if arguments.sheets is None:
        for line in (*tabulate_scans(), *tabulate_whole(), *tabulate_others()):
            print(line, end="")
        return
    arguments.sheets.mkdir(parents=True, exist_ok=True)
    for number, arrangement in enumerate(scans.ARRANGEMENTS):
        every = list(make_scans(arrangement, in_color=False))
        write_sheet([scan.page for scan in every[number % 3 :: 8][:4]], arguments.sheets / f"scans-{number}.jpg", 4)
    write_sheet([load(path) for path in list_old()], arguments.sheets / "historical.jpg")


if __name__ == "__main__":
    main()

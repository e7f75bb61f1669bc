"""Photos of several pages: each is a photo of its own, and the result has the same pages in the same order."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tests import photographs, sample_layers
from tests.integration.workers.imaging.sample_renders import COLOR, DENSITY, PHOTO, RECIPE, SETTINGS

from retint.errors import InvalidPhoto
from retint.pages import Page
from retint_models.layers.types import ColorLayer, DensityLayer
from retint_workers.imaging import pages, render
from retint_workers.imaging.ingest import ingest
from retint_workers.imaging.render import Rendered, RenderRequest
from retint_workers.imaging.verify import NotVerified

RECTO = photographs.to_gray(PHOTO)
VERSO = photographs.to_gray(photographs.color_photo(2, 200)[:130])
VERSO_COLOR = sample_layers.color_layer(np.asarray(Image.fromarray(photographs.color_photo(2, 200)[:130])))
NAME, SUBFILE = 285, 254


def write_pages(
    path: Path, *pictures: tuple[NDArray[Any], dict[str, Any]], order: str = "<", big: bool = False
) -> Path:
    with tifffile.TiffWriter(path, byteorder=order, bigtiff=big) as writer:  # type: ignore[arg-type]
        for pixels, options in pictures:
            photometric = "rgb" if pixels.ndim == 3 else "minisblack"
            writer.write(pixels, **{"photometric": photometric, "metadata": None, **options})
    return path


def name(text: str) -> dict[str, Any]:
    return {"extratags": [(NAME, 2, 0, text, True)]}


def restore(
    path: Path, color: ColorLayer | None = COLOR, density: DensityLayer | None = None, verso: ColorLayer | None = None
) -> Rendered:
    """Ingest a file and render it; further pages get the color layer of the verso."""
    folder = path.parent / f"{path.name} results {len(list(path.parent.iterdir()))}"
    folder.mkdir()

    def read_layers(page: Page) -> tuple[ColorLayer | None, DensityLayer | None]:
        return (None if page.facts["kind"] == "color" else verso or color), density

    facts = ingest(path, RECIPE, SETTINGS).facts
    request = RenderRequest(path, folder, facts, RECIPE, color, density, read_layers)
    return render.render(request, SETTINGS)


def read_pages(path: Path) -> list[tuple[NDArray[Any], dict[int, Any]]]:
    opened: Any = tifffile.TiffFile(path)
    with opened as file:
        return [(page.asarray(), {tag.code: tag.value for tag in page.tags}) for page in file.pages]


def assert_everyone_opens(path: Path, count: int) -> None:
    """Every page is decoded by libvips and Pillow; exiftool has nothing to say against the file."""
    for number in range(count):
        pyvips.Image.tiffload(str(path), page=number, fail_on="warning").avg()
    opened: Any = Image.open(path)
    with opened as picture:
        assert picture.n_frames == count
        for number in range(count):
            picture.seek(number)
            if picture.mode != "I;16":  # Pillow knows no color of 16 bits, which is no fault of the file
                picture.load()
    said = subprocess.run(["exiftool", "-warning", "-error", "-j", path], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)[0].keys() == {"SourceFile"}


@pytest.mark.parametrize("big", [False, True], ids=["classic", "big"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["II", "MM"])
def test_both_sides_of_a_photo_are_restored(tmp_path: Path, order: str, big: bool) -> None:
    two = write_pages(
        tmp_path / "photo.tif",
        (RECTO, {"resolution": (300, 300), "resolutionunit": 2, **name("recto")}),
        (VERSO, {"compression": "deflate", "predictor": True, "resolution": (600, 600), **name("verso")}),
        order=order,
        big=big,
    )
    rendered = restore(two, verso=VERSO_COLOR)
    (recto, recto_tags), (verso, verso_tags) = read_pages(rendered.files["result"])
    assert recto.shape == (*RECTO.shape, 3)
    assert verso.shape == (*VERSO.shape, 3)
    assert (recto_tags[NAME], verso_tags[NAME]) == ("recto", "verso")
    assert (recto_tags[282], verso_tags[282]) == ((300, 1), (600, 1))
    assert (recto_tags[259], verso_tags[259]) == (1, 8)
    for pixels, gray in ((recto, RECTO), (verso, VERSO)):  # color does not change luma, and there is color
        assert np.abs(pixels @ np.array([0.2126, 0.7152, 0.0722]) - gray).mean() < 1
        assert np.ptp(pixels.astype(int), axis=2).mean() > 3
    assert_everyone_opens(rendered.files["result"], 2)
    assert rendered.facts["notes"] == []
    assert rendered.facts["luma_drift"] <= 1 / 255
    assert {"preview", "before", "thumb", "preview-2", "before-2", "thumb-2"} <= rendered.files.keys()
    with tifffile.TiffFile(rendered.files["result"]) as file:
        assert file.is_bigtiff == big


def test_pages_of_other_depth_compression_and_color_keep_them(tmp_path: Path) -> None:
    deep = (VERSO.astype(np.uint16) * 257, {"compression": "lzw", "predictor": True, "tile": (64, 64)})
    mixed = write_pages(tmp_path / "mixed.tif", (RECTO, {}), deep, (PHOTO, {"compression": "packbits"}), order=">")
    found = ingest(mixed, RECIPE, SETTINGS).facts["pages"]
    assert [(page["kind"], page["bits"]) for page in found] == [("neutral", 8), ("neutral", 16), ("color", 8)]
    result = read_pages(restore(mixed, density=DENSITY).files["result"])
    assert [(str(pixels.dtype), tags[259]) for pixels, tags in result] == [
        ("uint8", 1),
        ("uint16", 5),
        ("uint8", 32773),
    ]
    assert 322 in result[1][1]
    assert np.abs(result[2][0].astype(int) - PHOTO).mean() > 0  # only defaded


def test_thumbnails_are_made_anew_and_masks_and_infrared_stay_as_they_are(tmp_path: Path) -> None:
    mask = np.zeros(RECTO.shape, bool)
    mask[20:100, 30:90] = True
    infrared = RECTO[::-1].astype(np.uint16) * 200
    scan = write_pages(
        tmp_path / "hdri.tif",
        (RECTO, {}),
        (RECTO[::4, ::4], {"subfiletype": 1}),
        (mask, {"photometric": "mask", "subfiletype": 4, **name("mask")}),
        (infrared, {"compression": "lzw", "predictor": True, "extratags": [(270, 2, 0, "Infrared", True)]}),
        (infrared, {"compression": "deflate", "rowsperstrip": 7, "subfiletype": 2}),
        order=">",
    )
    mark_as_mask(scan, 4)
    assert [page["role"] for page in ingest(scan, RECIPE, SETTINGS).facts["pages"]] == [
        "photograph", "thumbnail", "mask", "infrared", "infrared",
    ]  # fmt: skip
    rendered = restore(scan)
    made = read_pages(rendered.files["result"])
    assert [tags.get(SUBFILE) for _, tags in made] == [None, 1, 4, None, 4]
    assert made[1][0].shape == (45, 60, 3)
    assert np.ptp(made[1][0].astype(int), axis=2).mean() > 3
    assert np.array_equal(made[2][0], mask)
    assert made[2][1][NAME] == "mask"
    assert np.array_equal(made[3][0], infrared)
    assert np.array_equal(made[4][0], infrared)
    assert rendered.facts["notes"] == []
    assert "preview-2" not in rendered.files


def mark_as_mask(path: Path, page: int) -> None:
    """Say NewSubfileType 4 of a page, as SilverFast does of infrared; tifffile writes it of masks only."""
    opened: Any = tifffile.TiffFile(path, mode="r+")
    with opened as file:
        file.pages[page].tags[SUBFILE].overwrite(4)


def test_thirty_pages_are_one_result(tmp_path: Path) -> None:
    shapes = [(48 + number, 64) for number in range(30)]
    album = write_pages(tmp_path / "album.tif", *[(RECTO[: s[0], : s[1]], name(f"{i}")) for i, s in enumerate(shapes)])
    rendered = restore(album)
    made = read_pages(rendered.files["result"])
    assert [pixels.shape for pixels, _ in made] == [(*shape, 3) for shape in shapes]
    assert [tags[NAME] for _, tags in made] == [f"{number}" for number in range(30)]
    assert_everyone_opens(rendered.files["result"], 30)
    record = json.loads(rendered.files["provenance"].read_text())
    assert {"color", "color-2", "color-30"} <= record["networks"].keys()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3000])


def break_strip(path: Path) -> None:
    with tifffile.TiffFile(path) as file:
        at = file.pages[1].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[at : at + 400] = bytes(400)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("damage", "code"), [(cut, "truncated"), (break_strip, "damaged")], ids=["ends early", "broken strip"]
)
def test_a_refusal_says_which_page_is_damaged(tmp_path: Path, damage: Callable[[Path], None], code: str) -> None:
    path = write_pages(tmp_path / "two.tif", (RECTO, {}), (VERSO, {"compression": "deflate", "rowsperstrip": 32}))
    with tifffile.TiffFile(path) as file:  # the second page's pixels come last
        assert file.pages[1].dataoffsets[0] > file.pages[1].offset
    damage(path)
    with pytest.raises(InvalidPhoto, match=r"^Page 2: The file is (incomplete|damaged)") as refusal:
        ingest(path, RECIPE, SETTINGS)
    assert refusal.value.code == code


def test_more_pages_or_pixels_than_the_limits_are_refused_with_the_number(tmp_path: Path) -> None:
    many = write_pages(tmp_path / "many.tif", *[(RECTO[:20, :20], {})] * (pages.MAX_PAGES + 1))
    with pytest.raises(InvalidPhoto, match="more than 200 pages"):
        ingest(many, RECIPE, SETTINGS)
    large = write_pages(tmp_path / "large.tif", *[(np.zeros((1000, 600), np.uint8), {"compression": "deflate"})] * 2)
    with pytest.raises(InvalidPhoto, match="together have 1 megapixels: at most 1 are restored"):
        ingest(large, RECIPE, SETTINGS.model_copy(update={"pixel_limit_mp": 1}))


def test_a_page_that_is_not_as_it_was_written_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    two = write_pages(tmp_path / "two.tif", (RECTO, {}), (VERSO, {}))
    folder = tmp_path / "results"
    folder.mkdir()
    facts = ingest(two, RECIPE, SETTINGS).facts
    request = RenderRequest(two, folder, facts, RECIPE, COLOR, None)
    parts = [render.render_part(request, number, 1000) for number in (1, 2)]
    assert render.finish(request, parts, {}).facts["format"] == "tiff"
    data = bytearray((folder / "result.tif").read_bytes())
    at = read_offset(folder / "result.tif", 1)
    data[at + 50] ^= 255
    (folder / "result.tif").write_bytes(data)
    with pytest.raises(NotVerified, match="Page 2 of the result is not what was written"):
        render.finish(request, parts, {})


def read_offset(path: Path, page: int) -> int:
    with tifffile.TiffFile(path) as file:
        return int(file.pages[page].dataoffsets[0])


def test_a_damaged_infrared_page_is_left_out_and_told(tmp_path: Path) -> None:
    options = {"compression": "lzw", "extratags": [(270, 2, 0, "infrared", True)]}
    scan = write_pages(tmp_path / "scan.tif", (RECTO, {}), (RECTO.astype(np.uint16) * 200, options), order=">")
    break_strip(scan)
    rendered = restore(scan)
    assert rendered.facts["notes"] == ["Page 2: The infrared picture is left out: it is damaged."]
    assert len(read_pages(rendered.files["result"])) == 1


def test_a_field_that_libtiff_warns_of_does_not_stop_a_page(tmp_path: Path) -> None:
    two = write_pages(tmp_path / "two.tif", (RECTO, name("recto")), (VERSO, name("verso")))
    two.write_bytes(two.read_bytes().replace(b"verso\0", b"versoX"))
    assert len(read_pages(restore(two, verso=VERSO_COLOR).files["result"])) == 2


def test_a_page_without_room_for_color_is_named(tmp_path: Path) -> None:
    drawing = np.where(np.indices((130, 200)).sum(axis=0) % 40 < 20, 0, 255).astype(np.uint8)
    rendered = restore(write_pages(tmp_path / "two.tif", (RECTO, {}), (drawing, {})), verso=VERSO_COLOR)
    assert str(rendered.facts["colorless"]).startswith("Page 2: The photo is black and white")


def test_a_smaller_copy_before_the_only_photograph_is_left_out_as_ever(tmp_path: Path) -> None:
    path = write_pages(tmp_path / "thumb first.tif", (RECTO[::4, ::4], {"subfiletype": 1}), (RECTO, {}))
    assert "pages" not in ingest(path, RECIPE, SETTINGS).facts
    rendered = restore(path)
    assert [pixels.shape for pixels, _ in read_pages(rendered.files["result"])] == [(*RECTO.shape, 3)]


def test_a_pyramid_of_one_photograph_is_one_page(tmp_path: Path) -> None:
    path = tmp_path / "pyramid.tif"
    pyvips.Image.new_from_array(np.tile(RECTO, (3, 3))).tiffsave(
        str(path), tile=True, pyramid=True, tile_width=128, tile_height=128
    )
    assert "pages" not in ingest(path, RECIPE, SETTINGS).facts


def test_pages_that_are_pyramids_are_pyramids_in_the_result(tmp_path: Path) -> None:
    one, both = tmp_path / "one.tif", tmp_path / "both.tif"
    pyvips.Image.new_from_array(np.tile(RECTO, (3, 3))).tiffsave(
        str(one), tile=True, pyramid=True, tile_width=128, tile_height=128
    )
    levels = [
        (pixels, {"tile": (128, 128)} if number == 0 else {"tile": (128, 128), "subfiletype": 1})
        for number, (pixels, _) in enumerate(read_pages(one))
    ]
    write_pages(both, *levels, (VERSO, {}))
    assert [page["role"] for page in ingest(both, RECIPE, SETTINGS).facts["pages"]] == ["photograph", "photograph"]
    made = read_pages(restore(both, verso=VERSO_COLOR).files["result"])
    assert [pixels.shape[:2] for pixels, _ in made] == [*(pixels.shape for pixels, _ in levels), VERSO.shape]

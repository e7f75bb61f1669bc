"""Only the picture in a scan is restored: all around it keeps its pixels, whatever the file is."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image
from tests import icc_profiles, photo_files, photographs
from tests.integration.workers.imaging.sample_renders import (
    COLOR,
    DENSITY,
    PHOTO,
    SETTINGS,
    decode,
    make_request,
    render_file,
)

from retint.errors import InvalidPhoto
from retint.kinds import UNTOUCHED
from retint.recipes import Recipe, parse
from retint.region import WHOLE, Rectangle, Region
from retint_models.layers.rendering import Rendering, to_stored_orientation
from retint_models.layers.types import ColorLayer
from retint_workers.imaging import pictures, provenance, render
from retint_workers.imaging.color import spaces
from retint_workers.imaging.color.spaces import SRGB
from retint_workers.imaging.decoding import formats
from retint_workers.imaging.decoding.formats import Header
from retint_workers.imaging.ingest import ingest
from retint_workers.imaging.render import RenderRequest
from retint_workers.imaging.stored_region import Picture, StoredRegion
from retint_workers.imaging.strip_renderer import StripRenderer
from retint_workers.imaging.vips import open_image

BOX = (40, 30, 200, 150)
"""Left, top, right and bottom of the picture on the pages of these tests, which have 240 x 180 pixels."""
STATED = parse({"region": [[40 / 240, 30 / 180, 160 / 240, 120 / 180]]})
TWO = parse({"region": [[0.05, 0.1, 0.4, 0.5], [0.5, 0.2, 0.45, 0.7]]})
GRAY = photographs.to_gray(PHOTO)


def split(pixels: Any) -> tuple[Any, Any]:
    """Return a page's pixels inside the box, and those outside in a row."""
    left, top, right, bottom = BOX
    is_outside = np.ones(pixels.shape[:2], bool)
    is_outside[top:bottom, left:right] = False
    return pixels[top:bottom, left:right], pixels[is_outside]


def as_rgb(pixels: Any) -> Any:
    return np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim < 3 else pixels


# --- the pixels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("bands", [1, 3])
@pytest.mark.parametrize("has_color", [True, False])
def test_inside_is_what_the_picture_alone_gives_and_outside_is_the_page(
    has_color: bool, bands: int, bits: int, orientation: int
) -> None:
    upright = GRAY if bands == 1 else np.asarray(PHOTO)
    page = to_stored_orientation(photographs.to_16_bits(upright) if bits == 16 else upright, orientation)
    header = make_header(page, orientation)
    layers = (COLOR if has_color else None, DENSITY)
    where = StoredRegion.locate(TWO.stated_region or WHOLE, header)
    left, top, right, bottom = where.bounds
    alone = Rendering(*layers, orientation=orientation).apply(page[top:bottom, left:right], 0, where.bounds_size)
    wanted = as_rgb(page).copy() if has_color else page.copy()
    for box_left, box_top, box_right, box_bottom in where.boxes:
        inside = alone[box_top - top : box_bottom - top, box_left - left : box_right - left]
        wanted[box_top:box_bottom, box_left:box_right] = inside
    assert (wanted != (as_rgb(page) if has_color else page)).mean() > 0.3
    for rows in (37, len(page)):
        renderer = StripRenderer(
            layers, header, header.space, 3 if wanted.ndim == 3 else 1, Picture(where), has_watermark=False
        )
        strips = [renderer.render(page[at : at + rows], at) for at in range(0, len(page), rows)]
        assert (np.concatenate(strips) == wanted).all()
        assert renderer.drift <= 1 / 255


def make_header(page: NDArray[Any], orientation: int = 1) -> Header:
    """Return the header of a TIFF with these pixels."""
    return Header(
        format="tiff",
        result_format="tiff",
        pixels=Path("page.tif"),
        coding="tiff",
        width=page.shape[1],
        height=page.shape[0],
        bits=8 * page.itemsize,
        bands=1 if page.ndim == 2 else 3,
        extras=0,
        orientation=orientation,
        space=SRGB,
        encoding={},
        lossy=False,
    )


@pytest.mark.parametrize("name", ["gray.png", "wide.png", "turned.tif", "photo.jpg"])
def test_a_page_of_any_kind_is_restored_inside_its_region(name: str, tmp_path: Path) -> None:
    wide = photo_files.make_icc_profile("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES)
    page = np.asarray(PHOTO) if name == "wide.png" else GRAY
    if name == "turned.tif":
        stored = to_stored_orientation(page, 6)
        Image.fromarray(stored).save(tmp_path / name, tiffinfo={274: 6})
    else:
        profile = {"icc_profile": wide} if name == "wide.png" else {}
        Image.fromarray(page).save(tmp_path / name, **({"quality": 95} if name == "photo.jpg" else profile))
    color = COLOR if page.ndim == 2 else None
    rendered = render_file(tmp_path / name, color, DENSITY, STATED)
    result = as_rgb(decode(rendered.files["result"])).astype(int)
    result = np.rot90(result, -1) if name == "turned.tif" else result
    (inside, outside), (before, kept) = split(result), split(as_rgb(page).astype(int))
    assert np.abs(inside - before).mean() > 4
    if name == "photo.jpg":
        assert np.abs(outside - kept).mean() < 3
    else:
        assert (outside == kept).all()
    assert rendered.facts["colorless"] is None


def make_input_profile() -> bytes:
    """Return a scanner's profile, which has no way back."""
    encoding = spaces.romm_rgb().encoding
    assert encoding is not None
    return icc_profiles.make_tables("Scanner", encoding, {b"A2B0": b"mft2"}, kind=b"scnr")


def test_a_profile_without_a_way_back_is_left_only_where_something_changes(tmp_path: Path) -> None:
    path = tmp_path / "scanner.tif"
    profile = make_input_profile()
    Image.fromarray(PHOTO).save(path, icc_profile=profile)
    untouched = render_file(path, None, None, STATED, kind="document")
    assert "no way back" not in " ".join(untouched.facts["notes"])
    assert (decode(untouched.files["result"]) == PHOTO).all()
    assert open_image(untouched.files["result"], "tiff").get("icc-profile-data") == profile
    changed = render_file(path, None, DENSITY, STATED)
    assert "no way back" in " ".join(changed.facts["notes"])


def test_color_beside_the_picture_does_not_count_as_color_of_the_result(tmp_path: Path) -> None:
    page = as_rgb(GRAY).copy()
    page[:20] = (200, 40, 40)
    Image.fromarray(page).save(tmp_path / "target.png")
    pale = ColorLayer(COLOR.chroma * np.float16(0), COLOR.luma, COLOR.confidence, COLOR.record)
    rendered = render_file(tmp_path / "target.png", pale, None, STATED, kind="neutral")
    assert str(rendered.facts["colorless"]).startswith("The network found no color")


# --- negatives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
def test_a_negative_is_inverted_inside_its_region_before_the_layers_are_applied(bits: int, tmp_path: Path) -> None:
    positive = photographs.to_16_bits(GRAY) if bits == 16 else GRAY
    full = 255 if bits == 8 else 65535
    page = positive.copy()
    left, top, right, bottom = BOX
    page[top:bottom, left:right] = full - page[top:bottom, left:right]
    photo_files.FORMATS["16.png" if bits == 16 else "plain.png"][1](tmp_path / "page.png", page)
    photo_files.FORMATS["16.png" if bits == 16 else "plain.png"][1](tmp_path / "positive.png", positive)
    inverting = STATED.model_copy(update={"invert": True})
    rendered = render_file(tmp_path / "page.png", COLOR, DENSITY, inverting, kind="neutral")
    wanted = decode(render_file(tmp_path / "positive.png", COLOR, DENSITY, STATED, kind="neutral").files["result"])
    assert (decode(rendered.files["result"]) == wanted).all()
    assert "The picture is inverted, as the recipe asks." in rendered.facts["notes"]
    says = json.loads(rendered.files["provenance"].read_text())
    assert says["pictures"]["picture"]["inverted"] is True
    assert (
        ingest(tmp_path / "page.png", inverting, SETTINGS).proxy
        == ingest(tmp_path / "positive.png", STATED, SETTINGS).proxy
    )


# --- kinds that pass untouched ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", UNTOUCHED)
def test_a_kind_that_passes_untouched_keeps_its_pixels_and_says_so(kind: str, tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "page.png")
    recipe = Recipe(watermark=True)
    rendered = render_file(tmp_path / "page.png", COLOR, DENSITY, recipe, kind=kind)
    assert (decode(rendered.files["result"]) == GRAY).all()
    assert rendered.facts["colorless"] == UNTOUCHED[kind]
    says = json.loads(rendered.files["provenance"].read_text())
    assert "watermark" not in says
    assert (says["networks"], says["pictures"]["picture"]["kind"]) == ({}, kind)


# --- ingest -----------------------------------------------------------------------------------------------------------


def test_the_proxy_is_the_picture_in_the_region_as_large_as_a_whole_photo_is(tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(GRAY).resize((2400, 1800)))
    Image.fromarray(large).save(tmp_path / "page.jpg", exif=photo_files.make_exif(3))
    upright = large[::-1, ::-1]
    ingested = ingest(tmp_path / "page.jpg", STATED, SETTINGS)
    proxy = np.asarray(open_picture_bytes(ingested.proxy))
    assert proxy.shape == (576, 768, 3)
    wanted = Image.fromarray(upright[300:1500, 400:2000]).resize((768, 576), Image.Resampling.BOX)
    assert np.abs(proxy[..., 1].astype(int) - np.asarray(wanted)).mean() < 2
    assert ingested.facts["region"]["found"] == "stated"
    assert ingested.facts["notes"] == ["The recipe restores a part of the page (44%); all around it keeps its pixels."]


def open_picture_bytes(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize(
    ("region", "says"),
    [
        (
            [0.1, 0.1, 0.001, 0.5],
            "A rectangle of the region is smaller than a pixel of this photo, which has 240 × 180.",
        ),
        ([0.1, 0.1, 0.03, 0.5], "The region has 7 × 90 pixels in this photo: 16 are needed on the short side"),
    ],
)
def test_a_stated_region_without_pixels_is_refused_in_a_sentence(
    region: list[float], says: str, tmp_path: Path
) -> None:
    Image.fromarray(GRAY).save(tmp_path / "page.png")
    with pytest.raises(InvalidPhoto) as refused:
        ingest(tmp_path / "page.png", parse({"region": [region]}), SETTINGS)
    assert refused.value.message.startswith(says)
    assert refused.value.code == "region_too_small"


def test_what_is_found_decides_kind_and_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = np.full((180, 240, 3), (150, 90, 40), np.uint8)
    page[:60] = (30, 90, 200)
    page[30:150, 40:200] = as_rgb(GRAY)[30:150, 40:200]
    Image.fromarray(page).save(tmp_path / "page.png")
    header = formats.read_header(tmp_path / "page.png", 1000)
    assert pictures.find_picture(header, Recipe(region="whole")).kind == "color"
    for confidence, seems in ((0.95, "is"), (0.8, "seems to be")):
        region = Region((Rectangle(40 / 240, 30 / 180, 160 / 240, 120 / 180),), confidence)
        monkeypatch.setattr(pictures, "find_region", lambda _, found=region: found)
        found = pictures.find_picture(header, Recipe())
        assert (found.kind, found.proxy.width, found.proxy.height) == ("neutral", 160, 120)
        assert found.notes == [f"The picture {seems} a part of the scan (44%); all around it keeps its pixels."]
    monkeypatch.setattr(pictures, "find_region", lambda _: Region((Rectangle(0.5, 0.5, 0.01, 0.01),)))
    assert pictures.find_picture(header, Recipe()).region.is_whole


def test_several_pictures_on_a_page_are_restored_as_one_and_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = np.full((180, 240, 3), (150, 90, 40), np.uint8)
    page[20:120, 10:110] = as_rgb(GRAY)[20:120, 10:110]
    page[20:120, 130:230] = as_rgb(GRAY)[20:120, 130:230]
    both = Region(
        (Rectangle(10 / 240, 20 / 180, 100 / 240, 100 / 180), Rectangle(130 / 240, 20 / 180, 100 / 240, 100 / 180)), 0.9
    )
    monkeypatch.setattr(pictures, "find_region", lambda _: both)
    Image.fromarray(page).save(tmp_path / "page.png")
    found = pictures.find_picture(formats.read_header(tmp_path / "page.png", 1000), Recipe())
    assert (found.kind, found.proxy.width, found.proxy.height) == ("neutral", 220, 100)
    assert found.notes == ["The page has 2 pictures (46% of it), restored as one; all around them keeps its pixels."]
    page[20:120, 130:230] = PHOTO[20:120, 130:230]
    Image.fromarray(page).save(tmp_path / "mixed.png")
    mixed = pictures.find_picture(formats.read_header(tmp_path / "mixed.png", 1000), Recipe())
    assert mixed.kind == "color"
    assert mixed.notes[1].startswith("Not all of its pictures are in color")


# --- records ----------------------------------------------------------------------------------------------------------


def test_the_record_names_the_region_in_the_file_and_beside_it(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "page.png")
    rendered = render_file(tmp_path / "page.png", COLOR, None, STATED)
    beside = json.loads(rendered.files["provenance"].read_text())["pictures"]
    assert beside["picture"]["region"]["rectangles"] == [list(STATED.region[0])]
    inside = provenance.read_xmp(open_image(rendered.files["result"], "png").get("xmp-data"))
    assert json.loads(inside["Pictures"]) == beside


def test_a_photo_that_was_ingested_before_there_were_regions_is_restored_whole(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "page.png")
    request = make_request(tmp_path, tmp_path / "page.png")
    facts = {name: value for name, value in request.facts.items() if name != "region"}
    (tmp_path / "old").mkdir()
    rendered = render.render(make_request(tmp_path / "old", tmp_path / "page.png", facts=facts), SETTINGS)
    whole = Rendering(COLOR, None).apply(GRAY, 0, GRAY.shape)
    assert (decode(rendered.files["result"]) == whole).all()
    assert "pictures" not in json.loads(rendered.files["provenance"].read_text())


def test_the_watermark_lies_in_the_picture(tmp_path: Path) -> None:
    Image.fromarray(GRAY).save(tmp_path / "page.png")
    marked = STATED.model_copy(update={"watermark": True})
    before, after = (
        decode(render_file(tmp_path / "page.png", None, None, each).files["result"]) for each in (STATED, marked)
    )
    rows, columns = np.nonzero(before != after)
    left, _, right, bottom = BOX
    assert columns.min() >= left
    assert columns.max() < (left + right) / 2
    assert bottom - 32 < rows.min() < rows.max() < bottom


def test_each_page_of_a_file_is_restored_in_its_region(tmp_path: Path) -> None:
    path = tmp_path / "album.tif"
    Image.fromarray(GRAY).save(path, save_all=True, append_images=[Image.fromarray(GRAY[::-1])])
    facts = ingest(path, STATED, SETTINGS).facts
    (tmp_path / "made").mkdir()
    request = RenderRequest(path, tmp_path / "made", facts, STATED, None, DENSITY, lambda _: (None, DENSITY))
    rendered = render.render(request, SETTINGS)
    for number, page in enumerate((GRAY, GRAY[::-1])):
        pixels = pyvips.Image.new_from_file(str(rendered.files["result"]), page=number).numpy()
        (inside, outside), (before, kept) = split(pixels), split(page)
        assert (outside == kept).all()
        assert (inside != before).mean() > 0.9
    says = json.loads(rendered.files["provenance"].read_text())["pictures"]
    assert list(says) == ["picture", "picture-2"]
    assert {tuple(each["region"]["rectangles"][0]) for each in says.values()} == {STATED.region[0]}

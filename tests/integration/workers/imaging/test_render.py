"""Render on every form of original: what must survive does, what was decided is there, and what is wrong is found."""

import io
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
import tifffile
from PIL import Image, ImageCms, ImageDraw, ImageOps
from tests import photo_files, photographs, sample_layers

from retint.errors import InvalidPhoto
from retint.recipes import Recipe, parse
from retint.settings import Settings
from retint_models.layers.rendering import apply
from retint_models.layers.types import LUMA, ColorLayer, DensityLayer
from retint_workers.imaging import formats, provenance, render, watermark
from retint_workers.imaging.ingest import ingest
from retint_workers.imaging.render import NotVerified, Rendered

RECIPE, SETTINGS = parse({}), Settings()
PHOTO = photographs.color_photo(1, 240)[:180]
COLOR = sample_layers.color_layer(np.asarray(Image.fromarray(PHOTO).resize((120, 90))))
DENSITY = sample_layers.density_layer()
LOSSY = {".jpg", ".webp"}


def restored(
    path: Path,
    color: ColorLayer | None = COLOR,
    density: DensityLayer | None = None,
    recipe: Recipe = RECIPE,
    **facts: Any,
) -> Rendered:
    """Ingest and render one file into a folder of its own."""
    folder = path.parent / f"{path.name} results {len(list(path.parent.iterdir()))}"
    folder.mkdir()
    taken = ingest(path, recipe, SETTINGS).facts | facts
    return render.render(path, folder, taken, recipe, color, density, SETTINGS)


def opened(path: Path) -> Image.Image:
    """A picture, and no file left open."""
    return Image.open(io.BytesIO(path.read_bytes()))


def pixels_of(path: Path) -> Any:
    """What is in a file, decoded in another way than render does where there is one."""
    if path.suffix == ".tif":
        try:
            with tifffile.TiffFile(path) as tiff:
                return tiff.pages[0].asarray()
        except ValueError:  # a compression that tifffile cannot do by itself
            pass
    if path.suffix in (".png", ".tif"):  # Pillow has no 16-bit RGB
        return pyvips.Image.new_from_file(str(path)).numpy()
    return np.asarray(opened(path))


@pytest.mark.parametrize("name", photo_files.FORMATS)
@pytest.mark.parametrize("kind", ["gray", "sepia"])
@pytest.mark.parametrize("layers", ["color", "density", "both"])
def test_every_format_keeps_its_form_and_shows_what_was_decided(
    name: str, kind: str, layers: str, tmp_path: Path
) -> None:
    bits, write = photo_files.FORMATS[name]
    gray = photographs.to_gray(PHOTO)
    original = gray if kind == "gray" else photographs.to_sepia(gray)
    original = photographs.to_16_bits(original) if bits == 16 else original
    path = tmp_path / name
    write(path, original)
    color = None if layers == "density" else COLOR
    density = None if layers == "color" else DENSITY
    rendered = restored(path, color, density)
    result = rendered.files["result"]
    assert result.suffix == path.suffix
    before, after = pixels_of(path), pixels_of(result)
    wanted = apply(before, 0, before.shape[:2], color, density)
    assert after.dtype == before.dtype
    assert after.shape == wanted.shape
    error = np.abs(after.astype(float) - wanted) * 255 / np.iinfo(before.dtype).max
    is_lossy = (path.suffix in LOSSY and name != "lossless.webp") or name == "jpeg inside.tif"
    if is_lossy:
        assert error.mean() < (5 if name == "poor.jpg" else 3)
    else:
        assert error.max() == 0
    if layers == "color" and not is_lossy:
        assert np.abs(luma(after) - luma(before)).max() / np.iinfo(before.dtype).max <= 1 / 255
    assert rendered.facts["luma_drift"] is None or rendered.facts["luma_drift"] <= 1 / 255


def luma(pixels: Any) -> Any:
    return pixels @ np.array(LUMA) if pixels.ndim == 3 else pixels.astype(float)


def test_a_tiff_keeps_how_it_is_stored(tmp_path: Path) -> None:
    wanted = {
        "tiled.tif": (1, True, False),
        "tiled deflate 16.tif": (8, True, False),
        "bigtiff.tif": (1, False, True),
        "bigtiff 16 tiled.tif": (1, True, True),
        "lzw.tif": (5, False, False),
        "packbits.tif": (32773, False, False),
        "jpeg inside.tif": (7, False, False),
    }
    for name, (compression, is_tiled, is_big) in wanted.items():
        bits, write = photo_files.FORMATS[name]
        gray = photographs.to_gray(PHOTO)
        write(tmp_path / name, photographs.to_16_bits(gray) if bits == 16 else gray)
        with tifffile.TiffFile(restored(tmp_path / name).files["result"]) as tiff:
            page = tiff.pages.first
            assert (int(page.compression), page.is_tiled, tiff.is_bigtiff) == (compression, is_tiled, is_big), name
            assert page.bitspersample == bits
            assert len(tiff.pages) == 1
            if name == "tiled.tif":
                assert (page.tilelength, page.tilewidth) == (64, 128)


def test_a_pyramid_stays_a_pyramid(tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(photographs.to_gray(PHOTO)).resize((1000, 750)))
    photo_files.FORMATS["pyramid.tif"][1](tmp_path / "pyramid.tif", large)
    with tifffile.TiffFile(tmp_path / "pyramid.tif") as before:
        shapes = [page.shape for page in before.pages]
    with tifffile.TiffFile(restored(tmp_path / "pyramid.tif").files["result"]) as after:
        assert [page.shape[:2] for page in after.pages] == shapes
        assert len(shapes) > 1


def test_xmp_that_leaves_no_room_for_ours_is_left_out_with_a_note(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    xmp = photo_files.XMP.replace(b"Harbor, 1911", b"Harbor, 1911 " * 4900)
    Image.fromarray(photographs.to_gray(PHOTO)).save(path, xmp=xmp)
    rendered = restored(path)
    assert "XMP" in " ".join(rendered.facts["notes"])
    mark = pyvips.Image.new_from_file(str(rendered.files["result"])).get("xmp-data")
    assert provenance.read(mark)["DigitalSourceType"] == provenance.INVENTED


@pytest.mark.parametrize("quality", [30, 60, 75, 90, 95, 100])
def test_a_jpeg_keeps_its_quality(quality: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(PHOTO).save(path, quality=quality)
    result = restored(path, None, DENSITY).files["result"]
    before, after = (opened(file).quantization for file in (path, result))  # type: ignore[attr-defined]
    assert before == after


def test_a_gray_jpeg_becomes_color_without_subsampling_and_a_subsampled_one_stays_so(tmp_path: Path) -> None:
    gray, color = tmp_path / "gray.jpg", tmp_path / "color.jpg"
    Image.fromarray(photographs.to_gray(PHOTO)).save(gray, quality=80)
    Image.fromarray(PHOTO).save(color, quality=80, subsampling=2)
    sampling = [opened(restored(path).files["result"]).layer[0][1:3] for path in (gray, color)]  # type: ignore[attr-defined]
    assert sampling == [(1, 1), (2, 2)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_profile_resolution_and_descriptions_survive(kind: str, orientation: int, tmp_path: Path) -> None:
    path = tmp_path / f"photo.{kind.lower()}"
    metadata = photo_files.pillow_metadata(photo_files.SRGB_PROFILE, orientation)
    if kind == "TIFF":
        del metadata["exif"]
        said = {270: "Harbor", 271: "Voigtlaender", 274: orientation, 315: "A. Photographer", 700: photo_files.XMP}
        metadata["tiffinfo"] = {**said, 34665: {36867: "1911:05:04 10:00:00"}}
    if kind == "PNG":
        metadata.pop("xmp")
    Image.fromarray(PHOTO).save(path, kind, **metadata)
    result = restored(path).files["result"]
    image, original = opened(result), opened(path)
    assert image.info["icc_profile"] == photo_files.SRGB_PROFILE
    if kind != "WEBP":  # which has no field for it
        assert [round(float(value)) for value in image.info["dpi"]] == [600, 600]
    assert image.getexif()[274] == orientation
    assert image.getexif()[271] == "Voigtlaender"
    assert image.getexif()[315] == "A. Photographer"
    assert image.getexif().get_ifd(34665)[36867] == "1911:05:04 10:00:00"
    assert image.size == original.size
    xmp = pyvips.Image.new_from_file(str(result)).get("xmp-data")
    assert kind == "PNG" or b"Harbor, 1911" in xmp
    assert provenance.read(xmp)["DigitalSourceType"] == provenance.INVENTED
    if kind == "TIFF":
        assert image.getexif()[270] == "Harbor"


@pytest.mark.parametrize("kind", ["jpeg", "tiff"])
def test_iptc_survives(kind: str, tmp_path: Path) -> None:
    caption = b"\x1c\x02\x78\x00\x06Harbor"
    # in a JPEG the records lie inside one of Photoshop's resources
    records = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + len(caption).to_bytes(4, "big") + caption + b"\0"
    path, gray = tmp_path / f"photo.{kind}", photographs.to_gray(PHOTO)
    if kind == "jpeg":
        image = pyvips.Image.new_from_array(gray)
        image.set_type(pyvips.GValue.blob_type, "iptc-data", records)
        image.jpegsave(str(path))
    else:
        tifffile.imwrite(path, gray, metadata=None, extratags=[(33723, 7, 12, caption + b"\0", True)])
    result = restored(path).files["result"]
    assert caption in pyvips.Image.new_from_file(str(path)).get("iptc-data")
    assert caption in pyvips.Image.new_from_file(str(result)).get("iptc-data")


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_a_tiff_keeps_the_fields_that_describe_it(options: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "scan.tif"
    tags = [
        (271, 2, 0, "Linotype-Hell", True), (272, 2, 0, "Tango", True), (306, 2, 0, "2003:01:02 03:04:05", True),
        (315, 2, 0, "A. Photographer", True), (33432, 2, 0, "Public domain", True),
    ]  # fmt: skip
    gray = photographs.to_16_bits(photographs.to_gray(PHOTO))
    tifffile.imwrite(
        path, gray, description="Harbor", software="Linocolor", extratags=tags, metadata=None, resolution=(600, 600),
        resolutionunit="INCH", **options,
    )  # fmt: skip
    with tifffile.TiffFile(restored(path).files["result"]) as tiff:
        said = {tag.code: tag.value for tag in tiff.pages.first.tags}
    assert said[270] == "Harbor"
    assert said[305] == "Linocolor"
    assert [said[code] for code, *_ in tags] == [value for *_, value, _ in tags]
    assert said[282] == (600, 1) or said[282][0] / said[282][1] == pytest.approx(600, rel=1e-3)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_stored_pixels_are_not_turned_and_what_is_looked_at_is_upright(orientation: int, tmp_path: Path) -> None:
    path = tmp_path / "photo.png"
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(PHOTO[:100]).save(path, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(opened(path)))
    gray = tmp_path / "gray.png"
    Image.fromarray(photographs.to_gray(PHOTO[:100])).save(gray, exif=exif)
    rendered = restored(gray, sample_layers.color_layer(upright))
    result = opened(rendered.files["result"])
    assert result.getexif()[274] == orientation
    assert np.abs(np.asarray(result).astype(int) - PHOTO[:100]).mean() < 1  # the truth is back, in the file's own order
    for name in ("preview", "thumb"):
        shown = opened(rendered.files[name])
        assert shown.size == (upright.shape[1], upright.shape[0])
        assert np.abs(np.asarray(shown).astype(int) - upright).mean() < 6


def test_a_wide_profile_stays_and_the_colors_are_those_that_were_decided(tmp_path: Path) -> None:
    profile = photo_files.make_icc_profile("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES)
    truth = np.asarray(photo_files.convert_to_profile(Image.fromarray(PHOTO), profile))
    gray = np.repeat(photographs.to_gray(truth)[..., None], 3, axis=2)
    Image.fromarray(gray).save(tmp_path / "gray.png", icc_profile=profile)
    rendered = restored(tmp_path / "gray.png", sample_layers.color_layer(PHOTO))
    result = opened(rendered.files["result"])
    assert result.info["icc_profile"] == profile
    assert np.abs(np.asarray(result).astype(int) - truth).mean() < 4
    assert np.abs(np.asarray(opened(rendered.files["preview"])).astype(int) - PHOTO).mean() < 8


def test_a_gray_profile_becomes_one_for_color_with_the_same_tone(tmp_path: Path) -> None:
    profile = photo_files.make_icc_profile("Gray 1.8", 1.8)
    gray = photographs.to_gray(PHOTO)
    Image.fromarray(gray).save(tmp_path / "gray.tif", icc_profile=profile)
    result = opened(restored(tmp_path / "gray.tif").files["result"])
    made = ImageCms.ImageCmsProfile(io.BytesIO(result.info["icc_profile"]))
    assert made.profile.xcolor_space == "RGB "
    ramp = np.arange(256, dtype=np.uint8)[None]
    shown = [
        pyvips.Image.new_from_array(pixels).copy(interpretation=meaning)
        for pixels, meaning in ((ramp, "b-w"), (np.repeat(ramp[..., None], 3, axis=2), "srgb"))
    ]
    for image, each in zip(shown, (profile, result.info["icc_profile"]), strict=True):
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", each)
    lab = [image.icc_import(embedded=True, pcs="lab").numpy() for image in shown]
    assert np.abs(lab[0] - lab[1]).max() < 0.3
    kept = opened(restored(tmp_path / "gray.tif", None, DENSITY).files["result"])
    assert kept.mode == "L"
    assert kept.info["icc_profile"] == profile


def test_tone_is_repaired_alike_whatever_the_profile(tmp_path: Path) -> None:
    profile = photo_files.make_icc_profile("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES)
    even = replace(  # one that keeps gray gray: a tint would lie in the profile's own primaries
        DENSITY, matrix=np.eye(3, dtype=np.float32), shift=DENSITY.shift[[0, 0, 0]], curves=DENSITY.curves[[0, 0, 0]],
        grid=DENSITY.grid[[0, 0, 0, 3, 3, 3]],
    )  # fmt: skip
    gray = np.repeat(photographs.to_gray(PHOTO)[..., None], 3, axis=2)
    Image.fromarray(gray).save(tmp_path / "plain.png")
    photo_files.convert_to_profile(Image.fromarray(gray), profile).save(tmp_path / "wide.png", icc_profile=profile)
    plain, wide = (
        np.asarray(opened(restored(tmp_path / name, None, even).files["preview"])).astype(int)
        for name in ("plain.png", "wide.png")
    )
    assert np.abs(plain - gray).mean() > 5
    assert np.abs(plain - wide).mean() < 1.5


def test_a_large_result_can_be_zoomed_into(tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(photographs.to_gray(PHOTO)).resize((3000, 2250)))
    for name, exif in (("flat.jpg", photo_files.make_exif(1)), ("turned.jpg", photo_files.make_exif(6))):
        Image.fromarray(large).save(tmp_path / name, exif=exif)
        color = COLOR if name == "flat.jpg" else sample_layers.color_layer(np.rot90(PHOTO, -1))
        rendered = restored(tmp_path / name, color, DENSITY)
        size = (3000, 2250) if name == "flat.jpg" else (2250, 3000)
        preview = opened(rendered.files["preview"])
        assert max(preview.size) == 2048
        assert opened(rendered.files["before"]).size == preview.size
        with zipfile.ZipFile(rendered.files["zoom"]) as pyramid:
            assert {entry.compress_type for entry in pyramid.infolist()} == {zipfile.ZIP_STORED}
            assert f'Width="{size[0]}"'.encode() in pyramid.read("zoom/zoom.dzi")
            with pyramid.open("zoom/zoom_files/11/2_3.jpg") as tile:
                shown = np.asarray(Image.open(tile)).astype(int)
        scale = 2048 / 3000 * 2 ** (12 - 11)  # level 11 halves the full size; the preview has another scale
        left, top = (round(length * 254 * scale) for length in (2, 3))
        area = preview.crop((left, top, left + round(254 * scale), top + round(254 * scale))).resize((254, 254))
        assert np.abs(shown[1:255, 1:255].mean((0, 1)) - np.asarray(area).mean((0, 1))).max() < 3
    small = tmp_path / "small.jpg"
    Image.fromarray(large).resize((2048, 1536)).save(small)
    assert "zoom" not in restored(small).files


def test_previews_say_what_they_are_and_the_record_lies_beside(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(photographs.to_gray(PHOTO)).save(path)
    rendered = restored(path, COLOR, DENSITY)
    for name in ("result", "preview", "thumb"):
        xmp = pyvips.Image.new_from_file(str(rendered.files[name])).get("xmp-data")
        assert provenance.read(xmp)["DigitalSourceType"] == provenance.INVENTED
    record = json.loads(rendered.files["provenance"].read_text())
    assert record["original_sha256"] == ingest(path, RECIPE, SETTINGS).facts["sha256"]
    assert record["networks"]["color"] == COLOR.record


@pytest.mark.parametrize("name", ["plain.jpg", "16.png", "lossy.webp", "tiled deflate 16.tif", "bigtiff.tif"])
def test_the_same_layers_give_the_same_bytes_again(name: str, tmp_path: Path) -> None:
    bits, write = photo_files.FORMATS[name]
    gray = photographs.to_gray(PHOTO)
    write(tmp_path / name, photographs.to_16_bits(gray) if bits == 16 else gray)
    color, density = ColorLayer.from_bytes(COLOR.to_bytes()), DensityLayer.from_bytes(DENSITY.to_bytes())
    first, second = restored(tmp_path / name, COLOR, DENSITY), restored(tmp_path / name, color, density)
    assert first.facts["sha256"] == second.facts["sha256"]
    for file in first.files:
        assert first.files[file].read_bytes() == second.files[file].read_bytes(), file


@pytest.mark.parametrize("name", photo_files.ODD)
def test_odd_photos_are_restored(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(photo_files.ODD[name]())
    rendered = restored(path, COLOR, DENSITY, kind="neutral")
    assert opened(rendered.files["preview"]).size == opened(path).size


def test_white_stays_white_where_zero_meant_white(tmp_path: Path) -> None:
    gray = photographs.to_gray(PHOTO)
    path = tmp_path / "white is zero.tif"
    tifffile.imwrite(path, 255 - gray, photometric="miniswhite", metadata=None)
    result = pixels_of(restored(path).files["result"])
    assert np.abs(luma(result) - gray).max() <= 1


# --- the watermark ----------------------------------------------------------------------------------------------------

MARKED = parse({"watermark": True})


def corner_of(pixels: Any) -> tuple[Any, Any]:
    """What lies under the mark of an upright picture, and all the rest in a row."""
    height, width = pixels.shape[:2]
    high = max(16, round(0.05 * min(height, width)))
    bottom, left, wide = height - high // 2, high // 2, round(1.3 * high)
    inside = np.zeros((height, width), bool)
    inside[bottom - high : bottom, left : left + wide] = True
    return pixels[bottom - high : bottom, left : left + wide].astype(float), pixels[~inside].astype(float)


@pytest.mark.parametrize("name", ["plain.jpg", "plain.png", "16.png", "lossy.webp", "tiled deflate 16.tif"])
@pytest.mark.parametrize("layers", ["both", "tone"])
def test_the_palette_is_drawn_and_nothing_else_changes(name: str, layers: str, tmp_path: Path) -> None:
    bits, write = photo_files.FORMATS[name]
    gray = photographs.to_gray(PHOTO)
    write(tmp_path / name, photographs.to_16_bits(gray) if bits == 16 else gray)
    color, density = COLOR if layers == "both" else None, DENSITY
    bare = pixels_of(restored(tmp_path / name, color, density).files["result"])
    rendered = restored(tmp_path / name, color, density, MARKED)
    marked = pixels_of(rendered.files["result"])
    assert marked.shape == bare.shape
    (under, beside), (under_bare, beside_bare) = corner_of(marked), corner_of(bare)
    full = 255 if bits == 8 else 65535
    assert np.sqrt(np.square((under - under_bare) / full).mean()) > 0.1
    assert np.abs(beside - beside_bare).mean() * 255 / full < (2 if Path(name).suffix in LOSSY else 1e-9)
    says = provenance.read(pyvips.Image.new_from_file(str(rendered.files["result"])).get("xmp-data"))
    assert says["Watermark"] == json.loads(rendered.files["provenance"].read_text())["watermark"]
    if color is not None:
        assert rendered.facts["luma_drift"] <= 1 / 255


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_palette_lies_in_the_lower_left_corner_whichever_way_a_photo_is_stored(
    orientation: int, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    Image.fromarray(np.full((150, 200), 128, np.uint8)).save(path, exif=photo_files.make_exif(orientation))
    shown = np.asarray(opened(restored(path, None, None, MARKED).files["preview"]).convert("L"))
    under, beside = corner_of(shown)
    assert np.abs(beside - 128).max() < 20  # the preview is a JPEG
    assert np.abs(under - 128).mean() > 12
    drawn = watermark.draw(16)
    wood = (drawn[..., :3] @ np.array(LUMA) - 128) * (drawn[..., 3] / 255)
    likeness = [np.corrcoef(under.ravel(), turned.ravel())[0, 1] for turned in (wood, wood[::-1], wood[:, ::-1])]
    assert likeness[0] > 0.9
    assert likeness[0] == max(likeness)  # the thumb's hole lies to the right, below


@pytest.mark.parametrize("name", ["sRGB", "wide", "gray"])
def test_the_palette_has_its_colors_in_every_profile(name: str, tmp_path: Path) -> None:
    profiles = {
        "sRGB": photo_files.SRGB_PROFILE,
        "wide": photo_files.make_icc_profile("Wide", 1.8, photo_files.PROPHOTO_PRIMARIES),
        "gray": photo_files.make_icc_profile("Gray 1.8", 1.8),
    }
    gray = photographs.to_gray(PHOTO)
    pixels = gray if name == "gray" else np.repeat(gray[..., None], 3, axis=2)
    (tmp_path / "plain").mkdir()
    Image.fromarray(gray).save(tmp_path / "plain" / "photo.png")
    Image.fromarray(pixels).save(tmp_path / "photo.png", icc_profile=profiles[name])
    shown = [
        corner_of(np.asarray(opened(restored(path, None, None, MARKED).files["preview"]).convert("L")))[0]
        for path in (tmp_path / "plain" / "photo.png", tmp_path / "photo.png")
    ]
    under = [np.abs(each - each.mean()) for each in shown]
    assert np.corrcoef(shown[0].ravel(), shown[1].ravel())[0, 1] > 0.9
    assert abs(under[0].mean() - under[1].mean()) < 6


def test_a_palette_that_has_no_room_is_refused_and_never_left_out(tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    Image.fromarray(photographs.to_gray(PHOTO)[:63]).save(path)
    with pytest.raises(InvalidPhoto, match="too small for a watermark") as found:
        restored(path, recipe=MARKED)
    assert found.value.code == "too_small_for_watermark"
    Image.fromarray(photographs.to_gray(PHOTO)[:64]).save(path)
    assert restored(path, recipe=MARKED).files


def test_a_palette_gives_no_color_to_a_result_that_has_none(tmp_path: Path) -> None:
    with pytest.raises(NotVerified) as found:
        restored(gray_photo(tmp_path), colored(0), recipe=MARKED)
    assert found.value.code == "colorless"


def test_a_marked_result_is_made_again_bit_for_bit(tmp_path: Path) -> None:
    path = gray_photo(tmp_path)
    first, second = (restored(path, COLOR, DENSITY, MARKED) for _ in range(2))
    for file in first.files:
        assert first.files[file].read_bytes() == second.files[file].read_bytes(), file


@pytest.mark.parametrize("suffix", [".jpg", ".webp", ".png"])
def test_a_palette_that_was_not_drawn_is_found_when_it_is_read_back(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"photo{suffix}"
    Image.fromarray(photographs.to_gray(PHOTO)).convert("RGB").save(path, quality=40)
    header = formats.read_header(path, 1000)
    marked, bare = job(tmp_path, path, recipe=MARKED), job(tmp_path, path)
    record = provenance.Provenance.of(marked.facts["sha256"], MARKED, COLOR, None)
    result = tmp_path / f"result{suffix}"
    drawn = render.write(marked, header, record, result)
    render.read_back(marked, drawn, record, result)
    left_out = render.write(bare, header, record, result)
    assert left_out.mark is None
    with pytest.raises(NotVerified) as found:
        render.read_back(marked, replace(left_out, mark=drawn.mark), record, result)
    assert found.value.code == "watermark_differs"


# --- done means checked -----------------------------------------------------------------------------------------------


def gray_photo(folder: Path) -> Path:
    path = folder / "photo.png"
    Image.fromarray(photographs.to_gray(PHOTO)).save(path)
    return path


def job(folder: Path, path: Path, **other: Any) -> render.Job:
    facts = ingest(path, RECIPE, SETTINGS).facts
    values = {"original": path, "folder": folder, "facts": facts, "recipe": RECIPE, "color": COLOR, "density": None}
    return render.Job(**{**values, **other}, pixel_limit_mp=1000)


def colored(share: float) -> ColorLayer:
    """What was decided, with a share of its chroma."""
    return ColorLayer(COLOR.chroma * np.float16(share), COLOR.luma, COLOR.confidence, COLOR.record)


def test_a_network_that_gives_no_color_to_a_photo_with_room_for_it_is_no_success(tmp_path: Path) -> None:
    for share in (0, 0.005):
        with pytest.raises(NotVerified, match="The network gave this photo no color") as found:
            restored(gray_photo(tmp_path), colored(share))
        assert found.value.code == "colorless"


def test_color_that_was_decided_and_is_not_in_the_result_is_found(tmp_path: Path) -> None:
    path = gray_photo(tmp_path)
    work = job(tmp_path, path)
    with pytest.raises(NotVerified, match="came out without color"):
        render.why_colorless(work, COLOR)


def line_art(antialias: int, *, paper: int = 255) -> Image.Image:
    """A pen drawing, 640 x 480: black lines on white; with edges as soft as so many times finer drawing makes them."""
    drawing = Image.new("L", (640 * antialias, 480 * antialias), paper)
    pen = ImageDraw.Draw(drawing)
    for k in range(6):
        box = (40 + 29 * k, 30 + 31 * k, 600 - 45 * k, 450 - 27 * k)
        pen.ellipse([antialias * v for v in box], outline=0, width=2 * antialias)
        pen.line([antialias * v for v in (10, 70 * k, 630, 470 - 55 * k)], fill=0, width=3 * antialias)
    return drawing.resize((640, 480), Image.Resampling.BOX)


@pytest.mark.parametrize("antialias", [1, 4])
@pytest.mark.parametrize("form", ["gray.png", "bilevel.tif", "rgb.jpg", "16.png"])
def test_line_art_has_no_room_for_color_and_says_so(antialias: int, form: str, tmp_path: Path) -> None:
    drawing = line_art(antialias)
    path = tmp_path / form
    if form == "16.png":
        pyvips.Image.new_from_array(np.asarray(drawing).astype(np.uint16) * 257).pngsave(str(path))
    else:
        drawing.convert({"bilevel.tif": "1", "rgb.jpg": "RGB"}.get(form, "L")).save(path)
    assert "no room for color" in restored(path, colored(0)).facts["colorless"]
    if antialias == 1 and form != "rgb.jpg":  # softer edges take a little
        assert "no room for color" in restored(path).facts["colorless"]


def test_a_photo_that_takes_its_color_has_nothing_to_say(tmp_path: Path) -> None:
    assert restored(gray_photo(tmp_path)).facts["colorless"] is None


def test_a_drawing_on_gray_paper_has_room_for_color(tmp_path: Path) -> None:
    line_art(4, paper=215).save(tmp_path / "paper.png")
    assert restored(tmp_path / "paper.png").facts["colorless"] is None
    with pytest.raises(NotVerified):
        restored(tmp_path / "paper.png", colored(0))


@pytest.mark.parametrize("value", [0, 255])
def test_a_photo_all_black_or_all_white_is_restored_and_says_so(value: int, tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 80), value, np.uint8)).save(tmp_path / "flat.png")
    assert restored(tmp_path / "flat.png").facts["colorless"]


def test_an_original_that_is_not_the_deposited_one_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(NotVerified) as found:
        restored(gray_photo(tmp_path), sha256="0" * 64)
    assert found.value.code == "original_changed"


def damaged(written: render.Written, result: Path, how: str) -> render.Written:
    """Do to a result what must not go unnoticed."""
    if how == "one pixel":
        pixels = pyvips.Image.new_from_file(str(result)).numpy().copy()
        pixels[5, 5] ^= 1
        mark = pyvips.Image.new_from_file(str(result)).get("xmp-data")
        image = pyvips.Image.new_from_array(pixels)
        image.set_type(pyvips.GValue.blob_type, "xmp-data", mark)
        image.pngsave(str(result))
    elif how == "unmarked":
        opened(result).save(result)
    elif how == "smaller":
        opened(result).resize((100, 75)).save(result)
    elif how == "gray":
        opened(result).convert("L").save(result)
    elif how == "profile":
        return replace(written, profile=photo_files.SRGB_PROFILE)
    return written


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("one pixel", "pixels_differ"), ("unmarked", "unmarked"),
        ("smaller", "width_differs"), ("gray", "bands_differs"), ("profile", "profile_differs"),
    ],
)  # fmt: skip
def test_what_happens_to_a_result_before_it_is_read_back_is_found(how: str, code: str, tmp_path: Path) -> None:
    path = gray_photo(tmp_path)
    work = job(tmp_path, path)
    record = provenance.Provenance.of(work.facts["sha256"], RECIPE, COLOR, None)
    result = tmp_path / "result.png"
    written = render.write(work, formats.read_header(path, 1000), record, result)
    render.read_back(work, written, record, result)  # as it is, it passes
    with pytest.raises(NotVerified) as found:
        render.read_back(work, damaged(written, result, how), record, result)
    assert found.value.code == code


def test_a_full_disk_is_told_and_does_not_hang(tmp_path: Path) -> None:
    work = job(tmp_path, gray_photo(tmp_path))
    record = provenance.Provenance.of(work.facts["sha256"], RECIPE, COLOR, None)
    with pytest.raises(pyvips.Error):
        render.write(work, formats.read_header(work.original, 1000), record, Path("/dev/full"))


def test_a_result_that_cannot_be_read_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = render.write

    def cut_short(work: render.Job, *rest: Any) -> render.Written:
        written = write(work, *rest)
        os.truncate(work.folder / "result.png", 2000)
        return written

    monkeypatch.setattr(render, "write", cut_short)
    with pytest.raises(NotVerified) as found:
        render.make(job(tmp_path, gray_photo(tmp_path)))
    assert found.value.code == "unreadable"

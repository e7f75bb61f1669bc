"""Metadata of the original goes into the result by the policy."""

from pathlib import Path
from typing import Any

import pytest
import pyvips
import tifffile
from PIL import Image
from tests import photo_files, photographs
from tests.integration.workers.imaging.sample_renders import PHOTO, open_picture, render_file

from retint_workers.imaging import provenance


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
    result = render_file(path).files["result"]
    image, original = open_picture(result), open_picture(path)
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
    assert provenance.read_xmp(xmp)["DigitalSourceType"] == provenance.INVENTED
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
    result = render_file(path).files["result"]
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
    with tifffile.TiffFile(render_file(path).files["result"]) as tiff:
        said = {tag.code: tag.value for tag in tiff.pages.first.tags}
    assert said[270] == "Harbor"
    assert said[305] == "Linocolor"
    assert [said[code] for code, *_ in tags] == [value for *_, value, _ in tags]
    assert said[282] == (600, 1) or said[282][0] / said[282][1] == pytest.approx(600, rel=1e-3)

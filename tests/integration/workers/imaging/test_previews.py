"""Preview, thumbnail and zoom pyramid."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pyvips
from PIL import Image
from tests import photo_files, photographs, sample_layers
from tests.integration.workers.imaging.sample_renders import (
    COLOR,
    DENSITY,
    PHOTO,
    RECIPE,
    SETTINGS,
    open_picture,
    render_file,
)

from retint_workers.imaging import provenance
from retint_workers.imaging.ingest import ingest


def test_a_large_result_can_be_zoomed_into(tmp_path: Path) -> None:
    large = np.asarray(Image.fromarray(photographs.to_gray(PHOTO)).resize((3000, 2250)))
    for name, exif in (("flat.jpg", photo_files.make_exif(1)), ("turned.jpg", photo_files.make_exif(6))):
        Image.fromarray(large).save(tmp_path / name, exif=exif)
        color = COLOR if name == "flat.jpg" else sample_layers.color_layer(np.rot90(PHOTO, -1))
        rendered = render_file(tmp_path / name, color, DENSITY)
        size = (3000, 2250) if name == "flat.jpg" else (2250, 3000)
        preview = open_picture(rendered.files["preview"])
        assert max(preview.size) == 2048
        assert open_picture(rendered.files["before"]).size == preview.size
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
    assert "zoom" not in render_file(small).files


def test_previews_hold_the_record_and_it_lies_beside_the_result(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    Image.fromarray(photographs.to_gray(PHOTO)).save(path)
    rendered = render_file(path, COLOR, DENSITY)
    for name in ("result", "preview", "thumb"):
        xmp = pyvips.Image.new_from_file(str(rendered.files[name])).get("xmp-data")
        assert provenance.read_xmp(xmp)["DigitalSourceType"] == provenance.INVENTED
    record = json.loads(rendered.files["provenance"].read_text())
    assert record["original_sha256"] == ingest(path, RECIPE, SETTINGS).facts["sha256"]
    assert record["networks"]["color"] == COLOR.record

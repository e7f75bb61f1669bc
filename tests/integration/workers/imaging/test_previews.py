"""Preview and thumbnail."""

import json
from pathlib import Path

import pyvips
from PIL import Image
from tests import photographs
from tests.integration.workers.imaging.sample_renders import (
    COLOR,
    DENSITY,
    PHOTO,
    RECIPE,
    SETTINGS,
    render_file,
)

from retint_workers.imaging import provenance
from retint_workers.imaging.ingest import ingest


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

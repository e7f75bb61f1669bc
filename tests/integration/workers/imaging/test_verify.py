"""A result is read back and verified; what is wrong is found."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvips
from PIL import Image, ImageDraw
from tests import photo_files
from tests.integration.workers.imaging.sample_renders import (
    COLOR,
    RECIPE,
    make_request,
    open_picture,
    render_file,
    scale_chroma,
    write_gray_photo,
)

from retint.region import WHOLE
from retint_workers.imaging import provenance, render, verify
from retint_workers.imaging.decoding import formats
from retint_workers.imaging.stored_region import StoredRegion
from retint_workers.imaging.verify import Expected, NotVerified


def test_a_network_that_finds_no_color_is_no_fault_and_it_is_said(tmp_path: Path) -> None:
    for share in (0, 0.005):
        rendered = render_file(write_gray_photo(tmp_path), scale_chroma(share))
        assert (
            rendered.facts["colorless"] == "The network found no color to give this photo: it stayed black and white."
        )


def test_color_that_is_missing_from_the_result_is_an_error(tmp_path: Path) -> None:
    header = formats.read_header(write_gray_photo(tmp_path), 1000)
    with pytest.raises(NotVerified, match="came out without color"):
        verify.explain_colorless(header, StoredRegion.locate(WHOLE, header), COLOR)


def draw_line_art(antialias: int, *, paper: int = 255) -> Image.Image:
    """Draw black lines on white, 640 x 480; antialias > 1 makes their edges soft."""
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
    drawing = draw_line_art(antialias)
    path = tmp_path / form
    if form == "16.png":
        pyvips.Image.new_from_array(np.asarray(drawing).astype(np.uint16) * 257).pngsave(str(path))
    else:
        drawing.convert({"bilevel.tif": "1", "rgb.jpg": "RGB"}.get(form, "L")).save(path)
    assert "no room for color" in render_file(path, scale_chroma(0), kind="neutral").facts["colorless"]
    if antialias == 1 and form != "rgb.jpg":  # softer edges take a little
        assert "no room for color" in render_file(path, kind="neutral").facts["colorless"]


def test_a_colorized_photo_has_no_remark(tmp_path: Path) -> None:
    assert render_file(write_gray_photo(tmp_path)).facts["colorless"] is None


def test_a_drawing_on_gray_paper_has_room_for_color(tmp_path: Path) -> None:
    draw_line_art(4, paper=215).save(tmp_path / "paper.png")
    assert render_file(tmp_path / "paper.png", kind="neutral").facts["colorless"] is None
    drawn = render_file(tmp_path / "paper.png", scale_chroma(0), kind="neutral")
    assert str(drawn.facts["colorless"]).startswith("The network found no color")


@pytest.mark.parametrize("value", [0, 255])
def test_a_photo_all_black_or_all_white_is_restored_and_says_so(value: int, tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 80), value, np.uint8)).save(tmp_path / "flat.png")
    assert render_file(tmp_path / "flat.png").facts["colorless"]


def test_an_original_that_is_not_the_deposited_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotVerified) as found:
        render_file(write_gray_photo(tmp_path), sha256="0" * 64)
    assert found.value.code == "original_changed"


def test_an_original_that_is_damaged_and_not_the_deposited_file_is_an_error_of_the_machine(tmp_path: Path) -> None:
    path = write_gray_photo(tmp_path)
    request = make_request(tmp_path, path)
    os.truncate(path, path.stat().st_size - 2000)
    with pytest.raises(NotVerified) as found:
        render.render_and_verify(request, 1000)
    assert found.value.code == "original_changed"


def damage(expected: Expected, result: Path, how: str) -> Expected:
    """Change a result, or what is expected of it, so that both differ; return what is expected."""
    if how == "one pixel":
        pixels = pyvips.Image.new_from_file(str(result)).numpy().copy()
        pixels[5, 5] ^= 1
        mark = pyvips.Image.new_from_file(str(result)).get("xmp-data")
        image = pyvips.Image.new_from_array(pixels)
        image.set_type(pyvips.GValue.blob_type, "xmp-data", mark)
        image.pngsave(str(result))
    elif how == "unmarked":
        open_picture(result).save(result)
    elif how == "smaller":
        open_picture(result).resize((100, 75)).save(result)
    elif how == "gray":
        open_picture(result).convert("L").save(result)
    elif how == "profile":
        space = replace(expected.header.space, profile=photo_files.SRGB_PROFILE)
        return replace(expected, header=replace(expected.header, space=space))
    return expected


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("one pixel", "pixels_differ"), ("unmarked", "unmarked"),
        ("smaller", "width_differs"), ("gray", "bands_differs"), ("profile", "profile_differs"),
    ],
)  # fmt: skip
def test_a_changed_result_is_an_error(how: str, code: str, tmp_path: Path) -> None:
    path = write_gray_photo(tmp_path)
    request = make_request(tmp_path, path)
    record = provenance.Provenance.from_layers(request.facts["sha256"], RECIPE, COLOR, None)
    result = tmp_path / "result.png"
    with ThreadPoolExecutor(1) as aside:
        expected, _ = render.write(request, formats.read_header(path, 1000), record, result, aside)
    verify.read_back(result, expected, 1000)  # it passes unchanged
    with pytest.raises(NotVerified) as found:
        verify.read_back(result, damage(expected, result, how), 1000)
    assert found.value.code == code


def test_a_truncated_result_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = render.write

    def write_and_truncate(request: render.RenderRequest, *rest: Any) -> Any:
        written = write(request, *rest)
        os.truncate(request.folder / "result.png", 2000)
        return written

    monkeypatch.setattr(render, "write", write_and_truncate)
    with pytest.raises(NotVerified) as found:
        render.render_and_verify(make_request(tmp_path, write_gray_photo(tmp_path)), 1000)
    assert found.value.code == "unreadable"

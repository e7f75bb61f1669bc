"""The zoom of a result: tiles of the full size, upright, in sRGB."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import pyvips
import tifffile
from numpy.typing import NDArray
from PIL import Image
from tests import photo_files, photographs

from retint.errors import InvalidPhoto
from retint.settings import Settings
from retint_workers.beats import beat_for_nobody
from retint_workers.imaging.zoom import make_pyramid
from retint_workers.sandbox.children import run_in_child

TILE = 254
LIMIT_MP = 10
PHOTO = np.asarray(Image.fromarray(photographs.color_photo(1, 240)).resize((600, 450)))


def read_level(path: Path, level: int) -> NDArray[np.int64]:
    """Put the tiles of one level of a zoom together."""
    with zipfile.ZipFile(path) as zoom:
        assert {entry.compress_type for entry in zoom.infolist()} == {zipfile.ZIP_STORED}
        names = [name for name in zoom.namelist() if f"zoom/zoom_files/{level}/" in name]
        cells = {tuple(map(int, Path(name).stem.split("_"))): zoom.read(name) for name in names}
    lines = []
    for row in range(1 + max(row for _, row in cells)):
        tiles = [np.asarray(Image.open(io.BytesIO(cells[cell]))) for cell in sorted(cells) if cell[1] == row]
        lines.append([tile[min(row, 1) :, min(column, 1) :][:TILE, :TILE] for column, tile in enumerate(tiles)])
    return np.concatenate([np.concatenate(line, axis=1) for line in lines]).astype(int)


@pytest.mark.parametrize("orientation", [1, 6])
def test_tiles_show_the_result_upright_at_its_full_size(orientation: int, tmp_path: Path) -> None:
    result, folder = tmp_path / "result.jpg", tmp_path / "zoom"
    Image.fromarray(PHOTO).save(result, quality=95, exif=photo_files.make_exif(orientation))
    folder.mkdir()
    zoom = run_in_child(make_pyramid, Settings(), beat_for_nobody, result, 0, folder, LIMIT_MP)
    upright = PHOTO if orientation == 1 else np.rot90(PHOTO, -1)
    with zipfile.ZipFile(zoom) as archive:
        assert f'Width="{upright.shape[1]}"'.encode() in archive.read("zoom/zoom.dzi")
    shown = read_level(zoom, 10)
    assert shown.shape == upright.shape
    assert np.abs(shown - upright).mean() < 3


def test_each_photograph_of_a_result_has_a_zoom_of_its_own(tmp_path: Path) -> None:
    """Whatever lies between them: pages of other kinds may have been left out of the result."""
    shades = [(200, 40, 40), (40, 40, 200)]
    with tifffile.TiffWriter(tmp_path / "result.tif") as writer:
        for shade in shades:
            writer.write(np.full((60, 80, 3), shade, np.uint8), photometric="rgb", metadata=None)
            writer.write(np.full((6, 8, 3), shade, np.uint8), photometric="rgb", metadata=None, subfiletype=1)
    for index, shade in enumerate(shades):
        shown = read_level(make_pyramid(tmp_path / "result.tif", index, tmp_path, LIMIT_MP), 7)
        assert shown.shape == (60, 80, 3)
        assert np.abs(shown - shade).max() < 4


def test_tiles_show_what_a_deep_file_shows_through_its_profile(tmp_path: Path) -> None:
    photo = pyvips.Image.new_from_array(PHOTO, interpretation="srgb")
    wide = photo.icc_transform("p3", input_profile="srgb", depth=16)
    wide.bandjoin(32768).tiffsave(str(tmp_path / "result.tif"))
    assert np.abs(wide.numpy() / 257 - PHOTO).mean() > 3
    shown = read_level(make_pyramid(tmp_path / "result.tif", 0, tmp_path, LIMIT_MP), 10)
    assert np.abs(shown - PHOTO).mean() < 2


def test_a_damaged_result_is_refused(tmp_path: Path) -> None:
    Image.fromarray(PHOTO).save(tmp_path / "whole.png")
    (tmp_path / "result.png").write_bytes((tmp_path / "whole.png").read_bytes()[:-9000])
    with pytest.raises(InvalidPhoto):
        make_pyramid(tmp_path / "result.png", 0, tmp_path, LIMIT_MP)

"""Photographs for the commands."""

from pathlib import Path

import pytest
from PIL import Image
from tests import photographs


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(2):
        Image.fromarray(photographs.color_photo(number, side=80)).save(folder / f"{number}.png")
    return folder

"""Photographs that networks are trained on for some seconds."""

import pytest
import torch
from tests.paths import SHARED

from retint_models.datasets.photographs import Photos, open_photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    if not SHARED.exists():
        pytest.skip(f"no photographs at {SHARED / 'data'}")
    torch.set_num_threads(1)
    cache = tmp_path_factory.mktemp("photos")
    return open_photos(SHARED / "data" / "dev", cache, pattern="[fp]*-0[1-4].jpg", short_side=80)

"""Films that a player turns and mirrors: results keep the matrix, networks and browsers get upright pictures."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests import films
from tests.integration.workers.films.conftest import Restore
from tests.paths import SHARED

from retint import recipes
from retint.errors import InvalidPhoto
from retint.settings import Settings
from retint_models.layers.rendering import to_stored_orientation
from retint_workers.films import ingest
from retint_workers.films.orientation import Matrix, orientation_of, read_matrix, to_upright

KEEP = recipes.parse({"colorizer": "keep", "defader": "keep"})
ONE, W = 1 << 16, 1 << 30
WIDTH, HEIGHT = 96 * ONE, 64 * ONE
MATRICES = {
    2: (-ONE, 0, 0, 0, ONE, 0, WIDTH, 0, W),
    3: (-ONE, 0, 0, 0, -ONE, 0, WIDTH, HEIGHT, W),
    4: (ONE, 0, 0, 0, -ONE, 0, 0, HEIGHT, W),
    5: (0, ONE, 0, ONE, 0, 0, 0, 0, W),
    6: (0, ONE, 0, -ONE, 0, 0, HEIGHT, 0, W),
    7: (0, -ONE, 0, -ONE, 0, 0, HEIGHT, WIDTH, W),
    8: (0, -ONE, 0, ONE, 0, 0, 0, WIDTH, W),
}
CASE = SHARED / "cases" / "33-film-flips"


def matrix_of(path: Path) -> Matrix | None:
    return read_matrix(films.decode(path)[1][0])


def gray_of(picture: Image.Image | np.ndarray) -> np.ndarray:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture.astype(np.uint8))
    return np.asarray(image.convert("L"), float)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    assert one.shape == other.shape
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("orientation", MATRICES)
def test_all_eight_orientations_survive(tmp_path: Path, restore: Restore, orientation: int, suffix: str) -> None:
    size = (64, 96) if orientation >= 5 else (96, 64)
    upright = list(films.pan(films.gray_photo("astronaut"), 2, size))
    stored = [to_stored_orientation(frame, orientation) for frame in upright]
    path = films.write(tmp_path / f"film{suffix}", stored, matrix=MATRICES[orientation], sound=None)
    before = matrix_of(path)
    facts, rendered = restore(path, KEEP)
    assert orientation_of(before) == facts["orientation"] == orientation
    assert matrix_of(rendered.files["result"]) == before
    assert (facts["width"], facts["height"]) == size
    shown = films.to_rgb(films.decode(rendered.files["result"])[1][0])
    assert likeness(gray_of(to_upright(shown, orientation)), gray_of(upright[0])) > 0.95
    assert likeness(gray_of(Image.open(rendered.files["thumb"])), gray_of(upright[facts["poster"]])) > 0.95
    for name in ("preview", "before"):
        assert matrix_of(rendered.files[name]) is None
        first = films.to_rgb(films.decode(rendered.files[name])[1][0])
        assert likeness(gray_of(first), gray_of(upright[0])) > 0.95


def test_networks_see_a_mirrored_film_as_it_is_shown(tmp_path: Path, settings: Settings) -> None:
    upright = list(films.pan(films.gray_photo("astronaut"), 2, (96, 64)))
    path = films.write(tmp_path / "film.mp4", [frame[:, ::-1] for frame in upright], matrix=MATRICES[2], sound=None)
    ingested = ingest.ingest(path, KEEP, settings)
    proxy = Image.open(io.BytesIO(ingested.proxy))
    assert likeness(gray_of(proxy), gray_of(upright[ingested.facts["poster"]])) > 0.95


def test_a_scale_in_the_matrix_stays(tmp_path: Path, restore: Restore) -> None:
    wide = (-87381, 0, 0, 0, ONE, 0, 0, 0, W)
    path = films.write(tmp_path / "film.mov", films.two_scenes(2), matrix=wide, sound=None)
    _, rendered = restore(path, KEEP)
    assert matrix_of(rendered.files["result"]) == matrix_of(path) == wide


def test_a_film_that_is_shown_aslant_is_refused_with_a_sentence(tmp_path: Path, settings: Settings) -> None:
    aslant = (46341, 46341, 0, -46341, 46341, 0, 0, 0, W)
    path = films.write(tmp_path / "film.mp4", films.two_scenes(2), matrix=aslant, sound=None)
    with pytest.raises(InvalidPhoto, match="no quarter of a circle") as refusal:
        ingest.ingest(path, KEEP, settings)
    assert refusal.value.code == "display_matrix"


@pytest.mark.case("33")
@pytest.mark.skipif(not CASE.is_dir(), reason=f"{CASE} is missing")
@pytest.mark.parametrize("name", ["plain", "hflip", "vflip", "rot90-hflip"])
def test_the_films_of_case_33(tmp_path: Path, restore: Restore, name: str) -> None:
    path = tmp_path / f"{name}.mp4"
    path.write_bytes((CASE / path.name).read_bytes())
    _, rendered = restore(path, KEEP)
    assert matrix_of(rendered.files["result"]) == matrix_of(path)

"""Where the network guesses: read out of a stored color layer, shown on the photo's page, given by the API."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.integration.web.conftest import Person
from tests.sample_layers import unsure_layer

from retint.settings import Settings
from retint_models.layers.types import CONFIDENCE_SCALE
from retint_models.weights.cards import read_cards
from retint_web.files import confidence

EMBEDDED = pytest.mark.parametrize("backends", ["embedded"], indirect=True)
FOUND = {"rectangles": [[0.1, 0.2, 0.5, 0.6]], "confidence": 0.8, "found": "auto"}
UNKNOWN = "does not say where it guesses"


def confidence_of(*errors: float) -> np.ndarray:
    """Return a row of confidences that expect these errors."""
    return np.asarray(np.rint(255 * np.exp(-np.array([errors]) / CONFIDENCE_SCALE)), np.uint8)


def layer(*errors: float) -> bytes:
    return unsure_layer(confidence_of(*errors)).to_bytes()


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with weights of `artistic`, which nobody runs."""
    folder = tmp_path / "weights"
    folder.mkdir(exist_ok=True)
    (folder / "artistic.safetensors").write_bytes(b"weights")
    (folder / "artistic.toml").write_text(f'sha256 = "{"0" * 64}"\n')
    return settings.model_copy(update={"weights": folder})


@pytest.fixture
def deposit(member: Person, restore: Callable[..., None]) -> Callable[..., str]:
    """Restore a photo whose color layer has these bytes; return the job's id."""

    def deposit_photo(color: bytes | None, recipe: dict[str, Any] | None = None, **found: Any) -> str:
        job_id = str(member.deposit(member.open_batch(recipe=recipe or {}))["id"])
        restore(job_id, color=color, **found)
        return job_id

    return deposit_photo


def read_veil(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA"))


def find_image(page: str) -> tuple[list[float], str]:
    """Return where the page lays the veil, as left, top, width and height, and the other attributes."""
    match = re.search(r'<image x="(.*?)" y="(.*?)" width="(.*?)" height="(.*?)"(.*?)/>', page)
    assert match
    *place, rest = match.groups()
    return [float(number) for number in place], rest


def test_the_veil_is_denser_the_less_sure_the_network_is(member: Person, deposit: Callable[..., str]) -> None:
    job_id = deposit(layer(0, 5, 8, 9.5, 11, 12.5, 14.2, 90))
    answer = member.browser().get(f"/jobs/{job_id}/confidence.png")
    assert (answer.status_code, answer.mimetype) == (200, "image/png")
    veil = read_veil(answer.data)
    assert veil.shape == (1, 8, 4)
    assert {tuple(pixel) for pixel in veil[0, :, :3]} == {confidence.VEIL}
    opacity = veil[0, :, 3].tolist()
    assert opacity[:3] == [0, 0, 0]
    assert opacity[3:7] == sorted(set(opacity[3:7]))
    assert opacity[-2:] == [166, 166]
    legend = member.browser().get(f"/jobs/{job_id}/guesses").text
    assert "About 38% of this picture is a guess" in legend, "three of eight places"
    link = member.api("GET", f"/jobs/{job_id}").json["confidence"]
    assert link.endswith(f"/api/v1/jobs/{job_id}/confidence")
    assert member.api("GET", f"/jobs/{job_id}/confidence").data == answer.data


def test_a_confidence_means_what_layers_say() -> None:
    assert confidence.SCALE == CONFIDENCE_SCALE
    grid = np.arange(256, dtype=np.uint8).reshape(8, 32)
    veil = read_veil(confidence.Confidence(32, 8, grid.tobytes()).to_png())
    assert (np.diff(veil[..., 3].ravel().astype(int)) <= 0).all()
    assert confidence.Confidence(32, 8, grid.tobytes()).guessed == pytest.approx(np.exp(-12 / 15), abs=1 / 256)


@EMBEDDED
def test_the_page_lays_the_veil_over_the_picture_that_the_network_saw(
    member: Person, deposit: Callable[..., str]
) -> None:
    job_id = deposit(layer(5, 14), found={"region": FOUND})
    page = member.browser().get(f"/jobs/{job_id}").text
    assert f'data-guesses="/jobs/{job_id}/confidence.png"' in page
    place, rest = find_image(page)
    assert place == pytest.approx([0.1, 0.2, 0.5, 0.6])
    assert 'clip-path="url(#pictures)"' in rest
    assert "it cannot know the true colors." in page
    assert "style=" not in page
    whole = member.browser().get(f"/jobs/{deposit(layer(5, 14))}").text
    place, rest = find_image(whole)
    assert place == [0, 0, 1, 1]
    assert "clip-path" not in rest


@EMBEDDED
def test_each_page_of_a_photo_has_a_veil_of_its_own(
    member: Person, restore: Callable[..., None], deposit: Callable[..., str]
) -> None:
    pages = [{"number": 1, "role": "mask"}] + [
        {"number": number, "role": "photograph", "kind": "neutral", "width": 40, "height": 30} for number in (2, 3)
    ]
    job_id = deposit(layer(5, 14), pages=pages)
    browser = member.browser()
    assert f"/jobs/{job_id}/confidence.png?page=3" in browser.get(f"/jobs/{job_id}?page=3").text
    assert f'"/jobs/{job_id}/confidence.png"' in browser.get(f"/jobs/{job_id}").text
    for number, status in {2: 200, 3: 200, 1: 404, 4: 404}.items():
        assert browser.get(f"/jobs/{job_id}/confidence.png?page={number}").status_code == status, number
        assert member.api("GET", f"/jobs/{job_id}/confidence?page={number}").status_code == status, number


@EMBEDDED
@pytest.mark.parametrize(
    ("color", "recipe", "found", "words"),
    [
        (layer(5, 14), {"colorizer": "artistic"}, {}, UNKNOWN),
        (
            b"\x1aE\xdf\xa3 a film of colors",
            {},
            {"found": {"film": True, "frames": 24}},
            "it cannot know the true colors.",
        ),
        (layer(5, 14), {}, {"colorless": "There is no room for color."}, "There is no room for color."),
        (None, {}, {}, "No color was added"),
    ],
    ids=["a network that does not say", "a film", "no color", "no layer"],
)
def test_there_is_no_veil_where_nothing_is_known_of_guesses(
    color: bytes | None,
    recipe: dict[str, Any],
    found: dict[str, Any],
    words: str,
    member: Person,
    deposit: Callable[..., str],
) -> None:
    job_id = deposit(color, recipe, **found)
    page = member.browser().get(f"/jobs/{job_id}").text
    assert words in page
    assert "data-guesses" not in page
    assert (UNKNOWN in page) == (words == UNKNOWN)


@EMBEDDED
@pytest.mark.parametrize(
    "color",
    [
        None,
        b"",
        b"\x1aE\xdf\xa3 a film of colors",
        layer(5, 14)[:40],
        layer(5, 14)[:-1],
        layer(8, 8),
        (8).to_bytes(8, "little") + b"not JSON",
        (2).to_bytes(8, "little") + b"[]",
        layer(5, 14).replace(b'"U8"', b'"I8"'),
        layer(5, 14).replace(b'"shape":[1,2]', b'"shape":[2,2]'),
    ],
)
def test_what_is_no_confidence_is_not_found(color: bytes | None, member: Person, deposit: Callable[..., str]) -> None:
    job_id = deposit(color)
    assert member.browser().get(f"/jobs/{job_id}/confidence.png").status_code == 404
    assert member.browser().get(f"/jobs/{job_id}/guesses").status_code == 404
    answer = member.api("GET", f"/jobs/{job_id}/confidence")
    assert (answer.status_code, answer.json["code"]) == (404, "no_confidence")


@EMBEDDED
def test_the_api_links_to_no_picture_of_a_network_that_does_not_say(
    member: Person, deposit: Callable[..., str]
) -> None:
    assert not read_cards()["artistic"].calibration
    job_id = deposit(layer(5, 14), {"colorizer": "artistic"})
    assert member.api("GET", f"/jobs/{job_id}").json["confidence"] is None

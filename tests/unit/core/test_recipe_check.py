"""Which networks a recipe may name, and with which settings."""

from pathlib import Path

import pytest

from retint import recipes
from retint.errors import InvalidRequest


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A folder that holds weights of `artistic`, and of `stable` with a record that cannot be read."""
    for name, record in {"artistic": f'sha256 = "{"a" * 64}"\n', "stable": "sha256 ="}.items():
        (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
        (tmp_path / f"{name}.toml").write_text(record)
    return tmp_path


def test_only_networks_whose_weights_are_here_can_be_named(imported: Path, tmp_path: Path) -> None:
    assert list(recipes.usable_networks("colorizer", imported)) == ["compact", "compact-vivid", "artistic", "keep"]
    assert list(recipes.usable_networks("defader", imported)) == ["compact-defade", "keep"]
    (imported / "artistic.safetensors").unlink()
    assert list(recipes.usable_networks("colorizer", imported)) == ["compact", "compact-vivid", "keep"]


@pytest.mark.parametrize(
    ("recipe", "says"),
    [
        ({"colorizer": "sepia"}, "There is no colorizer sepia; there are compact, compact-vivid, artistic, keep."),
        ({"defader": "compact"}, "There is no defader compact; there are compact-defade, keep."),
        (
            {"colorizer": "video"},
            "The weights of video are not here (an administrator gets them with `retint weights fetch video`); there"
            " are compact, compact-vivid, artistic, keep.",
        ),
        (
            {"colorizer_settings": {"render_factor": 35}},
            "The colorizer compact has no setting render_factor; it has gain, limit.",
        ),
        (
            {"colorizer": "keep", "colorizer_settings": {"gain": 1}},
            "The colorizer keep has no setting gain; it has none.",
        ),
        ({"colorizer_settings": {"gain": 4.5}}, "gain of compact is between 0.1 and 4, not 4.5."),
        (
            {"colorizer": "artistic", "colorizer_settings": {"render_factor": 46}},
            "render_factor of artistic is a whole number between 7 and 45, not 46.",
        ),
        (
            {"colorizer": "artistic", "colorizer_settings": {"render_factor": 20.5}},
            "render_factor of artistic is a whole number between 7 and 45, not 20.5.",
        ),
    ],
)
def test_what_no_network_here_can_do_is_refused_in_a_sentence(
    imported: Path, recipe: dict[str, object], says: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        recipes.check(recipes.parse(recipe), imported)
    assert refused.value.message == says


def test_what_a_network_here_can_do_is_accepted(imported: Path) -> None:
    for name in (7, 35, 45.0):
        recipes.check(recipes.parse({"colorizer": "artistic", "colorizer_settings": {"render_factor": name}}), imported)
    recipes.check(recipes.parse({"colorizer": "keep", "defader": "keep"}), imported)

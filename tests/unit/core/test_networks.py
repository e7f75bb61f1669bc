"""Which networks a recipe may name, and with which settings: read from the cards, without torch."""

from dataclasses import asdict
from pathlib import Path

import pytest

from retint import recipes
from retint.errors import InvalidRequest
from retint_models.weights import cards


@pytest.fixture
def imported(tmp_path: Path) -> Path:
    """A folder that holds weights of `artistic`, and of `stable` with a record that cannot be read."""
    for name, record in {"artistic": f'sha256 = "{"a" * 64}"\n', "stable": "sha256 ="}.items():
        (tmp_path / f"{name}.safetensors").write_bytes(b"weights")
        (tmp_path / f"{name}.toml").write_text(record)
    return tmp_path


def test_only_networks_whose_weights_are_here_can_be_named(imported: Path, tmp_path: Path) -> None:
    assert list(recipes.networks("colorizer", imported)) == ["compact", "compact-vivid", "artistic", "keep"]
    assert list(recipes.networks("defader", imported)) == ["compact-defade", "keep"]
    (imported / "artistic.safetensors").unlink()
    assert list(recipes.networks("colorizer", imported)) == ["compact", "compact-vivid", "keep"]


def test_the_portal_reads_the_cards_as_the_networks_part_does(imported: Path) -> None:
    theirs = cards.cards(imported)
    ours = recipes.cards(imported)
    assert ours.keys() == theirs.keys()
    for name, card in theirs.items():
        network = ours[name]
        assert network.is_here == card.is_here
        assert (network.kind, network.title, network.good_at) == (card.kind, card.title, card.good_at)
        assert (network.parameters, network.license, network.source) == (card.parameters, card.license, card.source)
        assert (list(network.weaknesses), list(network.data)) == (card.weaknesses, card.data)
        assert {key: asdict(one) for key, one in network.settings.items()} == {
            key: asdict(one) for key, one in card.settings.items()
        }
        if card.is_here:
            assert (network.size, network.sha256) == (card.size, card.sha256)
        assert network.command in card.remedy


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


def test_settings_are_filled_in_and_out_of_range_ones_named() -> None:
    card = cards.cards()["artistic"]
    assert card.settled({}) == {"render_factor": 35}
    assert cards.cards()["video"].settled({}) == {"render_factor": 21}
    assert card.settled({"render_factor": 7.0}) == {"render_factor": 7}
    for wrong in (6, 46, 7.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="render_factor is a whole number between 7 and 45, not"):
            card.settled({"render_factor": wrong})
    with pytest.raises(ValueError, match="artistic has no setting 'gain'; it has render_factor"):
        card.settled({"gain": 1})
    with pytest.raises(ValueError, match="yuv-gan has no setting 'gain'; it has none"):
        cards.cards()["yuv-gan"].settled({"gain": 1})

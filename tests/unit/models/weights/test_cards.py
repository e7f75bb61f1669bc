"""Cards of networks: settings, and how to get weights."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from retint_models.weights import cards
from retint_models.weights.publications import PublishedFile


def test_settings_are_filled_in_and_out_of_range_ones_named() -> None:
    card = cards.read_cards()["artistic"]
    assert card.fill_settings({}) == {"render_factor": 35}
    assert cards.read_cards()["video"].fill_settings({}) == {"render_factor": 21}
    assert card.fill_settings({"render_factor": 7.0}) == {"render_factor": 7}
    for wrong in (6, 46, 7.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="render_factor is a whole number between 7 and 45, not"):
            card.fill_settings({"render_factor": wrong})
    assert cards.read_cards()["ddcolor"].fill_settings({"side": 288}) == {"side": 288}
    for wrong in (224, 300, 512.5, 1056, float("nan")):
        with pytest.raises(ValueError, match="side is a multiple of 32 between 256 and 1024, not"):
            cards.read_cards()["ddcolor"].fill_settings({"side": wrong})
    with pytest.raises(ValueError, match="artistic has no setting 'gain'; it has render_factor"):
        card.fill_settings({"gain": 1})
    with pytest.raises(ValueError, match="yuv-gan has no setting 'gain'; it has none"):
        cards.read_cards()["yuv-gan"].fill_settings({"gain": 1})


def test_a_card_says_how_to_get_its_weights(tmp_path: Path) -> None:
    found = cards.read_cards(tmp_path)
    assert found["compact"].command == "install Retint again"
    assert found["artistic"].command == "retint weights fetch artistic"
    by_hand = replace(found["artistic"], official=[PublishedFile("ColorizeArtistic_gen.pth")])
    assert by_hand.command == "retint weights import FILE --as artistic"
    for card in (*found.values(), by_hand):
        assert card.command in card.remedy, card.name


def test_weights_without_a_readable_record_are_not_here(tmp_path: Path) -> None:
    (tmp_path / "stable.safetensors").write_bytes(b"weights")
    (tmp_path / "stable.toml").write_text("sha256 =")
    card = cards.read_cards(tmp_path)["stable"]
    assert (card.is_here, card.size, card.sha256) == (False, 0, "")
    with pytest.raises(ValueError, match=r"has no readable record of its import, stable\.toml"):
        card.verify()


def test_every_score_says_what_it_chose_and_what_only_judged() -> None:
    for card in cards.read_cards().values():
        if card.scores:
            assert card.scores["chosen_by"].endswith("."), card.name
            halves = card.scores["halves"]
            assert list(halves) == ["choose", "judge"]
            assert sum(half["photos"] for half in halves.values()) == card.scores["photos"]
            mean = sum(half["photos"] * half["delta_e2000"] for half in halves.values()) / card.scores["photos"]
            assert mean == pytest.approx(card.scores["delta_e2000"], abs=0.01)
            for half in halves.values():
                low, high = half["interval"]
                assert low < half["delta_e2000"] < high


def test_the_confidence_of_weights_does_not_depend_on_the_card_that_names_them() -> None:
    known = cards.read_cards()
    assert known["compact"].calibration == known["compact-vivid"].calibration
    assert known["compact"].sha256 == known["compact-vivid"].sha256
    assert {name for name, card in known.items() if card.calibration} == {"compact", "compact-vivid"}


def test_a_card_says_where_official_files_are_and_who_vouches_for_what_is_known_of_them() -> None:
    known = [(card, published) for card in cards.read_cards().values() for published in card.official or []]
    assert len(known) > 10
    for card, published in known:
        assert published.is_downloadable, card.name
        assert bool(published.repository) == bool(published.revision), card.name
        assert re.fullmatch(r"([0-9a-f]{64})?", published.sha256), card.name
        assert bool(published.vouched_by) == bool(published.sha256 or published.bytes), card.name
    owners = {(published.sha256, card.name) for card, published in known if published.sha256}
    assert len(owners) == len({sha256 for sha256, _ in owners}), "no file is of two networks"


def test_networks_of_others_have_a_license_of_code_and_weights_and_tell_what_is_not_known() -> None:
    for card in cards.read_cards().values():
        if not card.is_shipped:
            assert card.code_license, card.name
            assert card.not_known or not card.official, card.name
        for published in card.published_scores:
            assert published.weights.endswith("."), card.name
            assert published.source.endswith("."), card.name


def test_the_well_known_score_is_not_said_of_weights_that_do_not_have_it() -> None:
    found = cards.read_cards()
    (of_the_paper,) = found["ddcolor"].published_scores
    assert of_the_paper.scores["FID"] == 3.92
    assert of_the_paper.weights.startswith("ddcolor_paper, which are not these")
    assert found["ddcolor-artistic"].published_scores == []
    assert "FID 3.92" in found["ddcolor"].describe()

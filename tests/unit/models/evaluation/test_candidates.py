"""Networks with weights and settings of their own."""

from pathlib import Path

import pytest

from retint_models.evaluation.candidates import Candidate, provide_weights, read_candidates
from retint_models.networks import registry
from retint_models.weights import cards
from retint_models.weights.cards import Card


@pytest.fixture
def known(tmp_path: Path) -> dict[str, Card]:
    return {name: registry.card(name, tmp_path) for name in registry.COLORIZERS}


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    file = tmp_path / "run" / "best.safetensors"
    file.parent.mkdir()
    file.write_bytes(registry.card("compact").path.read_bytes())
    return file


def test_a_network_is_named_with_its_file_and_its_settings(known: dict[str, Card], weights: Path) -> None:
    text = f"compact, compact:limit=1.5 ,compact={weights}:gain=2.4:limit=1.6"
    assert read_candidates(text, known) == [
        Candidate("compact", "compact"),
        Candidate("compact:limit=1.5", "compact", None, {"limit": 1.5}),
        Candidate(f"compact={weights}:gain=2.4:limit=1.6", "compact", weights, {"gain": 2.4, "limit": 1.6}),
    ]
    assert read_candidates("", known) == []


def test_all_are_those_whose_weights_are_here(known: dict[str, Card]) -> None:
    assert [candidate.name for candidate in read_candidates("all", known)] == ["compact", "compact-vivid"]


def test_a_candidates_file_stands_for_its_networks_weights_and_for_no_others(weights: Path, tmp_path: Path) -> None:
    imported, scratch = tmp_path / "imported", tmp_path / "scratch"
    imported.mkdir()
    scratch.mkdir()
    (imported / "stable.safetensors").write_bytes(b"heavy")
    cards.record_path("stable", imported).write_text('sha256 = "1234"')
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\0")
    candidates = [Candidate("new", "compact", weights), Candidate("old", "compact-defade")]
    folder = provide_weights(candidates, imported, scratch)
    new, old = (registry.card("compact", where) for where in (folder, imported))
    new.verify()
    assert (new.path.resolve(), new.sha256) == (weights.resolve(), cards.hash_file(weights))
    assert new.sha256 != old.sha256, "another file"
    assert new.settings == old.settings
    assert registry.card("compact-vivid", folder) == registry.card("compact-vivid", imported)
    assert registry.card("stable", folder).path.read_bytes() == b"heavy"
    registry.load_colorizer("compact", imported=folder)


def test_without_files_the_imported_weights_are_used_as_they_are(tmp_path: Path) -> None:
    assert provide_weights([Candidate("compact", "compact")], tmp_path / "none", tmp_path) == tmp_path / "none"
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_network_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    other = registry.card("compact-defade").path
    folder = provide_weights([Candidate("other", "compact", other)], tmp_path / "none", tmp_path)
    with pytest.raises(ValueError, match="these are not the weights of compact"):
        registry.load_colorizer("compact", imported=folder)

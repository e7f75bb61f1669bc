"""Names, cards and weights: known without torch, read only if they are what the card says."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.unit.models.random_weights import make_card, random_weights

from retint_models.networks import registry
from retint_models.weights import cards
from retint_models.weights.loading import load_tensors


def test_names_and_cards_are_known_without_torch() -> None:
    code = (
        "import sys; from retint_models.networks import registry; registry.card('compact');"
        " assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_commands_are_known_where_nothing_of_the_networks_is_installed() -> None:
    code = (
        "import sys; import retint_models.command.commands;"
        " assert not {'torch', 'numpy', 'safetensors'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_network_has_a_card_of_its_kind() -> None:
    known = cards.read_cards()
    assert set(registry.COLORIZERS) <= {name for name, card in known.items() if card.kind == "colorizer"}
    assert set(registry.DEFADERS) <= {name for name, card in known.items() if card.kind == "defader"}
    assert set(registry.NETWORKS) <= set(known)
    for card in known.values():
        assert card.title
        assert card.good_at
        assert card.weaknesses
        assert card.license
        assert card.source
        assert all(setting.allows(setting.default) for setting in card.settings.values())


def test_the_weights_that_come_along_are_here_and_small() -> None:
    shipped = [card for card in cards.read_cards().values() if card.is_shipped]
    assert len(shipped) >= 3
    assert all(card.is_here and card.size < 10_000_000 for card in shipped)


def test_a_file_that_is_not_the_cards_is_refused(tmp_path: Path) -> None:
    card = make_card(tmp_path, random_weights())
    assert registry.COLORIZERS["compact"](card, "cpu")([], {}) == []
    data = bytearray(card.path.read_bytes())
    data[-1] ^= 1
    card.path.write_bytes(data)
    with pytest.raises(ValueError, match=r"is not the file that its card describes \(SHA-256 .*install Retint again"):
        registry.COLORIZERS["compact"](card, "cpu")


def test_missing_weights_say_how_to_get_them(tmp_path: Path) -> None:
    card = make_card(tmp_path, b"")
    card.path.unlink()
    with pytest.raises(FileNotFoundError, match=r"compact\.safetensors.*install Retint again"):
        load_tensors(card)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no colorizer is called 'sepia'; there are compact, compact-vivid"):
        registry.load_colorizer("sepia")
    with pytest.raises(ValueError, match="no defader is called 'compact'"):
        registry.load_defader("compact")


def test_a_damaged_list_of_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights here"):
        cards.read_cards(folder=tmp_path)
    (tmp_path / "weights.toml").write_text("[compact\n")
    with pytest.raises(ValueError, match=r"weights\.toml is damaged"):
        cards.read_cards(folder=tmp_path)

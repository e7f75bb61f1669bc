"""Weights are kept only if they fit, on the operator's terms, and the record says where they came from."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.named_weights import tensors_for
from torch import Tensor, nn

from retint_models.networks import registry
from retint_models.networks.ddcolor import TINY, Ddcolor
from retint_models.networks.deoldify import CONFIGS, DeoldifyGenerator
from retint_models.networks.lab_resnet18 import TutorialNetwork
from retint_models.networks.registry import NETWORKS
from retint_models.weights import cards, importing
from retint_models.weights.importing import Terms


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_an_import_keeps_every_number_and_says_where_it_came_from(
    published: Path, tensors: dict[str, Tensor], folder: Path
) -> None:
    steps: list[tuple[str, int, int]] = []
    card = importing.import_weights(published, "yuv-gan", NETWORKS, folder, lambda *step: steps.append(step))
    assert card == registry.card("yuv-gan", folder)
    assert card.origin == "Whether they are official cannot be told: not every official file's SHA-256 is known."
    assert card.is_here
    assert left(folder) == ["yuv-gan.safetensors", "yuv-gan.toml"]
    assert all(file.stat().st_mode & 0o777 == 0o644 for file in folder.iterdir()), "others may serve them"
    kept = load_file(card.path)
    assert kept.keys() == tensors.keys()
    assert all(torch.equal(kept[key], tensors[key]) and kept[key].dtype == tensors[key].dtype for key in kept)
    record = cards.read_record("yuv-gan", folder)
    assert record["sha256"] == hashlib.sha256(card.path.read_bytes()).hexdigest()
    assert record["source_name"] == "G.pth"
    assert record["source_sha256"] == hashlib.sha256(published.read_bytes()).hexdigest()
    assert steps[-1] == ("Checking G.pth", published.stat().st_size, published.stat().st_size)
    assert registry.load_colorizer("yuv-gan", imported=folder)([], {}) == []


def test_an_import_gives_the_same_file_whatever_the_format(
    published: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    save_file(tensors, tmp_path / "G.safetensors")
    paths = [published, tmp_path / "G.safetensors"]
    for wrapper in ({"model": tensors, "opt": {}}, {"params": tensors}, {"state_dict": tensors}):
        paths.append(tmp_path / f"{next(iter(wrapper))}.pth")
        torch.save(wrapper, paths[-1])
    imports = [importing.import_weights(path, "yuv-gan", NETWORKS, tmp_path / "imported") for path in paths]
    assert len({card.sha256 for card in imports}) == 1
    assert not any("remark" in card.imported for card in imports)


def test_of_two_sets_of_weights_the_moving_average_is_taken_and_the_record_says_so(
    tensors: dict[str, Tensor], folder: Path, tmp_path: Path
) -> None:
    raw = {key: torch.zeros_like(tensor) for key, tensor in tensors.items()}
    torch.save({"params": raw, "params_ema": tensors}, tmp_path / "both.pth")
    card = importing.import_weights(tmp_path / "both.pth", "yuv-gan", NETWORKS, folder)
    assert card.imported["remark"] == "both.pth holds params and params_ema: the moving average, params_ema, was taken."
    kept = load_file(card.path)
    assert all(torch.equal(kept[key], tensors[key]) for key in tensors)


def test_what_does_not_fit_is_refused_and_what_was_there_stays(
    published: Path, tensors: dict[str, Tensor], folder: Path, tmp_path: Path
) -> None:
    before = importing.import_weights(published, "yuv-gan", NETWORKS, folder)
    first = next(iter(tensors))
    spoiled = {
        "damaged: .*holds NaN": tensors | {first: torch.full_like(tensors[first], float("nan"))},
        "is missing": {key: value for key, value in tensors.items() if key != first},
        "more is unknown": tensors | {"more": torch.zeros(1)},
        r"is torch\.int64, not torch\.float32": tensors | {first: tensors[first].long()},
        r"is \[1\], not": tensors | {first: torch.zeros(1)},
    }
    for says, state in spoiled.items():
        torch.save(state, tmp_path / "spoiled.pth")
        with pytest.raises(ValueError, match=rf"spoiled\.pth: .*{says}"):
            importing.import_weights(tmp_path / "spoiled.pth", "yuv-gan", NETWORKS, folder)
    (tmp_path / "cut.pth").write_bytes(published.read_bytes()[:-1000])
    with pytest.raises(ValueError, match=r"cut\.pth is cut off"):
        importing.import_weights(tmp_path / "cut.pth", "yuv-gan", NETWORKS, folder)
    assert registry.card("yuv-gan", folder) == before
    before.verify()


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("empty", "is empty"),
        ("web page", "is no weights file but a web page"),
        ("code", r"asks for posix\.system, .* nothing in it was run"),
        ("half of an old file", "is cut off"),
        ("half of a new file", "is cut off"),
        ("half of safetensors", "is cut off"),
    ],
)
def test_a_bad_file_is_told_in_a_sentence_and_nothing_is_stored(
    published: Path, tensors: dict[str, Tensor], folder: Path, tmp_path: Path, kind: str, says: str
) -> None:
    torch.save({"params": tensors}, tmp_path / "new.bin")
    save_file(tensors, tmp_path / "G.safetensors")
    content = {
        "empty": b"",
        "web page": b"<!DOCTYPE html><html><title>Sign in</title></html>",
        "code": b"cposix\nsystem\n(S'touch " + bytes(tmp_path / "was-run") + b"'\ntR.",
        "half of an old file": published.read_bytes(),
        "half of a new file": (tmp_path / "new.bin").read_bytes(),
        "half of safetensors": (tmp_path / "G.safetensors").read_bytes(),
    }[kind]
    (tmp_path / "bad.bin").write_bytes(content[: len(content) // 2] if kind.startswith("half") else content)
    with pytest.raises(ValueError, match=rf"^bad\.bin {says}[^\n]*$"):
        importing.import_weights(tmp_path / "bad.bin", "yuv-gan", NETWORKS, folder)
    assert left(folder) == []
    assert not (tmp_path / "was-run").exists()


def test_weights_of_another_network_are_recognised(published: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"G\.pth: these are the weights of yuv-gan$"):
        importing.import_weights(published, "artistic", NETWORKS, folder)
    with torch.device("meta"):
        stable = DeoldifyGenerator(CONFIGS["stable"]).state_dict()
    wide = {key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for key, tensor in stable.items()}
    torch.save(wide, tmp_path / "wide.pth")
    with pytest.raises(ValueError, match=r"wide\.pth: these are the weights of stable or video$"):
        importing.import_weights(tmp_path / "wide.pth", "lab-resnet18", NETWORKS, folder)


def test_what_comes_along_and_what_is_unknown_cannot_be_imported(published: Path, folder: Path) -> None:
    for name in ("compact", "sepia"):
        with pytest.raises(ValueError, match=f"can be imported for artistic, .*, not for '{name}'"):
            importing.import_weights(published, name, NETWORKS, folder)
    assert left(folder) == []


def test_what_training_left_in_a_file_is_dropped_by_name_and_any_other_stranger_is_refused(
    folder: Path, tmp_path: Path
) -> None:
    with torch.device("meta"):
        state = Ddcolor(TINY).state_dict()
    flat = {key: torch.zeros((), dtype=tensor.dtype).expand(tensor.shape) for key, tensor in state.items()}
    left_over = {"encoder.arch.head_cls.weight": torch.zeros(4, 768), "encoder.arch.head_cls.bias": torch.zeros(4)}
    torch.save({"params": flat | left_over}, tmp_path / "ddcolor_paper_tiny.pth")
    card = importing.import_weights(tmp_path / "ddcolor_paper_tiny.pth", "ddcolor-tiny", NETWORKS, folder)
    with safe_open(card.path, "pt") as kept:
        assert set(kept.keys()) == flat.keys()
    with pytest.raises(ValueError, match=r"ddcolor_paper_tiny\.pth: these are the weights of ddcolor-tiny$"):
        importing.import_weights(tmp_path / "ddcolor_paper_tiny.pth", "ddcolor", NETWORKS, folder)
    torch.save({"params": flat | {"encoder.arch.head_cls.scale": torch.zeros(4)}}, tmp_path / "more.pth")
    with pytest.raises(ValueError, match=r"not the weights of ddcolor-tiny: encoder\.arch\.head_cls\.scale is unknown"):
        importing.import_weights(tmp_path / "more.pth", "ddcolor-tiny", NETWORKS, folder)


def test_tensors_that_share_memory_are_kept_apart(folder: Path, tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    shared = importing._with_own_memory({"a": net.weight.data, "b": net.weight.data, "c": net.weight.data.T})
    save_file(shared, tmp_path / "apart.safetensors")
    assert torch.equal(load_file(tmp_path / "apart.safetensors")["c"], net.weight.data.T)


def test_a_damaged_or_lonely_file_is_told_at_once(published: Path, folder: Path) -> None:
    card = importing.import_weights(published, "yuv-gan", NETWORKS, folder)
    data = bytearray(card.path.read_bytes())
    data[-1] ^= 1
    card.path.write_bytes(data)
    with pytest.raises(ValueError, match=r"is not the file .*retint weights fetch yuv-gan"):
        registry.load_colorizer("yuv-gan", imported=folder)
    (folder / "yuv-gan.toml").write_text("sha256 = ")
    card = registry.card("yuv-gan", folder)
    assert not card.is_here
    assert card.is_expected
    with pytest.raises(ValueError, match=r"has no readable record of its import, yuv-gan\.toml"):
        card.verify()
    card.path.unlink()
    with pytest.raises(FileNotFoundError, match=r"weights of yuv-gan are missing.*retint weights fetch yuv-gan"):
        registry.load_colorizer("yuv-gan", imported=folder)


CARDS = """
[yuv-gan]
kind = "colorizer"
title = "for tests"
license = "none"
[[yuv-gan.official]]
file = "G.pth"
address = "https://authors.example/G.pth"
bytes = {size}
sha256 = "{sha256}"
[[yuv-gan.official]]
file = "G.pt"
repository = "copies/gan"
revision = "1"
bytes = 12
[lab-resnet18]
kind = "colorizer"
title = "for tests"
license = "none"
undisclosed_data = "It was trained on photographs that nobody has named."
official = []
"""


@pytest.fixture
def official(published: Path, write_cards: Callable[[str], None]) -> Path:
    """The published file, where the cards know it."""
    data = published.read_bytes()
    write_cards(CARDS.format(size=len(data), sha256=hashlib.sha256(data).hexdigest()))
    return published


def test_any_official_file_is_known_and_another_one_is_told_apart(
    official: Path, tensors: dict[str, Tensor], folder: Path, tmp_path: Path
) -> None:
    card = importing.import_weights(official, "yuv-gan", NETWORKS, folder)
    assert card.origin == "Official: https://authors.example/G.pth."
    torch.save(tensors, tmp_path / "mine.pth")
    card = importing.import_weights(tmp_path / "mine.pth", "yuv-gan", NETWORKS, folder)
    assert card.origin == "Not official: the SHA-256 is that of no official file."
    terms = Terms(only_official=True)
    with pytest.raises(ValueError, match=r"mine\.pth fits yuv-gan, but is none of its official files: its SHA-256 is"):
        importing.import_weights(tmp_path / "mine.pth", "yuv-gan", NETWORKS, folder, terms=terms)
    with pytest.raises(ValueError, match=r"^G\.pth is an official file of yuv-gan, not of lab-resnet18$"):
        importing.import_weights(official, "lab-resnet18", NETWORKS, folder, terms=Terms(accepts_undisclosed_data=True))


def test_a_file_may_be_an_official_one_whose_hash_nobody_knows_only_if_it_has_its_size(official: Path) -> None:
    card = cards.read_cards()["yuv-gan"]
    assert card.is_official("0" * 64, 12) is None
    assert card.is_official("0" * 64, 13) is False
    assert cards.read_cards()["lab-resnet18"].is_official("0" * 64, 12) is None


def test_undisclosed_data_must_be_accepted_and_the_record_keeps_that(
    official: Path, folder: Path, tmp_path: Path
) -> None:
    with torch.device("meta"):
        tensors = tensors_for(TutorialNetwork())
    torch.save(tensors, tmp_path / "lab.pth")
    says = "photographs that nobody has named. To use lab-resnet18 all the same, give --accept-undisclosed-data"
    with pytest.raises(ValueError, match=says):
        importing.import_weights(tmp_path / "lab.pth", "lab-resnet18", NETWORKS, folder)
    assert left(folder) == []
    card = importing.import_weights(
        tmp_path / "lab.pth", "lab-resnet18", NETWORKS, folder, terms=Terms(accepts_undisclosed_data=True)
    )
    assert card.imported["accepted"] == card.undisclosed_data
    assert card.origin == "Nobody has published official ones."
    assert card.command == "retint weights import FILE --as lab-resnet18 --accept-undisclosed-data"
    assert "accepted" not in importing.import_weights(official, "yuv-gan", NETWORKS, folder).imported

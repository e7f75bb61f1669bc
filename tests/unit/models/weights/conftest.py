"""A published weights file that is small enough for many imports, and cards that know its SHA-256."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from tests.named_weights import tensors_for
from torch import Tensor

from retint_models.networks.yuv_gan import YuvGenerator
from retint_models.weights import cards


@pytest.fixture(scope="session")
def tensors() -> dict[str, Tensor]:
    """Weights of `yuv-gan`, the smallest that is imported."""
    with torch.device("meta"):
        return tensors_for(YuvGenerator())


@pytest.fixture(scope="session")
def published(tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as its authors publish it."""
    path = tmp_path_factory.mktemp("published") / "G.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Folder of imported weights."""
    return tmp_path / "imported"


@pytest.fixture
def write_cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that puts other cards in the place of those that ship: cards of small files, of known SHA-256."""

    def write(text: str) -> None:
        shipped = tmp_path / "shipped"
        shipped.mkdir()
        (shipped / "weights.toml").write_text(text)
        monkeypatch.setattr(cards, "read_cards", partial(cards.read_cards, folder=shipped))

    return write

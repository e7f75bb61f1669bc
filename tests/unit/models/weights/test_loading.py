"""Weights as they are read: each tensor has memory of its own."""

from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from retint_models.weights.loading import read_tensors

MAPS = Path("/proc/self/maps")
"""What is mapped into this process."""


def test_tensors_are_what_was_written_and_the_file_is_not_mapped(tmp_path: Path) -> None:
    torch.manual_seed(0)
    written = {
        "b.weight": torch.randn(3, 4, 1, 1),
        "a.half": torch.randn(5).half(),
        "a.brain": torch.randn(2, 2).bfloat16(),
        "a.double": torch.randn(1, dtype=torch.float64),
        "count": torch.tensor(7),
        "none": torch.zeros(0, 3),
    }
    save_file(written, tmp_path / "some.safetensors", metadata={"format": "pt"})
    found = read_tensors(tmp_path / "some.safetensors")
    assert found.keys() == written.keys()
    for name, tensor in written.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor), name
    if MAPS.exists():  # Linux
        assert "some.safetensors" not in MAPS.read_text()


def test_a_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(100)}, tmp_path / "cut.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "cut.safetensors").read_bytes()[:-1])
    with pytest.raises(SafetensorError):
        read_tensors(tmp_path / "cut.safetensors")

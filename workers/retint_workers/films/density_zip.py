"""A film's density layers: a zip with one safetensors file per scene, named by the scene's first frame."""

import zipfile
from pathlib import Path

from retint_models.layers.types import DensityLayer


def entry_name(start: int) -> str:
    """Return the name of the layer of the scene that starts with a frame."""
    return f"{start:08}.safetensors"


def read_starts(path: Path | None) -> frozenset[int]:
    """Return the frames with which the scenes of a zip start; none without a zip."""
    if path is None:
        return frozenset()
    with zipfile.ZipFile(path) as file:
        return frozenset(int(name[:8]) for name in file.namelist())


def read_layer(path: Path, start: int) -> DensityLayer:
    """Read the layer of the scene that starts with a frame."""
    with zipfile.ZipFile(path) as file:
        return DensityLayer.from_bytes(file.read(entry_name(start)))

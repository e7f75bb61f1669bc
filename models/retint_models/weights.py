"""Weights that come with Retint: what is known of each file, and how it is read safely.

`models/weights/weights.toml` holds one card a network. A file is read only if its SHA-256 is the card's, as safetensors
(no code in it), and only if its tensors fit the network.
"""

import hashlib
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load, save

if TYPE_CHECKING:
    from torch import nn

FOLDER = Path(__file__).resolve().parents[1] / "weights"
"""Where the repository keeps weights and their cards."""


@dataclass(frozen=True)
class Card:
    """What is known of a network's weights; the prose is in `models/README.md`.

    Attributes:
        name: The network's name in the registry.
        kind: `colorizer` or `defader`.
        title: One line for people.
        file: The weights' file name; several networks may share one.
        sha256: Of that file, in hex.
        license: SPDX expression of the weights.
        data: What they were trained on.
        settings: What a recipe may set, and the value if it does not.
        preprocessing: How the network sees a proxy.
        scores: Measured on the dev photographs.
        folder: Where the file lies.
    """

    name: str
    kind: str
    title: str
    file: str
    sha256: str
    license: str
    data: list[str] = field(default_factory=list)
    settings: dict[str, float] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, Any] = field(default_factory=dict)
    folder: Path = FOLDER

    @property
    def path(self) -> Path:
        """Where the file should be."""
        return self.folder / self.file

    def read(self) -> bytes:
        """Read the file and check that it is the one that the card describes.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is another file.
        """
        if not self.path.exists():
            raise FileNotFoundError(
                f"the weights of {self.name} are missing: {self.path}. They come with the repository;"
                f" restore the file with `git checkout -- models/weights/{self.file}`."
            )
        data = self.path.read_bytes()
        found = hashlib.sha256(data).hexdigest()
        if found != self.sha256:
            raise ValueError(
                f"{self.path} is not the file that its card describes (SHA-256 {found[:12]}…, expected"
                f" {self.sha256[:12]}…). Restore it with `git checkout -- models/weights`, or correct weights.toml"
                " if you trained it yourself."
            )
        return data

    def fill(self, network: "nn.Module") -> None:
        """Put the weights into a network, in single precision.

        Raises:
            FileNotFoundError: the file is not there.
            ValueError: it is another file, does not fit the network, or holds NaN.
        """
        import torch

        tensors = load(self.read())
        counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
        state = counters | {name: torch.from_numpy(value.astype(np.float32)) for name, value in tensors.items()}
        if any(not bool(torch.isfinite(value).all()) for value in state.values()):
            raise ValueError(f"{self.path} holds NaN or infinity")
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            first = str(error).splitlines()[1].strip()[:200]  # torch lists every tensor that does not fit
            raise ValueError(f"{self.path} does not fit the network: {first}") from error


def cards(folder: Path = FOLDER) -> dict[str, Card]:
    """Read all cards of a folder, by name.

    Raises:
        FileNotFoundError: the folder has no weights.toml.
        ValueError: weights.toml is damaged.
    """
    source = folder / "weights.toml"
    try:
        entries = tomllib.loads(source.read_text())
        return {name: Card(name=name, folder=folder, **entry) for name, entry in entries.items()}
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no weights here: {source} is missing") from error
    except (tomllib.TOMLDecodeError, TypeError) as error:
        raise ValueError(f"{source} is damaged: {error}") from error


def halved(data: bytes) -> bytes:
    """Turn a trained network's safetensors into the form that is shipped.

    Half precision, except the running statistics of batch norms; without the counters of training.
    """
    tensors = {name: value for name, value in load(data).items() if not name.endswith("num_batches_tracked")}
    return save({name: value if "running_" in name else value.astype(np.float16) for name, value in tensors.items()})

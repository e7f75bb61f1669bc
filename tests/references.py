"""What the originals of networks give for known inputs, under weights that follow from their tensors' names.

A network whose original was at hand has a row in `REFERENCES`, and is held to it wherever networks run here: on the
CPU, as it runs on a GPU, and on a GPU where there is one. `../shared/reference/README.md` describes the files.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from unittest.mock import patch

import numpy as np
import torch
from tests import named_weights, precisions
from tests.paths import REFERENCE
from torch import Tensor, nn

from retint_models.acceleration.prepare import ChecksInput, Precision, PreparedNetwork, fastest_precision, prepare
from retint_models.networks import ddcolor, deoldify, lab_resnet18, yuv_gan

CPU, GPU = "cpu", "cuda"
GPU_FORM = "as on a GPU"
"""The CPU runs the form that a GPU gets, so that what cannot run there is found without one."""


@dataclass(frozen=True)
class Difference:
    """How far a network's output is from its original's: absolute."""

    largest: float
    mean: float

    def is_within(self, limit: "Difference") -> bool:
        """Whether neither is above its limit."""
        return self.largest <= limit.largest and self.mean <= limit.mean


@dataclass(frozen=True)
class Reference:
    """A network and what its original gives.

    Attributes:
        load: Returns the plain network, given its tensors.
        weights: Name of the list of its tensors, `<weights>.keys.json`.
        files: Names of an input and of the original's output, for each picture.
        limits: What may differ in the precisions that the network runs in.
        shift: Added to the input.
    """

    load: Callable[[Mapping[str, Tensor]], nn.Module]
    weights: str
    files: tuple[tuple[str, str], ...]
    limits: Mapping[Precision, Difference]
    shift: float = 0.0

    @property
    def fastest(self) -> Precision:
        """The fastest precision that the network runs in."""
        return "bfloat16" if "bfloat16" in self.limits else "float32"

    def load_plain(self) -> nn.Module:
        """Return the network with its weights, not prepared."""
        return self.load(named_weights.reference_tensors(self.weights))

    def compare(self, network: nn.Module) -> Difference:
        """Run a network, plain or prepared, on every input; return the largest differences from its original."""
        worst = Difference(0, 0)
        # Unchecked: some inputs have values that no photograph has.
        if isinstance(network, PreparedNetwork):
            network.check = None
        run = network.decide if isinstance(network, ChecksInput) else network
        for seen, output in self.files:
            with torch.inference_mode():
                ours = run(load_tensor(seen) + self.shift).cpu()
            theirs = load_tensor(output)
            assert ours.shape == theirs.shape
            assert ours.dtype == theirs.dtype
            differs = (ours - theirs).abs()
            worst = Difference(max(worst.largest, differs.max().item()), max(worst.mean, differs.mean().item()))
        return worst


def load_tensor(name: str) -> Tensor:
    """Return a tensor of the reference."""
    return torch.from_numpy(np.load(REFERENCE / f"{name}.npy"))


def name_files(name: str, seen: str, channels: int, outputs: int) -> tuple[tuple[str, str], ...]:
    """Return the names of the files of the two pictures that the older references have."""
    sizes = ("1x{}x64x64", "2x{}x96x80")
    return tuple((f"{seen}_{size.format(channels)}", f"{name}.output_{size.format(outputs)}") for size in sizes)


EXACT = Difference(1e-4, 1e-5)
DEOLDIFY: dict[Precision, Difference] = {"float32": EXACT, "bfloat16": Difference(0.15, 0.02)}
REFERENCES = {
    **{
        name: Reference(partial(deoldify.load_network, name), name, name_files(name, "input", 3, 3), DEOLDIFY)
        for name in deoldify.CONFIGS
    },
    **{
        name: Reference(
            partial(ddcolor.load_network, name),
            file,
            tuple((f"input_1x3x{size}", f"{file}.output_1x2x{size}") for size in ("64x64", "128x96")),
            {"float32": Difference(5e-4, 5e-5), "bfloat16": Difference(1.5, 0.3)},
        )
        for name, file in (("ddcolor-tiny", "ddcolor_tiny"), ("ddcolor", "ddcolor_large"))
    },
    "yuv-gan": Reference(
        partial(yuv_gan.load_network, "yuv-gan"),
        "yuvgan_g",
        name_files("yuvgan_g", "gray", 1, 1),
        {"float32": EXACT},
        shift=-0.5,
    ),
    **{
        f"lab-resnet18, {which}": Reference(
            partial(lab_resnet18.load_network, "lab-resnet18"), file, name_files(file, "gray", 1, 1), {"float32": EXACT}
        )
        for which, file in (("tutorial", "lab_tutorial"), ("repository", "lab_repo"))
    },
}


def list_runs() -> list[tuple[str, str, Precision]]:
    """Return the networks, the places and the precisions that they run in on this machine."""
    places: dict[str, list[Precision]] = {CPU: precisions.on_this_cpu(), GPU_FORM: ["float32", "bfloat16"]}
    if torch.cuda.is_available():
        places[GPU] = ["float32", "bfloat16"] if fastest_precision(GPU) == "bfloat16" else ["float32"]
    return [
        (name, place, precision)
        for name, reference in REFERENCES.items()
        for place, available in places.items()
        for precision in reference.limits
        if precision in available and (place != GPU_FORM or precision == reference.fastest)
    ]


def prepare_in(place: str, network: nn.Module, precision: Precision) -> PreparedNetwork:
    """Prepare a network to run in a place of `list_runs`."""
    if place != GPU_FORM:
        return prepare(network, place, precision)
    with patch.object(torch.backends.mkldnn, "is_available", lambda: False):
        return prepare(network, CPU, precision)

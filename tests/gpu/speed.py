"""How fast networks are on a device, by the size of the batch, and how near they come to their originals there."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tests import named_weights, references
from tests.gpu import meters
from tests.photographs import color_photo, to_gray
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from retint_models.acceleration.prepare import PreparedNetwork, fastest_precision
from retint_models.networks import ddcolor, deoldify, deoldify_2018, lab_resnet18, registry, yuv_gan

ROUNDS = 3
MAKERS: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(deoldify.DeoldifyGenerator, config) for name, config in deoldify.CONFIGS.items()},
    **{name: partial(ddcolor.Ddcolor, ddcolor.CONFIGS[name]) for name in ("ddcolor-tiny", "ddcolor")},
    "deoldify-2018": deoldify_2018.Generator2018,
    "defade-deoldify": deoldify_2018.Generator2018,
    "yuv-gan": yuv_gan.YuvGenerator,
    "lab-resnet18": lab_resnet18.TutorialNetwork,
}
"""Networks without weights of their own here. Values do not matter for speed: they get those of their names."""
NETWORKS = ("compact", "compact-defade", *MAKERS)

Decide = Callable[[Sequence[NDArray[np.uint8]]], Any]


@dataclass(frozen=True)
class Loaded:
    """A colorizer or a defader as a worker has it.

    Attributes:
        decide: From proxies to layers.
        owner: Its `at_once` is how many proxies it runs together.
        module: The network itself, which runs on the device.
        precision: What that computes in.
    """

    decide: Decide
    owner: Any
    module: nn.Module
    precision: str


@dataclass(frozen=True)
class Speed:
    """What one size of batch gives.

    Attributes:
        batch: Photos together.
        photos_per_s: From proxies to layers, with what the CPU does before and after; the median of some rounds.
        device_ms: Time of the network alone, for a photo.
        tera_flop: Floating-point operations of the network for a photo, in 10^12.
        megabytes: See `meters.Memory`.
    """

    batch: int
    photos_per_s: float
    device_ms: float
    tera_flop: float
    megabytes: float

    def share_of(self, rate: float) -> float:
        """Return the share of a rate of products, in operations per second, that the network alone reaches."""
        return self.tera_flop * 1e12 / (self.device_ms / 1000) / rate


def load(name: str, device: str, folder: Path) -> Loaded:
    """Load a network as a worker does; weights that do not ship are written into a folder."""
    if name in MAKERS and not (folder / f"{name}.safetensors").exists():
        with torch.device("meta"):
            network = MAKERS[name]()
        named_weights.write_card(name, named_weights.tensors_for(network), folder)
    owner: Any
    if name in registry.DEFADERS:
        owner = registry.load_defader(name, device, folder)
        decide: Decide = owner
    else:
        owner = registry.load_colorizer(name, device, folder)
        decide = partial(owner, settings={})
    [module] = [part for part in vars(owner).values() if isinstance(part, nn.Module)]
    return Loaded(decide, owner, module, module.precision if isinstance(module, PreparedNetwork) else "float32")


def make_proxies(count: int) -> list[NDArray[np.uint8]]:
    """Return proxies of gray photographs, 576 x 768."""
    photos = [color_photo(number, 768)[:576] for number in range(count)]
    return [np.repeat(to_gray(photo)[..., None], 3, 2) for photo in photos]


def measure(network: Loaded, proxies: list[NDArray[np.uint8]], device: str) -> Speed:
    """Measure a network on a batch.

    Raises:
        torch.OutOfMemoryError: the batch does not fit.
    """
    network.owner.at_once = len(proxies)
    rounds = []
    with meters.watch_memory(device) as memory:
        with FlopCounterMode(display=False) as counter:  # the first call of a size also tries what is fastest
            network.decide(proxies)
        with meters.time_module(network.module, device) as on_device:
            for _ in range(ROUNDS):
                started = time.perf_counter()
                network.decide(proxies)
                rounds.append(time.perf_counter() - started)
    return Speed(
        len(proxies),
        len(proxies) / statistics.median(rounds),
        1000 * sum(on_device) / ROUNDS / len(proxies),
        counter.get_total_flops() / len(proxies) / 1e12,
        memory.megabytes,
    )


def compare_with_original(name: str, device: str) -> dict[str, references.Difference]:
    """Return how far a network with a reference is from its original on a device, by precision."""
    reference = references.REFERENCES[name]
    runs_in_bfloat16 = fastest_precision(device) == "bfloat16"
    return {
        precision: reference.compare(references.prepare_in(device, reference.load_plain(), precision))
        for precision in reference.limits
        if precision == "float32" or runs_in_bfloat16
    }

"""Real errors of a real GPU: what is the device's, what is a photo's, and what is too much."""

import multiprocessing
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from retint.errors import DeviceFailed, OutOfMemory, RetintError, Transient
from retint_workers.inference import devices
from retint_workers.inference.loading import run_network

GPU = "cuda"


class Network:
    """A network that does something with each call's proxies."""

    def __init__(self, at_once: int) -> None:
        self.at_once = at_once
        self.calls: list[int] = []

    def __call__(self, *proxies: Any, **_: Any) -> Sequence[float]:
        [chunk] = proxies
        self.calls.append(len(chunk))
        return self.decide(chunk)

    def decide(self, proxies: Sequence[NDArray[Any]]) -> Sequence[float]:
        raise NotImplementedError


class Hungry(Network):
    """Takes an eighth of the GPU's memory, and more, for each proxy."""

    def decide(self, proxies: Sequence[NDArray[Any]]) -> Sequence[float]:
        _, total = torch.cuda.mem_get_info()
        memory = torch.empty(len(proxies) * (total // 6), dtype=torch.uint8, device=GPU)
        return [float(memory.numel())] * len(proxies)


class Broken(Network):
    """Reads beyond a tensor at its second call: CUDA's assertion loses the device for this process."""

    def decide(self, proxies: Sequence[NDArray[Any]]) -> Sequence[float]:
        beyond = 10 if len(self.calls) == 1 else 10_000_000
        found = torch.arange(100, device=GPU)[torch.tensor([beyond], device=GPU)]
        return [float(found.sum().item())] * len(proxies)


def make_proxies(count: int) -> Iterator[NDArray[np.uint8]]:
    return (np.zeros((8, 8, 3), np.uint8) for _ in range(count))


def test_a_sound_gpu_passes_its_test() -> None:
    assert devices.resolve_device("auto") == GPU
    assert "cores" not in devices.describe_device("auto")
    devices.prove_device(GPU)


def test_a_gpu_without_memory_fails_its_test() -> None:
    free, _ = torch.cuda.mem_get_info()
    hog = torch.empty(free - (devices.ROOM_MIB << 19), dtype=torch.uint8, device=GPU)
    with pytest.raises(OutOfMemory):
        devices.prove_device(GPU)
    del hog
    torch.cuda.empty_cache()
    devices.prove_device(GPU)


def test_a_call_that_is_too_large_is_halved_until_it_fits() -> None:
    network = Hungry(at_once=16)
    layers = list(run_network(network, make_proxies(16)))
    assert len(layers) == 16
    assert not [layer for layer in layers if isinstance(layer, RetintError)]
    assert network.calls[0] == 16
    assert max(size for size in network.calls if size < 16) == 8
    assert 4 in network.calls


def test_a_lost_device_ends_the_process_and_no_other() -> None:
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        outcomes, later = pool.apply(_lose_the_device)
    assert outcomes == ["layer", "device_failed", "device_failed"]
    assert later == "device_failed"
    devices.prove_device(GPU)


def _lose_the_device() -> tuple[list[str], str]:
    network = Broken(at_once=1)
    # One call, then the one that loses the device: the rest is not tried.
    outcomes = [
        layer.code if isinstance(layer, Transient) else "layer" for layer in run_network(network, make_proxies(3))
    ]
    assert len(network.calls) == 2
    try:
        devices.prove_device(GPU)
    except DeviceFailed as error:
        return outcomes, error.code
    return outcomes, "passed"


def test_a_beat_comes_between_the_layers_of_one_call() -> None:
    class Deep(Network):
        model = torch.nn.Sequential(*(torch.nn.Conv2d(8, 8, 3, padding=1) for _ in range(20))).to(GPU)

        def decide(self, proxies: Sequence[NDArray[Any]]) -> Sequence[float]:
            with torch.inference_mode():
                return [float(self.model(torch.zeros(1, 8, 64, 64, device=GPU)).sum())]

    beats = 0

    def beat() -> bool:
        nonlocal beats
        beats += 1
        return True

    assert len(list(run_network(Deep(at_once=1), make_proxies(1), beat))) == 1
    assert beats > 20

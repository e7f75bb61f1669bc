"""Running a network: how many proxies a call gets, and what becomes of failures."""

import threading
import time
import weakref
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from retint.errors import DeviceFailed, LeaseLost, MachineFault, OutOfMemory, RetintError, StoreUnavailable
from retint.settings import Settings
from retint_models.layers import rendering
from retint_workers.inference import loading
from retint_workers.inference.loading import run_network

Proxies = list[NDArray[Any]]


def numbered_proxies(count: int) -> Proxies:
    return [np.full((8, 8, 3), number, np.uint8) for number in range(count)]


class BrightnessNetwork:
    """A network whose layers are numbers; it records how many proxies each call had."""

    def __init__(self, at_once: int = 100, max_at_once: int = 100, failing_number: int = -1) -> None:
        self.calls: list[int] = []
        self.max_at_once = max_at_once
        self.failing_number = failing_number
        self.at_once = at_once

    def __call__(self, proxies: Proxies) -> list[int]:
        self.calls.append(len(proxies))
        if len(proxies) > self.max_at_once:
            raise torch.OutOfMemoryError("too many")
        values = [int(proxy[0, 0, 0]) for proxy in proxies]
        if self.failing_number in values:
            raise RuntimeError("not this one")
        return values


def test_a_network_gets_at_once_proxies_per_call_and_beats_between_calls() -> None:
    network, beats = BrightnessNetwork(at_once=3), []

    def beat() -> bool:
        beats.append(len(network.calls))
        return True

    assert list(run_network(network, numbered_proxies(7), beat)) == list(range(7))
    assert network.calls == [3, 3, 1]
    assert beats[:2] == [1, 2]
    assert list(run_network(all_at_once := BrightnessNetwork(), numbered_proxies(7))) == list(range(7))
    assert all_at_once.calls == [7]


def test_no_call_is_made_when_time_is_up() -> None:
    network = BrightnessNetwork(at_once=2)
    assert list(run_network(network, numbered_proxies(7), lambda: len(network.calls) < 2)) == [0, 1, 2, 3]


def test_layers_are_yielded_before_the_next_call() -> None:
    network = BrightnessNetwork(at_once=2)
    layers = run_network(network, numbered_proxies(4))
    assert [next(layers), next(layers)] == [0, 1]
    assert network.calls == [2]


def test_a_proxy_that_the_network_cannot_process_does_not_fail_the_others() -> None:
    layers = list(run_network(BrightnessNetwork(failing_number=2), numbered_proxies(5)))
    assert [layer for layer in layers if not isinstance(layer, RetintError)] == [0, 1, 3, 4]
    assert isinstance(layers[2], MachineFault), "the machine may be at fault, too: it is tested"
    assert layers[2].code == "network_failed"


def test_proxies_that_do_not_fit_into_memory_are_run_in_smaller_calls() -> None:
    assert list(run_network(BrightnessNetwork(max_at_once=2), numbered_proxies(6))) == list(range(6))
    layers = run_network(BrightnessNetwork(max_at_once=0), numbered_proxies(3))
    assert all(isinstance(layer, OutOfMemory) for layer in layers)


def test_an_error_in_the_place_of_a_proxy_is_yielded_in_its_place() -> None:
    away = StoreUnavailable("The store did not answer.")
    first, second = numbered_proxies(2)
    assert list(run_network(BrightnessNetwork(), [first, away, second])) == [0, away, 1]
    assert list(run_network(BrightnessNetwork(at_once=1), [away])) == [away]


class LargeMaps(torch.nn.Module):
    """A layer that makes a large map and fails at a batch of more than `fits`; it counts the maps that are alive."""

    def __init__(self, fits: int, error: Exception) -> None:
        super().__init__()
        self.fits, self.error = fits, error
        self.maps: list[weakref.ref[torch.Tensor]] = []
        self.alive_before_calls: list[int] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.alive_before_calls.append(sum(reference() is not None for reference in self.maps))
        large = x * 2
        self.maps.append(weakref.ref(large))
        if len(large) > self.fits:
            raise self.error
        return large


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("no primitive")], ids=str
)
@pytest.mark.parametrize("fits", [1, 0])
def test_a_call_that_failed_keeps_no_memory_while_its_halves_run(fits: int, error: Exception) -> None:
    layer = LargeMaps(fits, error)

    class Network:
        at_once = 4

        def __call__(self, proxies: Proxies) -> list[float]:
            return [float(value) for value in layer(torch.ones(len(proxies), 8)).sum(1)]

    layers = list(run_network(Network(), numbered_proxies(4)))
    assert len(layers) == 4
    assert all(isinstance(layer, RetintError) == (fits == 0) for layer in layers)
    assert layer.alive_before_calls == [0] * 7


class BrokenDeviceNetwork(BrightnessNetwork):
    """A network whose device reports an error in one call, and in every call after it."""

    def __call__(self, proxies: Proxies) -> list[int]:
        super().__call__(proxies)
        if len(self.calls) > 1:
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return [0] * len(proxies)


def test_after_an_error_of_the_device_no_further_call_is_made() -> None:
    network = BrokenDeviceNetwork(at_once=2)
    away = StoreUnavailable("The store did not answer.")
    layers = list(run_network(network, [*numbered_proxies(3), away, *numbered_proxies(4)]))
    assert network.calls == [2, 1], "not even to find the proxy that is the reason"
    assert layers[:2] == [0, 0]
    assert [type(layer) for layer in layers[2:]] == [DeviceFailed, StoreUnavailable]


class DeepNetwork:
    """A network of many layers."""

    at_once = 1

    def __init__(self) -> None:
        self.layers = torch.nn.Sequential(*(torch.nn.Linear(4, 4) for _ in range(10)))

    @torch.inference_mode()
    def __call__(self, proxies: Proxies) -> list[float]:
        return [float(self.layers(torch.zeros(4)).sum()) for _ in proxies]


def test_one_call_beats_between_its_layers_and_what_a_beat_raises_ends_it() -> None:
    beats: list[int] = []

    def beat() -> bool:
        beats.append(len(beats))
        if len(beats) == 8:
            raise LeaseLost("Somebody cancelled the photo.")
        return True

    with pytest.raises(LeaseLost):
        list(run_network(DeepNetwork(), numbered_proxies(1), beat))
    assert len(beats) == 8
    DeepNetwork()(numbered_proxies(1))
    assert len(beats) == 8, "no other call beats"


def test_a_worker_beats_while_the_renderer_is_compiled_before_its_first_photo(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled_in: list[threading.Thread] = []
    beats: list[bool] = []

    def compile_slowly() -> None:
        compiled_in.append(threading.current_thread())
        while len(beats) < 2:
            time.sleep(0.01)

    monkeypatch.setattr(rendering, "warm_up", compile_slowly)
    monkeypatch.setattr(loading, "load_network", lambda *_: None)
    loading.preload_networks(Settings(), lambda: beats.append(True) or True)  # type: ignore[func-returns-value]
    assert [thread is threading.main_thread() for thread in compiled_in] == [False]

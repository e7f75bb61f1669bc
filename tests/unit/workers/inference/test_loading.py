"""Running a network: how many proxies a call gets, and what becomes of failures."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from retint.errors import OutOfMemory, RetintError, StoreUnavailable, Transient
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
    assert isinstance(layers[2], Transient)
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

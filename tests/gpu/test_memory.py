"""A GPU whose memory is too small for a full batch: the real network halves it, and every photo gets its color."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tests.gpu.speed import make_proxies
from torch import Tensor, nn

from retint.errors import RetintError
from retint_models.layers.rendering import colorize_proxy
from retint_models.layers.types import ColorLayer
from retint_models.networks import registry
from retint_workers.inference.loading import run_network

GPU = "cuda"
COUNT = 32
TOLERANCE = 2
"""Code values of 255; see `test_bundles`."""


@pytest.fixture
def colorizer() -> Iterator[registry.Colorizer]:
    yield registry.load_colorizer("compact", GPU)
    torch.cuda.set_per_process_memory_fraction(1.0)


def measure_peak(colorizer: registry.Colorizer, count: int) -> int:
    """Return the bytes that a call of so many photos takes at most, weights included."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    colorizer(make_proxies(count), {})
    return torch.cuda.max_memory_reserved()


def test_a_batch_that_does_not_fit_is_halved_and_gives_nearly_the_same_colors(colorizer: registry.Colorizer) -> None:
    proxies = make_proxies(COUNT)
    whole = colorizer(proxies, {})
    smallest, largest = measure_peak(colorizer, 1), measure_peak(colorizer, COUNT)
    assert smallest < largest / 2, "otherwise the limit would not lie between a photo and all of them"
    _, total = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((smallest + largest) / 2 / total)
    calls: list[int] = []

    def note_size(_: nn.Module, seen: tuple[Tensor, ...]) -> None:
        calls.append(len(seen[0]))

    colorizer.network.register_forward_pre_hook(note_size)  # type: ignore[attr-defined]
    layers: list[ColorLayer | RetintError] = list(run_network(colorizer, proxies, settings={}))
    assert calls[0] == COUNT
    assert COUNT // 2 in calls
    for proxy, before, after in zip(proxies, whole, layers, strict=True):
        assert isinstance(after, ColorLayer), after
        moved = colorize_proxy(proxy, after).astype(int) - colorize_proxy(proxy, before)
        assert np.abs(moved).max() <= TOLERANCE


def test_a_call_that_failed_leaves_its_memory_to_the_next(colorizer: registry.Colorizer) -> None:
    proxies = make_proxies(COUNT)
    largest = measure_peak(colorizer, COUNT)
    _, total = torch.cuda.mem_get_info()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    # So little that not one photo fits: each call fails with maps in its hands, as errors that somebody keeps.
    torch.cuda.set_per_process_memory_fraction((before + (largest - before) / COUNT / 4) / total)
    errors = list(run_network(colorizer, proxies, settings={}))
    assert {getattr(error, "code", "layer") for error in errors} == {"out_of_memory"}
    assert torch.cuda.memory_allocated() <= before + (1 << 20)

"""What a network decides about a picture does not depend on the pictures beside it; others are in `test_colorizers`."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests import named_weights
from tests.layer_equality import Layer, assert_the_same_in_any_bundle
from tests.photographs import color_photo
from torch import Tensor, nn

from retint_models.networks import deoldify_2018, proxies, registry

Decide = Callable[[list[NDArray[np.uint8]]], Sequence[Layer]]


def make_pictures() -> tuple[NDArray[np.uint8], list[NDArray[np.uint8]], list[NDArray[np.uint8]]]:
    """Return a picture, others of its size, and others of other sizes: faded, so that gates open."""
    photos = [np.rint(60 + color_photo(number, 128) * [0.6, 0.5, 0.3]).astype(np.uint8) for number in range(6)]
    return photos[0], photos[1:4], [photos[4][:90], photos[5][:, :70]]


def load_imported_defader(tmp_path: Path) -> registry.Defader:
    with torch.device("meta"):
        network = deoldify_2018.Generator2018()
    named_weights.write_card("defade-deoldify", named_weights.tensors_for(network), tmp_path)
    defader = registry.load_defader("defade-deoldify", "cpu", tmp_path)
    (tmp_path / "defade-deoldify.safetensors").unlink()
    return defader


@pytest.mark.parametrize("name", ["compact", "compact-vivid", "compact-defade", "defade-deoldify"])
def test_a_picture_is_decided_the_same_whatever_is_beside_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deoldify_2018.Defader2018, "render_factor", 7)
    decide: Decide
    if name == "defade-deoldify":
        decide = load_imported_defader(tmp_path)
    elif name in registry.DEFADERS:
        decide = registry.load_defader(name)
    else:
        decide = partial(registry.load_colorizer(name), settings={})
    assert_the_same_in_any_bundle(decide, *make_pictures())


@pytest.mark.parametrize("name", ["compact", "compact-defade"])
def test_on_a_cpu_a_network_runs_on_one_picture_at_a_time(name: str) -> None:
    """On one thread `compact` happens to decide the same of several, on two it does not."""
    sizes: list[int] = []

    def note_size(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        sizes.append(len(inputs[0]))

    picture, others, _ = make_pictures()
    if name == "compact":
        colorizer = registry.load_colorizer(name)
        colorizer.network.register_forward_pre_hook(note_size)  # type: ignore[attr-defined]
        colorizer([picture, *others], {})
    else:
        defader = registry.load_defader(name)
        defader.net.register_forward_pre_hook(note_size)  # type: ignore[attr-defined]
        defader([picture, *others])
    assert sizes == [1] * 4


def test_on_a_gpu_pictures_of_one_size_run_together() -> None:
    assert [proxies.choose_batch(device, gpu=8) for device in ("cpu", "cuda", "cuda:1")] == [1, 8, 8]
    views = [proxies.make_view(color_photo(number, side)) for number, side in enumerate((40, 64, 40, 64, 40))]
    views = [proxies.View(view.luma, view.luma) for view in views]
    runs: list[tuple[int, ...]] = []

    def decide(seen: Tensor) -> Tensor:
        runs.append((len(seen), seen.shape[-1]))
        return seen

    outputs = proxies.run_by_size(views, decide, 2)
    assert sorted(runs) == [(1, 40), (2, 40), (2, 64)]
    assert all(torch.equal(output, view.seen) for output, view in zip(outputs, views, strict=True))

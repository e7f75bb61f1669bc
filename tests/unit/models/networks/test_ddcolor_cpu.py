"""DDColor prepared for a CPU against the plain network, on many sizes, with a small encoder."""

from functools import cache

import pytest
import torch
from tests import named_weights, precisions
from torch import Tensor
from torch.nn import functional

from retint_models.acceleration import strips
from retint_models.acceleration.prepare import Precision, prepare
from retint_models.networks.ddcolor import Ddcolor, DdcolorConfig

SMALL = DdcolorConfig((8, 16, 24, 32), (1, 1, 2, 1))
SIZES = [(1, 32, 32), (3, 32, 64), (2, 96, 32), (1, 160, 64)]
TOLERANCES = {"float32": (5e-4, 5e-5), "bfloat16": (1.5, 0.3)}
"""Of the largest and of the mean difference."""


@cache
def tensors() -> dict[str, Tensor]:
    with torch.device("meta"):
        return named_weights.tensors_for(Ddcolor(SMALL))


def network() -> Ddcolor:
    with torch.device("meta"):
        made = Ddcolor(SMALL)
    made.load_state_dict(tensors(), assign=True)
    return made.eval()


def picture(batch: int, height: int, width: int) -> Tensor:
    """Gray noise that is smooth enough for colors to differ from place to place."""
    torch.manual_seed(height)
    noise = torch.rand(batch, 1, height // 4, width // 4)
    return functional.interpolate(noise, (height, width), mode="bilinear").expand(-1, 3, -1, -1)


@pytest.mark.parametrize("precision", precisions.on_this_cpu())
@pytest.mark.parametrize("strip", [1 << 12, 1 << 23], ids=["short-strips", "long-strips"])
def test_prepared_it_decides_as_the_plain_network(
    precision: Precision, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "STRIP_BYTES", strip)
    plain, prepared = network(), prepare(network(), precision=precision)
    assert prepared.precision == precision
    largest, mean = TOLERANCES[precision]
    for size in SIZES:
        x = picture(*size)
        with torch.inference_mode():
            theirs, ours = plain(x), prepared(x)
        assert (ours.shape, ours.dtype) == ((size[0], 2, *size[1:]), torch.float32)
        difference = (ours - theirs).abs()
        assert difference.max() <= largest, size
        assert difference.mean() <= mean, size
    assert theirs.std() > 1


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    x, before = picture(2, 64, 96), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            theirs = network()(x)
        assert (prepare(network(), precision="float32")(x) - theirs).abs().max() <= 5e-4
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(1, 3, 33, 32), (1, 1, 32, 32), (3, 32, 32)])
def test_prepared_it_refuses_what_the_plain_network_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        prepare(network())(torch.zeros(shape))

"""DeOldify's generators prepared for a CPU against the plain ones, on many sizes, with small networks."""

from functools import cache

import pytest
import torch
from tests import named_weights, precisions
from torch import Tensor
from torch.nn import functional

from retint_models.acceleration import strips
from retint_models.acceleration.prepare import Precision, prepare
from retint_models.networks.deoldify import DeoldifyGenerator, GeneratorConfig
from retint_models.networks.up_blocks import UpConfig

DEEP = GeneratorConfig(
    (1, 1, 1, 1),
    False,
    (
        UpConfig(512, 256, 12, 24, 2),
        UpConfig(24, 128, 12, 32, 2),
        UpConfig(32, 64, 16, 20, 2),
        UpConfig(20, 64, 8, 9, 2),
    ),
)


WIDE = GeneratorConfig(
    (1, 1, 1, 1),
    False,
    (UpConfig(512, 256, 8, 16, 1), UpConfig(16, 128, 8, 16, 1), UpConfig(16, 64, 8, 16, 1), UpConfig(16, 64, 8, 8, 1)),
)


SIZES = [(1, 2, 2), (3, 2, 6), (1, 36, 58), (2, 64, 98), (1, 130, 34)]


TOLERANCES = {"float32": (1e-4, 1e-5), "bfloat16": (0.15, 0.02)}
"""Of the largest and of the mean difference."""


@cache
def tensors(config: GeneratorConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        return named_weights.tensors_for(DeoldifyGenerator(config))


def generator(config: GeneratorConfig) -> DeoldifyGenerator:
    with torch.device("meta"):
        network = DeoldifyGenerator(config)
    network.load_state_dict(tensors(config), assign=True)
    return network.eval()


def picture(batch: int, height: int, width: int) -> Tensor:
    """Gray noise that is smooth enough for colors to differ from place to place."""
    torch.manual_seed(height)
    noise = torch.rand(batch, 1, height // 2, width // 2)
    gray = functional.interpolate(noise, (height, width), mode="bilinear")
    return (4 * gray - 2).expand(-1, 3, -1, -1)


@pytest.fixture(scope="module", params=[DEEP, WIDE], ids=["deep", "wide"])
def config(request: pytest.FixtureRequest) -> GeneratorConfig:
    config: GeneratorConfig = request.param
    return config


@pytest.mark.parametrize("precision", precisions.on_this_cpu())
@pytest.mark.parametrize("strip", [1 << 12, 1 << 23], ids=["short-strips", "long-strips"])
def test_a_prepared_generator_decides_as_the_plain_one(
    config: GeneratorConfig, precision: Precision, strip: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strips, "STRIP_BYTES", strip)
    plain, prepared = generator(config), prepare(generator(config), precision=precision)
    assert prepared.precision == precision
    largest, mean = TOLERANCES[precision]
    for size in SIZES:
        x = picture(*size)
        with torch.inference_mode():
            theirs, ours = plain(x), prepared(x)
        assert (ours.shape, ours.dtype) == (x.shape, torch.float32)
        difference = (ours - theirs).abs()
        assert difference.max() <= largest, size
        assert difference.mean() <= mean, size
    assert theirs.std() > 0.1


@pytest.mark.parametrize("threads", [1, 3])
def test_any_number_of_threads_gives_the_same(threads: int) -> None:
    x, before = picture(2, 62, 40), torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        with torch.inference_mode():
            theirs = generator(DEEP)(x)
        assert (prepare(generator(DEEP), precision="float32")(x) - theirs).abs().max() <= 1e-4
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("shape", [(1, 3, 7, 8), (1, 1, 8, 8), (3, 8, 8)])
def test_a_prepared_generator_refuses_what_the_plain_one_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        prepare(generator(DEEP))(torch.zeros(shape))

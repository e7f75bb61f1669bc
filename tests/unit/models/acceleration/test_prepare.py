"""Prepared networks against the plain ones, on all sorts of sizes; small networks of the same structure."""

from functools import cache
from typing import Any

import pytest
import torch
from tests import named_weights, precisions
from torch import Tensor, nn
from torch.nn import functional

from retint_models.acceleration import onednn, strips
from retint_models.acceleration import prepare as preparing
from retint_models.acceleration.prepare import Precision, prepare
from retint_models.acceleration.winograd import Winograd
from retint_models.networks.deoldify import DeoldifyGenerator, GeneratorConfig, UpConfig

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


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16"])
def test_a_cpu_without_bfloat16_is_given_float32_and_says_so(flag: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {flag: True})
    monkeypatch.setattr(preparing, "supports_bfloat16", lambda device: True)
    assert preparing.fastest_precision("cpu") == "bfloat16"
    monkeypatch.setattr(preparing, "supports_bfloat16", lambda device: False)
    assert preparing.fastest_precision("cpu") == "float32"
    assert prepare(nn.Sequential(nn.Conv2d(1, 1, 1)).eval()).precision == "float32"
    with pytest.raises(ValueError, match=r"this CPU cannot run networks in bfloat16.*use float32"):
        prepare(nn.Sequential(nn.Conv2d(1, 1, 1)).eval(), precision="bfloat16")


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.bfloat16, 0.2)])
@pytest.mark.parametrize("size", [(3, 9), (4, 4), (14, 11)])
def test_winograds_convolution_is_the_convolution(size: tuple[int, int], dtype: torch.dtype, most: float) -> None:
    torch.manual_seed(1)
    weight, bias, gain, offset = torch.randn(24, 16, 3, 3) / 12, torch.randn(24), torch.rand(24), torch.randn(24)
    x = torch.randn(*size, 16)
    whole = functional.conv2d(x.permute(2, 0, 1)[None], weight, bias, padding=1)[0].relu().permute(1, 2, 0)
    expected = whole * gain + offset
    run = Winograd(weight, bias, gain, offset, dtype)
    for top, bottom in [(True, True), (True, False), (False, True), (False, False)]:
        rows = slice(0 if top else 1, len(x) if bottom else len(x) - 1)
        found = run(x.to(dtype), top, bottom)
        assert found.shape == expected[rows].shape
        assert (found - expected[rows]).abs().max() <= most


def test_other_networks_are_folded_and_given_to_onednn() -> None:
    torch.manual_seed(2)
    inner: Any = nn.Sequential(
        nn.Conv2d(8, 8, 3, padding="same"), nn.Conv2d(8, 8, 3, 2, 1, groups=2), nn.BatchNorm2d(8)
    )
    network: Any = nn.Sequential(nn.Conv2d(3, 8, 5, bias=False), nn.BatchNorm2d(8), nn.ReLU(), inner).eval()
    for norm in (network[1], inner[2]):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 3, 21, 30)
    with torch.inference_mode():
        expected = network(x)
    prepared = prepare(network, precision="float32")
    assert (prepared(x) - expected).abs().max() <= 1e-5
    names = [type(step) for step in prepared.modules()]
    assert names.count(onednn.Convolution) == 2
    assert nn.BatchNorm2d not in names

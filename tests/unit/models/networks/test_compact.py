"""The compact colorizer's face: proxies of any size in, sound color layers out."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.photographs import color_photo
from tests.unit.models.random_weights import make_card, random_weights

from retint_models.evaluation.metrics import colorfulness
from retint_models.evaluation.pictures import to_tensor
from retint_models.layers.rendering import colorize_proxy
from retint_models.layers.types import ColorLayer
from retint_models.networks import proxies, registry
from retint_models.networks.color import rec709_luma
from retint_models.networks.compact import Calibration, ColorDecision, Compact, CompactColorizer


@pytest.fixture(scope="module")
def colorizer() -> CompactColorizer:
    return CompactColorizer(registry.card("compact"))


def gray(number: int, height: int, width: int) -> np.ndarray:
    luma = rec709_luma(to_tensor(color_photo(number, 256)))[0, :height, :width]
    return np.repeat((255 * luma).round().byte().numpy()[..., None], 3, 2)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((768, 512), (384, 256)),
        ((600, 768), (256, 328)),
        ((200, 150), (200, 150)),
        ((33, 257), (33, 257)),
        ((1, 1), (1, 1)),
        ((1, 768), (1, 640)),
        ((768, 2), (640, 2)),
    ],
)
def test_a_layer_has_the_proxys_aspect_and_at_most_its_size(
    colorizer: CompactColorizer, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    proxy = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    layer = colorizer([proxy], {})[0]
    assert layer.luma.shape == expected
    assert ColorLayer.from_bytes(layer.to_bytes()).record == layer.record


def test_a_layer_says_what_made_it(colorizer: CompactColorizer) -> None:
    record = colorizer([gray(0, 64, 64)], {"gain": 2.0})[0].record
    assert record["colorizer"] == "compact"
    assert record["weights"] == colorizer.card.sha256
    assert record["settings"] == {"gain": 2.0, "limit": colorizer.card.settings["limit"].default}
    assert record["precision"] == "float32"
    assert record["decided_at"].endswith("+00:00")


def test_a_layers_luma_is_the_proxys_not_the_normalised_one(colorizer: CompactColorizer) -> None:
    faded = (90 + gray(1, 200, 160) * 0.3).astype(np.uint8)
    layer = colorizer([faded], {})[0]
    assert np.abs(layer.luma.astype(np.float32) - faded[..., 0] / 255).max() < 1e-3


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_of_one_tone_is_decided_on_without_fault(colorizer: CompactColorizer, value: int) -> None:
    layer = colorizer([np.full((300, 200, 3), value, np.uint8)], {})[0]
    assert np.isfinite(layer.chroma).all()


def test_a_batch_of_mixed_sizes_is_decided_as_each_alone(colorizer: CompactColorizer) -> None:
    batch = [gray(0, 256, 256), gray(1, 200, 150), gray(2, 256, 256), gray(3, 150, 200)]
    for together, proxy in zip(colorizer(batch, {}), batch, strict=True):
        alone = colorizer([proxy], {})[0]
        assert np.abs(together.chroma.astype(np.float32) - alone.chroma).max() < 1e-3
    assert colorizer([], {}) == []


def test_more_gain_is_more_color(colorizer: CompactColorizer) -> None:
    proxy = gray(0, 256, 256)
    shown = [
        colorfulness(to_tensor(colorize_proxy(proxy, colorizer([proxy], {"gain": gain, "limit": 4})[0])))
        for gain in (0.1, 0.5, 1, 2, 4)
    ]
    assert shown == sorted(shown)
    assert len(set(shown)) == 5


def test_gain_raises_what_is_sure_and_never_above_the_limit() -> None:
    chroma = torch.tensor([[0.28, 0.14, 0.07, 0.014], [0.0] * 4]).view(1, 2, 1, 4)
    vividness = torch.full((1, 1, 1, 4), 0.1)
    decision = ColorDecision(chroma, torch.zeros(1, 1, 1, 4), vividness)
    raised = decision.apply_gain(3.0, 99.0)[0, 0, 0] / chroma[0, 0, 0]
    assert raised.tolist() == pytest.approx([3.5, 3.0, 2.0, 1.2]), "by its length, and from .175 on by the same"
    limited = decision.apply_gain(3.0, 1.2)[0, 0, 0]
    assert limited.tolist() == pytest.approx([0.28, 0.14, 0.12, 0.0168]), "never less than without a gain"
    assert torch.equal(decision.apply_gain(1.0, 1.2), chroma)
    assert decision.apply_gain(0.0, 1.2).abs().max() == 0


@pytest.mark.parametrize(("degrees", "share"), [(125, 0.15), (110, 0.15), (152.5, 0.575), (165, 1.0), (-60, 1.0)])
def test_a_gain_leaves_skin_nearly_as_it_is(degrees: float, share: float) -> None:
    angle = torch.tensor(math.radians(degrees))
    chroma = (0.14 * torch.stack([angle.cos(), angle.sin()])).view(1, 2, 1, 1)
    decision = ColorDecision(chroma, torch.zeros(1, 1, 1, 1), torch.full((1, 1, 1, 1), 0.14))
    raised = decision.apply_gain(3.0, 99.0).norm() / chroma.norm()
    assert raised.item() == pytest.approx(1 + 2 * share, abs=1e-4)


def test_confidence_falls_with_the_error_and_with_what_a_gain_adds() -> None:
    chroma, error = torch.tensor([[0.14, 0.0, 0.14]]), torch.tensor([3.0, 3.0, 6.0])
    decision = ColorDecision(
        torch.cat([chroma, torch.zeros(1, 3)]).view(1, 2, 1, 3),
        error.view(1, 1, 1, 3),
        torch.full((1, 1, 1, 3), 0.1),
    )
    calibration = Calibration(error=2.0, chroma=50.0)
    plain = decision.confidence(decision.chroma, calibration)[0, 0, 0]
    assert plain.tolist() == pytest.approx([math.exp(-e / 15) for e in (6, 6, 12)])
    gained = decision.confidence(decision.apply_gain(2.0, 4.0), calibration)[0, 0, 0]
    moved = 50 * 0.14
    expected = [math.exp(-e / 15) for e in (math.hypot(6, moved), 6, math.hypot(12, moved))]
    assert gained.tolist() == pytest.approx(expected, abs=1e-4)


def test_a_layer_is_less_sure_of_vivid_colors_and_follows_its_card(colorizer: CompactColorizer) -> None:
    proxy = gray(3, 128, 128)
    calm, vivid = (colorizer([proxy], {"gain": gain})[0].confidence.astype(float) for gain in (1.0, 3.0))
    assert calm.mean() > vivid.mean() + 1
    assert colorizer.calibration == Calibration(**colorizer.card.calibration)


def test_luma_stays_whatever_is_decided(colorizer: CompactColorizer) -> None:
    proxy = gray(2, 256, 200)
    made = to_tensor(colorize_proxy(proxy, colorizer([proxy], {"gain": 4.0})[0]))
    assert (rec709_luma(made) - rec709_luma(to_tensor(proxy))).abs().max() * 255 <= 1


@pytest.mark.parametrize(
    ("proxy", "settings", "sentence"),
    [
        (np.zeros((4, 4), np.uint8), {}, r"a proxy is uint8 \(h, w, 3\)"),
        (np.zeros((4, 4, 4), np.uint8), {}, r"a proxy is uint8 \(h, w, 3\)"),
        (np.zeros((4, 4, 3), np.uint16), {}, r"not uint16"),
        (np.zeros((0, 4, 3), np.uint8), {}, r"a proxy is uint8"),
        (np.zeros((4, 4, 3), np.uint8), {"render_factor": 35.0}, "no setting 'render_factor'; it has gain, limit"),
        (np.zeros((4, 4, 3), np.uint8), {"gain": 4.5}, "gain is between 0.1 and 4"),
        (np.zeros((4, 4, 3), np.uint8), {"gain": float("nan")}, "gain is between 0.1 and 4"),
        (np.zeros((4, 4, 3), np.uint8), {"limit": 0.5}, "limit is between 1 and 4"),
    ],
)
def test_what_it_cannot_decide_on_is_refused_with_a_reason(
    colorizer: CompactColorizer, proxy: np.ndarray, settings: dict[str, float], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        colorizer([proxy], settings)


def test_a_flat_print_is_stretched_and_a_full_one_hardly_touched() -> None:
    full = to_tensor(gray(3, 256, 256))[:1][None]
    low, high = torch.quantile(full, torch.tensor([0.005, 0.995]))
    full = ((full - low) / (high - low)).clamp(0, 1)
    flat = 0.4 + 0.2 * full
    assert float((proxies.normalise_tone(full) - full).abs().mean()) < 0.01
    assert float(proxies.normalise_tone(flat).max() - proxies.normalise_tone(flat).min()) > 0.5


def test_enlarging_follows_the_edges_of_luma_where_bilinear_blurs() -> None:
    luma = torch.zeros(1, 1, 64, 64)
    luma[..., 30:] = 0.8
    true = 0.2 * luma
    small = torch.nn.functional.interpolate(true, size=(16, 16), mode="bilinear", antialias=True)
    blurred = torch.nn.functional.interpolate(small, size=(64, 64), mode="bilinear")
    assert (proxies.enlarge(small, luma) - true).abs().mean() < 0.3 * (blurred - true).abs().mean()


def test_weights_that_do_not_fit_or_hold_nan_are_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load, save

    tensors = load(random_weights())
    wrong = tensors | {"head.weight": tensors["head.weight"][:2]}
    with pytest.raises(ValueError, match=r"not the weights of compact: head\.weight is \[2, "):
        CompactColorizer(make_card(tmp_path, save(wrong)))
    missing = {name: value for name, value in tensors.items() if name != "head.bias"}
    with pytest.raises(ValueError, match=r"not the weights of compact: head\.bias is missing"):
        CompactColorizer(make_card(tmp_path, save(missing)))
    spoiled = tensors | {"head.bias": np.full(4, np.nan, np.float16)}
    with pytest.raises(ValueError, match=r"damaged: head\.bias holds NaN"):
        CompactColorizer(make_card(tmp_path, save(spoiled)))


def test_the_encoder_for_gray_answers_as_the_one_for_three_equal_channels() -> None:
    torch.manual_seed(0)
    one, three = Compact().encoder.eval(), Compact().encoder.eval()
    imagenet = three.state_dict() | {"features.0.0.weight": torch.randn(32, 3, 3, 3) / 5}
    one.load_imagenet(imagenet)
    luma = torch.rand(1, 1, 64, 64)
    x = ((255 * luma - 127) / 128).expand(-1, 3, -1, -1)
    stem = torch.nn.functional.conv2d(
        torch.nn.functional.pad(x, (0, 1, 0, 1)), imagenet["features.0.0.weight"], stride=2
    )
    assert torch.allclose(one.features[0][0]((255 * luma - 127) / 128), stem, atol=1e-4)  # type: ignore[index]
    assert [tuple(m.shape[1:]) for m in one(luma)] == [(24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2), (1280, 2, 2)]

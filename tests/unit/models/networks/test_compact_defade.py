"""The defader's network, and its formula in torch against the one that the layer promises."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor

from retint_models.layers.color import LUMA
from retint_models.layers.types import DensityLayer
from retint_models.networks import compact_defade
from retint_models.networks.compact_defade import CompactDefader, DefadeDecision, DefadeNet
from retint_models.weights.cards import Card
from retint_models.weights.loading import to_half_precision

CARD = Card(name="compact-defade", kind="defader", title="for tests", license="", file="", sha256="ab" * 32)


def random_net(seed: int = 3) -> DefadeNet:
    """A network that decides something, untrained."""
    torch.manual_seed(seed)
    net = DefadeNet()
    torch.nn.init.normal_(net.head.weight, std=0.3)
    torch.nn.init.normal_(net.grid.weight, std=0.3)
    return net.eval()


def picture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def formula(layer: DensityLayer, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What `DensityLayer` says, pixel by pixel, in double precision and without haste."""
    height, width = pixels.shape[:2]
    coded = pixels / 255
    linear = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    before = -np.log10(np.maximum(linear, 1e-4))
    after = np.empty_like(before)
    for row, column in np.ndindex(height, width):
        d = layer.matrix.astype(float) @ before[row, column] + layer.shift
        where = (coded[row, column] @ np.array(LUMA), (row + 0.5) / height, (column + 0.5) / width)
        cell = trilinear(layer.grid, where)
        for c in range(3):
            read = along(layer.curves[c], d[c])
            after[row, column, c] = read * np.exp(cell[c]) + cell[c + 3]
    density = before + layer.gate * layer.strength * (after - before)
    linear = np.minimum(10**-density, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def along(curve: NDArray[np.float32], d: float) -> float:
    step = 2.6 / (len(curve) - 1)
    segment = min(max(int(np.floor(d / step)), 0), len(curve) - 2)
    return float(curve[segment] + (curve[segment + 1] - curve[segment]) * (d / step - segment))


def trilinear(grid: NDArray[np.float32], where: tuple[float, float, float]) -> NDArray[np.float64]:
    values = grid.astype(float)
    for axis in (3, 2, 1):  # column, row, luma
        cells = values.shape[axis]
        at = min(max(where[axis - 1] * cells - 0.5, 0), cells - 1)
        low = int(at)
        high = min(low + 1, cells - 1)
        share = at - low
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def test_a_new_network_decides_nothing_with_its_gate_nearly_closed() -> None:
    decision = DefadeNet().eval()(torch.rand(2, 3, 128, 128))
    assert torch.equal(decision.matrix, torch.eye(3).expand(2, 3, 3))
    assert torch.allclose(decision.curves, torch.linspace(0, 2.6, 9).expand(2, 3, 9), atol=1e-3)
    assert not decision.grid.any()
    assert (decision.gate < 0.3).all()


def test_the_network_is_small() -> None:
    assert len(to_half_precision(save(DefadeNet().state_dict()))) < 2_000_000


def test_the_encoder_is_shown_full_levels_whatever_faded_them() -> None:
    photo = torch.rand(1, 3, 128, 128)
    faded = photo * torch.tensor([0.2, 0.5, 0.3])[:, None, None] + torch.tensor([0.6, 0.1, 0.4])[:, None, None]
    assert torch.allclose(compact_defade.stretch_levels(faded), compact_defade.stretch_levels(photo), atol=1e-5)
    assert compact_defade.stretch_levels(photo).amin() == 0
    assert compact_defade.stretch_levels(photo).amax() == 1
    even = torch.full((1, 3, 128, 128), 0.5)
    assert torch.equal(compact_defade.stretch_levels(even), torch.zeros_like(even)), (
        "an empty picture is not blown up to noise"
    )


def test_training_leaves_the_encoder_as_it_is() -> None:
    net = DefadeNet()
    net.eval().train()
    assert net.fine.training
    before = {name: value.clone() for name, value in net.encoder.state_dict().items()}
    decision = net(torch.rand(4, 3, 128, 128))
    (decision.matrix.square().sum() + decision.grid.sum()).backward()
    assert net.head.weight.grad is not None
    assert all(value.grad is None for value in net.encoder.parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.encoder.state_dict().items())


def test_an_encoder_of_something_else_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not the weights of EfficientNet-Lite0: features\.0\.0\.weight is missing"):
        DefadeNet().encoder.load_imagenet({"conv1.weight": torch.zeros(3)})


def test_torch_repairs_as_the_layer_promises() -> None:
    pixels = picture(9, 13)
    rgb = torch.from_numpy(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        decision = random_net()(torch.rand(1, 3, 128, 128))._replace(gate=torch.tensor([0.8]))
        ours = (
            compact_defade.repair(decision, rgb.flatten(2), compact_defade.pixel_positions(9, 13))
            .view(3, 9, 13)
            .permute(1, 2, 0)
        )
    promised = formula(compact_defade.make_layers(decision, {})[0], pixels)
    assert np.abs(promised - pixels / 255).mean() > 0.01, "the layer does something"
    assert ours.numpy() == pytest.approx(promised, abs=2e-4)


def test_repair_is_differentiable_in_everything_that_is_decided() -> None:
    decision = DefadeDecision(
        *(tensor.detach().requires_grad_() for tensor in random_net()(torch.rand(1, 3, 128, 128)))
    )
    rgb = torch.rand(1, 3, 400) * 0.8 + 0.1
    compact_defade.repair(decision, rgb, torch.rand(400, 2) * 2 - 1).square().sum().backward()  # type: ignore[no-untyped-call]
    gradients: list[Tensor | None] = [tensor.grad for tensor in decision[:5]]
    assert all(gradient is not None and gradient.isfinite().all() and gradient.any() for gradient in gradients)


def test_what_would_hardly_be_seen_is_not_done() -> None:
    rgb = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(5)) * 0.6 + 0.2
    with torch.no_grad():
        nothing = DefadeNet().eval()(rgb)._replace(gate=torch.ones(1))

    def gate(shift: float) -> float:
        return float(
            compact_defade.close_gate_if_invisible(nothing._replace(shift=torch.full((1, 3), shift)), rgb).gate
        )

    assert gate(0.02) == 0, "a unit of lightness"
    assert 0 < gate(0.055) < gate(0.065) < 1
    assert gate(0.15) == 1


def test_curves_never_fall_whatever_the_network_says() -> None:
    curves = compact_defade.rising_curve(torch.randn(50, 3, 8, generator=torch.Generator().manual_seed(1)) * 5)
    assert (curves.diff(dim=-1) >= 0).all()
    assert curves.shape == (50, 3, 9)


def test_a_gray_photo_stays_gray() -> None:
    gray = picture(60, 40)[..., :1].repeat(3, -1)
    (layer,) = CompactDefader(random_net(), CARD)([gray])
    after = formula(layer, gray[:8, :8])
    assert np.ptp(after, axis=-1).max() < 1e-6
    (colored,) = CompactDefader(random_net(), CARD)([picture(60, 40)])
    assert np.ptp(formula(colored, gray[:8, :8]), axis=-1).max() > 0.01


def test_layers_come_in_order_for_proxies_of_any_size_and_say_what_made_them() -> None:
    defader = CompactDefader(random_net(), CARD)
    proxies = [picture(300, 200, 1), picture(1, 1, 2), picture(3, 900, 3)]
    together, alone = defader(proxies), [defader([proxy])[0] for proxy in proxies]
    for one, other in zip(together, alone, strict=True):
        assert one.matrix == pytest.approx(other.matrix, abs=1e-5)
        assert one.gate == pytest.approx(other.gate, abs=1e-5)
    assert together[0].record.keys() == {"defader", "weights", "settings", "precision", "order", "decided_at"}
    assert DensityLayer.from_bytes(together[0].to_bytes()).record == together[0].record
    assert defader([]) == []


@pytest.mark.parametrize("wrong", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_proxy_is_refused(wrong: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        CompactDefader(random_net(), CARD)([wrong])

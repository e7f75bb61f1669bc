"""Networks on another device than the CPU: torch's `meta`, where tensors have a type and a size, and no values."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from retint_models.acceleration.prepare import Precision, prepare
from retint_models.networks import compact, compact_defade, ddcolor, deoldify, registry

DEVICE = "meta"
PREPARED: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "artistic": (lambda: deoldify.DeoldifyGenerator(deoldify.CONFIGS["artistic"]), 3),
    "stable": (lambda: deoldify.DeoldifyGenerator(deoldify.CONFIGS["stable"]), 3),
    "ddcolor-tiny": (lambda: ddcolor.Ddcolor(ddcolor.TINY), 3),
}
"""Networks that check their input apart from deciding, and the channels that they see."""


def make_elsewhere(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device(DEVICE):
        return make().eval().requires_grad_(False)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", PREPARED)
def test_a_prepared_network_runs_on_its_device_in_its_precision(name: str, precision: Precision) -> None:
    make, channels = PREPARED[name]
    torch.backends.cudnn.allow_tf32 = True
    prepared = prepare(make_elsewhere(make), DEVICE, precision)
    assert not torch.backends.cudnn.allow_tf32
    prepared.check = None  # it reads values
    y = prepared(torch.zeros(2, channels, 64, 96))
    assert (y.device.type, y.dtype, len(y)) == (DEVICE, torch.float32, 2)


def test_compact_runs_on_its_device_in_float32() -> None:
    torch.backends.cudnn.allow_tf32 = True
    network: nn.Module = registry.load_colorizer("compact", DEVICE).network  # type: ignore[attr-defined]
    assert not torch.backends.cudnn.allow_tf32
    decision: compact.ColorDecision = network(torch.zeros(2, 1, 64, 96, device=DEVICE))
    chroma = decision.apply_gain(2.1, 1.7)
    for tensor in (chroma, decision.confidence(chroma, compact.Calibration())):
        assert (tensor.device.type, tensor.shape[2:]) == (DEVICE, (16, 24))


def test_compact_defade_runs_on_its_device_in_float32() -> None:
    torch.backends.cudnn.allow_tf32 = True
    network: nn.Module = registry.load_defader("compact-defade", DEVICE).net  # type: ignore[attr-defined]
    assert not torch.backends.cudnn.allow_tf32
    seen = torch.zeros(2, 3, 128, 128, device=DEVICE)
    decision = compact_defade.tie_channels(network(seen), seen)
    decided: list[Tensor] = list(compact_defade.close_gate_if_invisible(decision, seen))
    assert {tensor.device.type for tensor in decided} == {DEVICE}

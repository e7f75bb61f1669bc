"""Preparing networks: the precision is one that the CPU has, norms are folded, oneDNN runs the convolutions."""

from typing import Any

import pytest
import torch
from torch import nn

from retint_models.acceleration import onednn
from retint_models.acceleration import prepare as preparing
from retint_models.acceleration.prepare import prepare


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

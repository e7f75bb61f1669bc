"""ResNets from torchvision: their norms fold, and networks without a ResNet never import torchvision."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from retint_models.acceleration.folding import fold
from retint_models.networks.resnet import resnet_encoder


@pytest.mark.parametrize("bottleneck", [False, True])
def test_a_folded_encoder_gives_the_same_without_batch_norms(bottleneck: bool) -> None:
    torch.manual_seed(0)
    encoder = resnet_encoder((1, 1, 1, 1), bottleneck).eval()
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.uniform_(norm.weight, 0.5, 1)
            nn.init.normal_(norm.bias, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(norm.running_mean, std=0.1)  # type: ignore[arg-type]
    x = torch.rand(1, 3, 40, 33)
    with torch.inference_mode():
        expected = encoder(x)
        found = fold(encoder)(x)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()
    assert not any(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())


@pytest.mark.parametrize("module", ["compact", "compact_defade", "registry", "proxies"])
def test_networks_without_a_resnet_do_not_import_torchvision(module: str) -> None:
    code = f"import sys; import retint_models.networks.{module}; assert 'torchvision' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)

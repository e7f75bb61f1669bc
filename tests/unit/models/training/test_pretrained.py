"""Files of networks that others trained."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from retint_models.networks.lab_resnet18 import TutorialNetwork
from retint_models.networks.resnet import resnet_encoder
from retint_models.training.pretrained import load_encoder, read_backbone, read_resnet


def test_a_backbone_or_an_encoder_that_is_something_else_is_refused(tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="neither VGG16 with batch norms nor EfficientNet-Lite0"):
        read_backbone(tmp_path / "other.safetensors", (5, 12, 22))
    with pytest.raises(ValueError, match="holds no ResNet as torchvision names it: weight is unknown"):
        read_resnet(tmp_path / "other.safetensors")


def test_a_resnet_of_torchvision_starts_the_body(tmp_path: Path) -> None:
    body = resnet_encoder((2, 2, 2, 2))
    names = {"0": "conv1", "1": "bn1", "4": "layer1", "5": "layer2", "6": "layer3", "7": "layer4"}
    state = {
        f"{names[name.partition('.')[0]]}.{name.partition('.')[2]}": value + 1 if value.is_floating_point() else value
        for name, value in body.state_dict().items()
    }
    torch.save(state | {"fc.weight": torch.zeros(2, 2)}, tmp_path / "resnet18.pth")
    read = read_resnet(tmp_path / "resnet18.pth")
    load_encoder(body, read)
    assert all(torch.equal(body.state_dict()[name], value) for name, value in read.items())
    tutorial = TutorialNetwork().midlevel_resnet
    load_encoder(tutorial, read)
    assert torch.equal(tutorial.state_dict()["0.weight"], read["0.weight"].sum(1, keepdim=True))
    with pytest.raises(ValueError, match="the encoder does not fit this network"):
        load_encoder(resnet_encoder((3, 4, 6, 3)), read)

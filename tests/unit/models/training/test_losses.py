"""Features of VGG16 under torchvision's names."""

import pytest
import torch
from torch import Tensor

from retint_models.training.losses import LAYERS_BEFORE_POOLS, VggFeatures
from retint_models.training.networks import deoldify, deoldify_2018
from retint_models.vision import models


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Random weights of VGG16 with batch norms, named as in torchvision's file, without counters of batches."""
    with torch.device("meta"):
        shapes = models.vgg16_bn(init_weights=False).state_dict()
    rng = torch.Generator().manual_seed(0)
    state = {
        name: 0.02 * torch.randn(value.shape, generator=rng)
        for name, value in shapes.items()
        if name.startswith("features.") and not name.endswith("num_batches_tracked")
    }
    return {name: value.abs() if "running_var" in name else value for name, value in state.items()}


@pytest.mark.parametrize(
    ("layers", "shapes"),
    [
        (deoldify.FEATURE_LAYERS, [(256, 16, 16), (512, 8, 8), (512, 4, 4)]),
        (deoldify_2018.FEATURE_LAYERS, [(64, 64, 64), (128, 32, 32), (256, 16, 16)]),
    ],
)
def test_vgg16_gives_the_maps_before_its_max_pools(
    state: dict[str, Tensor], layers: tuple[int, ...], shapes: list[tuple[int, ...]]
) -> None:
    maps = VggFeatures(state, layers)(torch.rand(1, 3, 64, 64))
    assert [tuple(x.shape[1:]) for x in maps] == shapes
    with torch.device("meta"):
        next_layer = models.vgg16_bn(init_weights=False).features[max(layers) + 1]
    assert isinstance(next_layer, torch.nn.MaxPool2d)


def test_maps_are_those_of_torchvisions_network(state: dict[str, Tensor]) -> None:
    with torch.device("meta"):
        network = models.vgg16_bn(init_weights=False).features.eval()
    weights = {name.removeprefix("features."): value for name, value in state.items()}
    network.load_state_dict(weights, strict=False, assign=True)
    rgb = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    normalised = (rgb - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(
        3, 1, 1
    )
    with torch.no_grad():
        ours = VggFeatures(state, LAYERS_BEFORE_POOLS[:2])(rgb)
        theirs = [network[: layer + 1](normalised.clone()) for layer in LAYERS_BEFORE_POOLS[:2]]
    assert all(torch.equal(one, two) for one, two in zip(ours, theirs, strict=True))


def test_a_weight_too_few_or_too_many_is_refused(state: dict[str, Tensor]) -> None:
    with pytest.raises(RuntimeError, match=r"Missing key.*features\.40\.bias"):
        VggFeatures({name: value for name, value in state.items() if name != "features.40.bias"}, (5, 12, 22))
    with pytest.raises(RuntimeError, match=r"Unexpected key.*features\.50\.bias"):
        VggFeatures(state | {"features.50.bias": torch.zeros(1)}, (5, 12, 22))

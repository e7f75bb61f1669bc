"""DeOldify's generators: names and shapes of the official files, and what they refuse. No weights are needed."""

import json

import pytest
import torch
from tests.paths import REFERENCE
from torch import Tensor

from retint_models.networks.deoldify import CONFIGS, DeoldifyGenerator, GeneratorConfig, load_network
from retint_models.networks.up_blocks import UpConfig

SMALL = GeneratorConfig(
    (1, 1, 1, 1),
    False,
    (UpConfig(512, 256, 8, 8, 2), UpConfig(8, 128, 8, 8, 2), UpConfig(8, 64, 4, 4, 1), UpConfig(4, 64, 4, 4, 1)),
)


def state(name: str) -> dict[str, Tensor]:
    """The right names and shapes, without values and without memory."""
    with torch.device("meta"):
        return DeoldifyGenerator(CONFIGS[name]).state_dict()


@pytest.mark.parametrize("name", CONFIGS)
def test_names_shapes_types_and_order_are_those_of_the_official_files(name: str) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"needs the reference's list of keys at {REFERENCE}")
    ours = [[key, list(tensor.shape), str(tensor.dtype)[6:]] for key, tensor in state(name).items()]
    assert ours == json.loads((REFERENCE / f"{name}.keys.json").read_text())


@pytest.mark.parametrize(("name", "parameters"), [("artistic", 63_646_881), ("stable", 218_222_197)])
def test_there_are_as_many_parameters_as_published(name: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in DeoldifyGenerator(CONFIGS[name]).parameters()) == parameters


@pytest.mark.parametrize("size", [(2, 2), (2, 36), (32, 64), (100, 60)])
def test_a_picture_of_any_even_size_keeps_it(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    with torch.inference_mode():
        colors = DeoldifyGenerator(SMALL).eval()(torch.rand(2, 3, *size))
    assert colors.shape == (2, 3, *size)
    assert colors.abs().max() <= 3


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.float64), "float32"),
        (torch.zeros(1, 3, 4, 4, dtype=torch.uint8), "float32"),
        (torch.zeros(3, 4, 4), r"\(N, 3, H, W\)"),
        (torch.zeros(1, 1, 4, 4), r"\(N, 3, H, W\)"),
        (torch.zeros(0, 3, 4, 4), r"\(N, 3, H, W\)"),
        (torch.zeros(1, 3, 5, 4), "even height and width, not 5 x 4"),
        (torch.zeros(1, 3, 4, 1), "even height and width, not 4 x 1"),
        (torch.full((1, 3, 4, 4), 255.0), "between -2.12 and 2.65"),
        (torch.full((1, 3, 4, 4), -3.0), "between -2.12 and 2.65"),
        (torch.full((1, 3, 4, 4), float("nan")), "between -2.12 and 2.65"),
    ],
)
def test_what_is_no_batch_of_normalised_pictures_is_refused(x: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        DeoldifyGenerator.check(x)


def test_weights_of_another_network_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="not the weights of stable: layers"):
        load_network("stable", state("artistic"))
    with pytest.raises(ValueError, match="artistic, stable, video"):
        load_network("dramatic", {})


def test_a_tensor_too_few_too_many_or_of_another_shape_is_named() -> None:
    right = state("artistic")
    fewer = {key: tensor for key, tensor in right.items() if key != "layers.11.0.bias"}
    with pytest.raises(ValueError, match=r"layers\.11\.0\.bias is missing"):
        load_network("artistic", fewer)
    with pytest.raises(ValueError, match="more is unknown"):
        load_network("artistic", right | {"more": torch.zeros(1)})
    first = next(iter(right))
    with pytest.raises(ValueError, match=r"layers\.0\.0\.weight is \[64, 1, 7, 7\], not \[64, 3, 7, 7\]"):
        load_network("artistic", right | {first: torch.zeros(64, 1, 7, 7)})


def test_weights_that_hold_nan_are_refused() -> None:
    right = state("artistic")
    first = next(iter(right))
    with pytest.raises(ValueError, match=r"damaged: layers\.0\.0\.weight holds NaN"):
        load_network("artistic", right | {first: torch.full((64, 3, 7, 7), float("nan"))})

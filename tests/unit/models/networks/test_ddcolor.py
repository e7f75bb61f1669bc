"""DDColor: names and shapes of the official files, and what it refuses. No weights are needed."""

import json

import pytest
import torch
from tests.paths import REFERENCE
from torch import Tensor

from retint_models.networks.ddcolor import CONFIGS, LARGE, TINY, Ddcolor, DdcolorConfig, load_network, position_code

SMALL = DdcolorConfig((8, 8, 16, 16), (1, 1, 2, 1))


def state(config: DdcolorConfig) -> dict[str, Tensor]:
    """The right names and shapes, without values and without memory."""
    with torch.device("meta"):
        return Ddcolor(config).state_dict()


@pytest.mark.parametrize(("name", "config"), [("ddcolor_tiny", TINY), ("ddcolor_large", LARGE)])
def test_names_shapes_types_and_order_are_those_of_the_official_files(name: str, config: DdcolorConfig) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"needs the reference's list of keys at {REFERENCE}")
    ours = [[key, list(tensor.shape), str(tensor.dtype)[6:]] for key, tensor in state(config).items()]
    assert ours == json.loads((REFERENCE / f"{name}.keys.json").read_text())


@pytest.mark.parametrize(("config", "parameters"), [(TINY, 55_006_640), (LARGE, 227_869_328)])
def test_there_are_as_many_parameters_as_published(config: DdcolorConfig, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Ddcolor(config).parameters()) == parameters


@pytest.mark.parametrize("size", [(32, 32), (32, 96), (64, 32)])
def test_a_picture_of_any_sides_that_are_multiples_of_32_keeps_them(size: tuple[int, int]) -> None:
    torch.manual_seed(1)
    with torch.inference_mode():
        colors = Ddcolor(SMALL).eval()(torch.rand(2, 3, *size))
    assert colors.shape == (2, 2, *size)


def test_positions_go_once_around_the_circle_on_a_map_of_any_size() -> None:
    for height, width in ((1, 1), (3, 5), (16, 8)):
        code = position_code(height, width).view(height, width, 256)
        assert torch.allclose(code[-1, -1, :2], torch.tensor([0.0, 1.0]), atol=1e-5)
        assert torch.equal(code[:, 0, :128], code[:, -1, :128]), "rows are in the first half"
        assert torch.equal(code[0, :, 128:], code[-1, :, 128:])


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.zeros(1, 3, 32, 32, dtype=torch.float64), "float32"),
        (torch.zeros(3, 32, 32), r"\(N, 3, H, W\)"),
        (torch.zeros(1, 1, 32, 32), r"\(N, 3, H, W\)"),
        (torch.zeros(0, 3, 32, 32), r"\(N, 3, H, W\)"),
        (torch.zeros(1, 3, 33, 32), "multiples of 32, not 33 x 32"),
        (torch.zeros(1, 3, 32, 16), "multiples of 32, not 32 x 16"),
        (torch.full((1, 3, 32, 32), 255.0), "between 0 and 1"),
        (torch.full((1, 3, 32, 32), -0.1), "between 0 and 1"),
        (torch.full((1, 3, 32, 32), float("nan")), "between 0 and 1"),
    ],
)
def test_what_is_no_batch_of_pictures_is_refused(x: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        Ddcolor.check(x)


def test_weights_of_another_network_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="not the weights of ddcolor: encoder"):
        load_network("ddcolor", state(TINY))
    with pytest.raises(ValueError, match="not the weights of ddcolor-tiny: encoder"):
        load_network("ddcolor-tiny", state(LARGE))
    with pytest.raises(ValueError, match=", ".join(CONFIGS)):
        load_network("ddcolour", {})


@pytest.mark.parametrize("name", ["encoder.arch.norm.weight", "mean", "refine_net.0.0.weight_u"])
def test_a_tensor_that_is_missing_is_named(name: str) -> None:
    tensors = state(TINY)
    del tensors[name]
    with pytest.raises(ValueError, match=f"not the weights of ddcolor-tiny: {name} is missing"):
        load_network("ddcolor-tiny", tensors)

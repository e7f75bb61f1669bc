"""DeOldify's generators: names and shapes of the official files, and what they refuse. No weights are needed."""

import json

import numpy as np
import pytest
import torch
from tests.paths import REFERENCE
from torch import Tensor, nn

from retint_models.networks.deoldify import CONFIGS, DeoldifyGenerator, GeneratorConfig, UpConfig, load_network
from retint_models.networks.deoldify_colorizer import colorize_picture, merge_chroma, stretch_to_aspect
from retint_models.networks.spectral import SpectralConv

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


def test_the_spectral_norm_divides_by_what_the_stored_vectors_say() -> None:
    conv = SpectralConv(2, 3, (1, 1)).eval()
    conv.weight_orig.data.fill_(2.0)
    conv.weight_u.copy_(torch.tensor([1.0, 0.0, 0.0]))
    conv.weight_v.copy_(torch.tensor([0.0, 0.25]))
    assert torch.equal(conv(torch.ones(1, 2, 1, 1)), torch.full((1, 3, 1, 1), 8.0))


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


class Gray(nn.Module):
    """Colors nothing."""

    def forward(self, x: Tensor) -> Tensor:
        DeoldifyGenerator.check(x)
        return x


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (70, 50)])
def test_a_gray_answer_leaves_the_luma_as_it_was(size: tuple[int, int]) -> None:
    gray = np.random.default_rng(1).integers(0, 256, (*size, 1), dtype=np.uint8).repeat(3, 2)
    assert np.abs(colorize_picture(Gray(), gray, 7).astype(int) - gray).max() <= 2  # chroma is cut, not rounded


def test_chroma_is_merged_as_opencv_does() -> None:
    # By hand from OpenCV's integers: red has Y 76, U 91 and V 255 (285 cut); u = -37 and v = 127 are added to 128.
    gray, red = np.full((1, 1, 3), 128, np.uint8), np.array([[[255, 0, 0]]], np.uint8)
    assert merge_chroma(gray, red).tolist() == [[[255, 69, 53]]]


@pytest.mark.parametrize("factor", [6, 46, -1])
def test_a_render_factor_out_of_range_is_refused(factor: int) -> None:
    with pytest.raises(ValueError, match="from 7 to 45"):
        colorize_picture(Gray(), np.zeros((4, 4, 3), np.uint8), factor)


@pytest.mark.parametrize("picture", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"uint8 picture \(h, w, 3\)"):
        colorize_picture(Gray(), picture, 10)


@pytest.mark.parametrize(
    ("picture", "side", "layer"),
    [
        ((512, 768), 560, (512, 768)),
        ((512, 768), 336, (336, 504)),
        ((768, 512), 112, (168, 112)),
        ((60, 40), 112, (60, 40)),
        ((1, 768), 112, (1, 768)),
    ],
)
def test_a_layer_is_as_small_as_keeps_all_that_the_square_says(
    picture: tuple[int, int], side: int, layer: tuple[int, int]
) -> None:
    luma, chroma = stretch_to_aspect(np.zeros((*picture, 3), np.uint8), torch.zeros(3, side, side))
    assert luma.shape == (1, 1, *layer)
    assert chroma.shape == (1, 2, *layer)

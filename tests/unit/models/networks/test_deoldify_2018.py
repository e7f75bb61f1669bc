"""The first DeOldify: names and counts from its description, sizes, old files, and the defader."""

import numpy as np
import pytest
import torch
from tests import named_weights
from tests.photographs import color_photo
from torch import Tensor, nn

from retint_models.layers.rendering import apply
from retint_models.layers.types import DensityLayer
from retint_models.networks import registry
from retint_models.networks.deoldify_2018 import Attention2018, Defader2018, Generator2018, check_input, load_network
from retint_models.networks.spectral import SpectralAttention


def state() -> dict[str, Tensor]:
    with torch.device("meta"):
        return Generator2018().state_dict()


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    with torch.device("meta"):
        network = Generator2018()
    return named_weights.tensors_for(network)


@pytest.fixture(scope="module")
def network(tensors: dict[str, Tensor]) -> Generator2018:
    return load_network("deoldify-2018", tensors)


def test_the_names_and_channels_are_those_of_the_description() -> None:
    shapes = {key: tuple(tensor.shape) for key, tensor in state().items()}
    ups = {"up1": (512, 256, 1024), "up2": (1024, 128, 1024), "up3": (1024, 64, 1024), "up4": (1024, 64, 512)}
    for up, (inside, skip, outside) in ups.items():
        assert shapes[f"{up}.tr_conv.sequence.0.0.seq.0.weight_orig"] == (2 * outside, inside, 3, 3)
        assert shapes[f"{up}.tr_conv.sequence.0.0.seq.1.weight"] == (2 * outside,)
        assert shapes[f"{up}.tr_conv.sequence.2.weight"] == (outside // 2,)
        assert shapes[f"{up}.x_conv.seq.0.weight_orig"] == (outside // 2, skip, 1, 1)
        assert shapes[f"{up}.x_conv.seq.0.bias"] == (outside // 2,)
        assert shapes[f"{up}.out.0.weight"] == (outside,)
    assert shapes["up5.sequence.0.0.seq.0.weight_orig"] == (256, 512, 3, 3)
    assert shapes["out.0.seq.0.weight_orig"] == (3, 64, 3, 3)
    assert shapes["rn.7.2.bn2.running_var"] == (512,)
    assert [key for key in shapes if key.endswith("gamma")] == ["up3.out.1.gamma"]
    assert shapes["up3.out.1.gamma"] == ()
    assert shapes["up3.out.1.query.bias"] == (128,)


def test_there_are_as_many_parameters_as_the_description_adds_up_to() -> None:
    def block(inside: int, outside: int, kernel: int) -> int:
        return inside * outside * kernel**2 + outside

    def shuffle(inside: int, outside: int) -> int:
        return block(inside, 4 * outside, 3) + 2 * 4 * outside + 2 * outside

    def up(inside: int, skip: int, outside: int) -> int:
        return shuffle(inside, outside // 2) + block(skip, outside // 2, 1) + 2 * outside

    body = 21_797_672 - (512 * 1000 + 1000)  # torchvision's ResNet-34 without its classifier
    attention = 2 * block(1024, 128, 1) + block(1024, 1024, 1) + 1
    ups = up(512, 256, 1024) + up(1024, 128, 1024) + up(1024, 64, 1024) + up(1024, 64, 512)
    with torch.device("meta"):
        ours = sum(p.numel() for p in Generator2018().parameters())
    assert ours == body + ups + attention + shuffle(512, 64) + block(64, 3, 3)


@pytest.mark.parametrize("size", [(1, 1), (32, 64), (49, 36)])
def test_a_picture_of_any_size_keeps_it(network: Generator2018, size: tuple[int, int]) -> None:
    repaired = network(torch.rand(2, 3, *size) * 2 - 1)
    assert repaired.shape == (2, 3, *size)
    assert repaired.abs().max() <= 1


def test_what_stands_beside_a_picture_that_is_no_multiple_of_32_is_cut_not_squeezed_in(network: Generator2018) -> None:
    picture = torch.from_numpy(color_photo(0, 128).copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
    whole, part = network(picture), network(picture[:, :, :112])
    assert (whole[:, :, :16] - part[:, :, :16]).abs().mean() < 0.2 * (whole[:, :, :16] - part[:, :, 16:32]).abs().mean()


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (torch.zeros(1, 3, 4, 4, dtype=torch.float64), "a float32 tensor, not torch.float64"),
        (torch.zeros(3, 4, 4), r"\(N, 3, H, W\)"),
        (torch.zeros(1, 1, 4, 4), r"\(N, 3, H, W\)"),
        (torch.zeros(1, 3, 0, 4), r"\(N, 3, H, W\)"),
        (torch.full((1, 3, 4, 4), 1.1), "between -1 and 1"),
        (torch.full((1, 3, 4, 4), float("nan")), "between -1 and 1"),
    ],
)
def test_what_is_no_batch_of_pictures_is_refused(x: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_input(x, torch.float32)


def test_a_file_of_before_pytorch_1_gives_the_same(tensors: dict[str, Tensor], network: Generator2018) -> None:
    """Its spectral norms hold u and the divided kernel, its batch norms no counters."""
    old = {key: value for key, value in tensors.items() if not key.endswith(("weight_v", "num_batches_tracked"))}
    for key in list(old):
        if key.endswith("weight_orig"):
            stem = key.removesuffix("_orig")
            sigma = tensors[f"{stem}_u"] @ tensors[key].flatten(1) @ tensors[f"{stem}_v"]
            old[stem] = tensors[key] / sigma
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    assert (load_network("deoldify-2018", old)(x) - network(x)).abs().max() < 1e-4


def test_weights_of_another_network_are_refused(tensors: dict[str, Tensor]) -> None:
    fewer = {key: tensor for key, tensor in tensors.items() if key != "up3.out.1.gamma"}
    with pytest.raises(ValueError, match=r"not the weights of defade-deoldify: up3\.out\.1\.gamma is missing"):
        load_network("defade-deoldify", fewer)


def test_attention_in_parts_is_attention() -> None:
    torch.manual_seed(0)
    attention = Attention2018(16).eval()
    nn.init.constant_(attention.gamma, 0.5)
    for part in (attention.query, attention.key, attention.value):
        nn.init.normal_(part.weight_orig)
    x = torch.rand(2, 16, 30, 40)
    assert (attention(x) - SpectralAttention.forward(attention, x)).abs().max() < 1e-5
    assert (attention(x) - x).abs().max() > 0.1


def test_attention_learns_its_biases() -> None:
    attention = Attention2018(16)
    nn.init.constant_(attention.gamma, 0.5)
    attention(torch.rand(2, 16, 4, 4)).square().sum().backward()
    assert attention.value.bias is not None
    assert attention.value.bias.grad is not None
    assert attention.value.bias.grad.abs().max() > 0


def test_the_defader_gives_layers_that_keep_gray_gray(
    tensors: dict[str, Tensor], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("imported")
    card = named_weights.write_card("defade-deoldify", tensors, folder)
    defader = registry.load_defader("defade-deoldify", "cpu", folder)
    card.path.unlink()
    assert isinstance(defader, Defader2018)
    assert defader.render_factor == 36
    defader.render_factor = 7  # quick
    gray = np.repeat(color_photo(0, 150)[:, :90, 1:2], 3, 2)
    pictures = [gray, np.zeros((1, 1, 3), np.uint8), np.full((40, 1, 3), 255, np.uint8)]
    layers = defader(pictures)
    for picture, layer in zip(pictures, layers, strict=True):
        made = apply(picture, 0, picture.shape[:2], None, layer)
        assert np.array_equal(made, np.repeat(made[..., :1], 3, 2))
        assert layer.gate == 1
        assert DensityLayer.from_bytes(layer.to_bytes()).record == layer.record
    assert layers[0].record["defader"] == "defade-deoldify"
    assert len(layers[0].record["weights"]) == 64
    with pytest.raises(ValueError, match="a proxy is uint8"):
        defader([np.zeros((4, 4), np.uint8)])

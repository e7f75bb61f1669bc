"""The Lab ResNet-18: its two versions, its lightness, and that both can be trained."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import named_weights
from tests.paths import REFERENCE
from tests.photographs import color_photo
from torch import Tensor, nn
from torch.nn import functional

from retint_models.networks.color import ab_to_chroma, lab_to_rgb, rec709_chroma, rgb_to_lab
from retint_models.networks.lab_resnet18 import (
    LabColorizer,
    RepositoryNetwork,
    TutorialNetwork,
    check_gray,
    load_network,
    make_view,
)

VERSIONS = {"lab_tutorial": TutorialNetwork, "lab_repo": RepositoryNetwork}


def state(network: type[nn.Module]) -> dict[str, Tensor]:
    with torch.device("meta"):
        return network().state_dict()


@pytest.mark.parametrize("name", VERSIONS)
def test_names_shapes_types_and_order_are_those_of_the_published_files(name: str) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"needs the reference's list of keys at {REFERENCE}")
    ours = [[key, list(tensor.shape), str(tensor.dtype)[6:]] for key, tensor in state(VERSIONS[name]).items()]
    assert ours == json.loads((REFERENCE / f"{name}.keys.json").read_text())


def test_there_are_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in TutorialNetwork().parameters()) == 954_722


@pytest.mark.parametrize("version", VERSIONS.values())
def test_which_version_a_checkpoint_is_its_keys_say(version: type[nn.Module]) -> None:
    assert type(load_network("lab-resnet18", named_weights.tensors_for(version()))) is version


def test_what_was_loaded_last_under_the_second_name_holds() -> None:
    tensors = named_weights.tensors_for(RepositoryNetwork())
    network = load_network("lab-resnet18", tensors)
    assert not torch.equal(tensors["midlevel_resnet.0.weight"], tensors["global_resnet.0.weight"])
    for part in ("midlevel_resnet", "global_resnet"):
        assert torch.equal(network.get_parameter(f"{part}.0.weight"), tensors["global_resnet.0.weight"])


@pytest.mark.parametrize("version", VERSIONS.values())
def test_the_answer_is_rounded_up_to_eights(version: type[nn.Module]) -> None:
    with torch.inference_mode():
        assert version().eval()(torch.rand(2, 1, 1, 37)).shape == (2, 2, 8, 40)


@pytest.mark.parametrize("version", VERSIONS.values())
def test_the_last_step_only_doubles(version: type[nn.Module]) -> None:
    decided = load_network("lab-resnet18", named_weights.tensors_for(version()))(torch.rand(1, 1, 24, 32))
    assert torch.equal(functional.interpolate(decided[:, :, ::2, ::2], scale_factor=2.0), decided)


@pytest.mark.parametrize(
    ("gray", "says"),
    [
        (torch.zeros(1, 1, 8, 8, dtype=torch.float16), "float32"),
        (torch.zeros(1, 8, 8), r"\(N, 1, H, W\)"),
        (torch.zeros(1, 3, 8, 8), r"\(N, 1, H, W\)"),
        (torch.zeros(1, 1, 0, 8), r"\(N, 1, H, W\)"),
        (torch.full((1, 1, 8, 8), 1.1), "between 0 and 1"),
        (torch.full((1, 1, 8, 8), float("nan")), "between 0 and 1"),
    ],
)
def test_what_is_no_batch_of_gray_is_refused(gray: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_gray(gray)


def test_lightness_is_that_of_the_gray_not_its_code() -> None:
    ab = torch.tensor([20.0, -30.0]).view(1, 2, 1, 1)
    for code in (0.2, 0.5, 0.7):
        luma = torch.full((1, 1, 1, 1), code)
        lightness = rgb_to_lab(luma.expand(-1, 3, -1, -1))[:, :1]
        assert abs(lightness.item() - 100 * code) > 1
        expected = rec709_chroma(lab_to_rgb(torch.cat([lightness, ab], 1)))
        assert torch.equal(ab_to_chroma(luma, ab), expected)
    gray = torch.rand(1, 1, 4, 4)
    assert ab_to_chroma(gray, torch.zeros(1, 2, 4, 4)).abs().max() < 1e-4


def test_a_photos_own_a_and_b_give_nearly_its_own_chroma() -> None:
    rgb = torch.from_numpy(color_photo(1, 64).copy()).permute(2, 0, 1)[None].float() / 255
    lab = rgb_to_lab(rgb)
    gray = lab_to_rgb(torch.cat([lab[:, :1], torch.zeros_like(lab[:, 1:])], 1))[:, :1]
    assert (ab_to_chroma(gray, lab[:, 1:]) - rec709_chroma(rgb)).abs().max() < 1e-3


def test_an_answer_is_a_and_b_plus_128_over_255(tmp_path: Path) -> None:
    tensors = named_weights.tensors_for(TutorialNetwork())
    tensors["upsample.14.weight"].zero_()
    tensors["upsample.14.bias"] = torch.tensor([128 + 20, 128 - 30]) / 255
    picture = np.repeat(color_photo(0, 70)[:, :, 1:2], 3, 2)
    layer = LabColorizer(named_weights.write_card("lab-resnet18", tensors, tmp_path))([picture], {})[0]
    luma = torch.from_numpy(picture[None, None, :, :, 0] / np.float32(255))
    expected = ab_to_chroma(luma, torch.tensor([20.0, -30.0]).view(1, 2, 1, 1).expand(1, 2, 70, 70))
    assert np.abs(layer.chroma - expected[0].numpy()).max() < 1e-3


def test_it_is_shown_256_pixels_in_multiples_of_eight_with_the_tone_they_have() -> None:
    faded = np.full((512, 700, 3), 120, np.uint8)
    faded[:100] = 140
    seen = make_view(faded)
    assert seen.luma.shape == (1, 1, 256, 350)
    assert seen.seen.shape == (1, 1, 256, 352)
    assert seen.seen.min().item() == pytest.approx(120 / 255)


@pytest.mark.parametrize("version", VERSIONS.values())
def test_it_learns(version: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network = version()
    gray, goal = torch.rand(2, 1, 32, 32), torch.full((2, 2, 32, 32), 0.7)
    optimizer = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(4):
        loss = functional.mse_loss(network(gray), goal)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2

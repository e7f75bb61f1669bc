"""The YUV GAN: names, sizes, its color space, and that it can be trained."""

import json
from pathlib import Path

import pytest
import torch
from skimage.color import rgb2yuv
from tests import named_weights
from tests.paths import REFERENCE
from tests.photographs import color_photo
from torch import Tensor, nn
from torch.nn import functional

from retint_models.networks.color import rec709_chroma
from retint_models.networks.yuv_gan import (
    U_SCALE,
    V_SCALE,
    YuvCritic,
    YuvGanColorizer,
    YuvGenerator,
    check_luma,
    load_network,
    uv_to_chroma,
)


def state(network: type[nn.Module]) -> dict[str, Tensor]:
    with torch.device("meta"):
        return network().state_dict()


@pytest.mark.parametrize(("name", "network"), [("yuvgan_g", YuvGenerator), ("yuvgan_d", YuvCritic)])
def test_names_shapes_types_and_order_are_those_of_the_published_files(name: str, network: type[nn.Module]) -> None:
    if not REFERENCE.exists():
        pytest.skip(f"needs the reference's list of keys at {REFERENCE}")
    ours = [[key, list(tensor.shape), str(tensor.dtype)[6:]] for key, tensor in state(network).items()]
    assert ours == json.loads((REFERENCE / f"{name}.keys.json").read_text())


def test_there_are_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in YuvGenerator().parameters()) == 1_671_458


@pytest.mark.parametrize(("size", "gives"), [((41, 41), (44, 44)), ((41, 64), (44, 64)), ((51, 70), (52, 72))])
def test_the_answer_is_rounded_up_to_fours(size: tuple[int, int], gives: tuple[int, int]) -> None:
    with torch.inference_mode():
        decided = YuvGenerator().eval()(torch.rand(2, 1, *size) - 0.5)
    assert decided.shape == (2, 2, *gives)
    assert decided.abs().max() <= 1


def test_what_is_too_much_lies_right_and_below() -> None:
    run = load_network("yuv-gan", named_weights.tensors_for(YuvGenerator()))
    picture = torch.from_numpy(color_photo(0, 64).copy()).permute(2, 0, 1)[None, :1].float() / 255 - 0.5
    whole, cut = run(picture), run(picture[:, :, :61, :62])
    middle = (slice(None), slice(None), slice(0, 8), slice(0, 8))
    assert (whole[middle] - cut[middle]).abs().mean() < (whole[middle] - cut[:, :, 3:11, 2:10]).abs().mean() / 2


def test_that_is_cut_off_and_what_is_too_small_is_continued(tmp_path: Path) -> None:
    tensors = named_weights.tensors_for(YuvGenerator())
    colorizer = YuvGanColorizer(named_weights.write_card("yuv-gan", tensors, tmp_path))
    run = load_network("yuv-gan", tensors)
    luma = torch.rand(1, 1, 61, 30)
    decided = run(functional.pad(luma, (0, 11, 0, 0), mode="replicate") - 0.5)
    assert decided.shape == (1, 2, 64, 44)
    assert (colorizer.decide(luma) - uv_to_chroma(decided[:, :, :61, :30])).abs().max() < 1e-4


def test_its_u_and_v_become_the_chroma_of_the_same_picture() -> None:
    rgb = color_photo(1, 32) / 255
    yuv = torch.from_numpy(rgb2yuv(rgb)).permute(2, 0, 1)
    decided = yuv[1:] / torch.tensor([U_SCALE, V_SCALE]).view(2, 1, 1)
    expected = rec709_chroma(torch.from_numpy(rgb).permute(2, 0, 1))
    assert (uv_to_chroma(decided) - expected).abs().max() < 1e-6


@pytest.mark.parametrize(
    ("luma", "says"),
    [
        (torch.zeros(1, 1, 64, 64, dtype=torch.float64), "float32"),
        (torch.zeros(1, 64, 64), r"\(N, 1, H, W\)"),
        (torch.zeros(1, 3, 64, 64), r"\(N, 1, H, W\)"),
        (torch.zeros(0, 1, 64, 64), r"\(N, 1, H, W\)"),
        (torch.zeros(1, 1, 40, 64), "above 40, not 40 x 64"),
        (torch.full((1, 1, 64, 64), 0.6), "between -0.5 and 0.5"),
        (torch.full((1, 1, 64, 64), float("nan")), "between -0.5 and 0.5"),
    ],
)
def test_what_is_no_batch_of_luma_is_refused(luma: Tensor, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check_luma(luma)


def test_a_critic_refuses_what_is_no_yuv() -> None:
    with pytest.raises(ValueError, match=r"float32 \(N, 3, H, W\)"):
        YuvCritic()(torch.zeros(1, 1, 64, 64))


def test_weights_of_the_critic_are_refused() -> None:
    with pytest.raises(ValueError, match="not the weights of yuv-gan"):
        load_network("yuv-gan", state(YuvCritic))


def test_both_learn() -> None:
    torch.manual_seed(0)
    network, critic = YuvGenerator(), YuvCritic()
    luma, real = torch.rand(2, 1, 44, 44) - 0.5, torch.full((2, 2, 44, 44), 0.3)
    fakes, reals = torch.zeros(2, 1), torch.ones(2, 1)
    learners = [torch.optim.Adam(part.parameters(), 1e-4, betas=(0.5, 0.999)) for part in (network, critic)]
    off, told_apart = [], []
    for _ in range(4):
        decided = network(luma)
        judged = [critic(torch.cat([luma, uv], 1)) for uv in (decided.detach(), real)]
        losses = [functional.binary_cross_entropy(*pair) for pair in zip(judged, (fakes, reals), strict=True)]
        doubt = torch.stack(losses).mean()
        off.append(functional.mse_loss(decided, real))
        told_apart.append(doubt.item())
        learners[1].zero_grad()
        doubt.backward()  # type: ignore[no-untyped-call]
        learners[1].step()
        learners[0].zero_grad()
        fooled = functional.binary_cross_entropy(critic(torch.cat([luma, decided], 1)), reals)
        (fooled + 1000 * off[-1]).backward()  # type: ignore[no-untyped-call]
        learners[0].step()
    assert off[-1] < off[0]
    assert told_apart[-1] < told_apart[0]

"""DeOldify's critics: names and shapes, scores, and that they learn."""

import json

import pytest
import torch
from tests.paths import REFERENCE
from torch import nn

from retint_models.networks.critics import Critic2018, DeoldifyCritic


def test_names_shapes_types_and_order_are_those_of_the_official_files() -> None:
    if not REFERENCE.exists():
        pytest.skip(f"needs the reference's list of keys at {REFERENCE}")
    with torch.device("meta"):
        state = DeoldifyCritic().state_dict()
    ours = [[key, list(tensor.shape), str(tensor.dtype)[6:]] for key, tensor in state.items()]
    assert ours == json.loads((REFERENCE / "critic.keys.json").read_text())


def test_there_are_as_many_parameters_as_published() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in DeoldifyCritic().parameters()) == 94_555_649


def test_the_critic_of_2018_attends_in_every_halving() -> None:
    with torch.device("meta"):
        state = Critic2018().state_dict()
    assert [key for key in state if key.endswith("gamma")] == [f"mid.{number}.seq.2.gamma" for number in (1, 3, 5)]
    assert state["mid.5.seq.0.weight_orig"].shape == (4096, 2048, 4, 4)
    assert state["out.0.seq.0.weight_orig"].shape == (1, 4096, 4, 4)
    assert "out.0.seq.0.bias" not in state


@pytest.mark.parametrize(("size", "scores"), [((64, 64), 1), ((67, 64), 1), ((80, 96), 6)])
def test_there_is_a_score_a_place(size: tuple[int, int], scores: int) -> None:
    rgb = torch.rand(2, 3, *size)
    assert DeoldifyCritic(8)(rgb).shape == (2, scores)
    judged, features = Critic2018(8)(rgb)
    assert judged.flatten(1).shape == (2, scores)
    assert features.shape[1] == 64


@pytest.mark.parametrize("critic", [DeoldifyCritic(8), Critic2018(8)], ids=["today", "2018"])
def test_what_is_no_picture_or_too_small_is_refused(critic: nn.Module) -> None:
    with pytest.raises(ValueError, match=r"float32 \(N, 3, H, W\)"):
        critic(torch.zeros(1, 1, 64, 64))
    with pytest.raises(ValueError, match="at least 64, not 64 x 63"):
        critic(torch.zeros(1, 3, 64, 63))


def test_a_critic_learns_from_two_passes_before_one_step_back() -> None:
    torch.manual_seed(0)
    critic = Critic2018(8)
    real, fake = torch.rand(4, 3, 64, 64), torch.rand(4, 3, 64, 64) - 1
    optimizer = torch.optim.Adam(critic.parameters(), 5e-3, betas=(0.0, 0.9))
    losses = []
    for _ in range(10):
        loss = torch.relu(1 + critic(fake)[0]).mean() + torch.relu(1 - critic(real)[0]).mean()  # hinge
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2

"""A network and its critic in turns."""

import torch
from torch import Tensor

from retint_models.training.adversary import Adversary, alternate_steps


def test_a_weak_critic_goes_on_until_it_is_good_enough() -> None:
    adversary = Adversary(torch.nn.Linear(1, 1), threshold=0.65)
    losses = iter([0.9, 0.7, 0.6])
    turns = []

    def critic_step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        turns.append("critic")
        return {"loss": torch.tensor(next(losses))}

    def network_step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        turns.append("network")
        assert not adversary.critic.weight.requires_grad, "the critic does not learn from the network's loss"
        return {"loss": torch.tensor(0.0)}

    step = alternate_steps(adversary, critic_step, network_step)
    for _ in range(4):
        step(0.0, torch.Generator())
    assert turns == ["critic", "critic", "critic", "network"]
    assert bool(adversary.critics_turn)

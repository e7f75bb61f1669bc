"""Adversarial training: a network and its critic in turns, and the critic's losses."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.training.loop import TrainingStep


class Adversary(nn.Module):
    """A critic, and whether the next step is the critic's or the network's; checkpoints hold both.

    Attributes:
        critic: Scores pictures.
        threshold: The critic is trained until its loss is below this; infinite for strict alternation.
        critics_turn: Whether the next step trains the critic.
    """

    critics_turn: Tensor

    def __init__(self, critic: nn.Module, threshold: float = float("inf")) -> None:
        super().__init__()
        self.critic = critic
        self.threshold = threshold
        self.register_buffer("critics_turn", torch.tensor(True))


def alternate_steps(adversary: Adversary, critic_step: TrainingStep, network_step: TrainingStep) -> TrainingStep:
    """Return a training step that trains the critic until its loss is below the threshold, then the network once.

    Args:
        adversary: The critic of the network.
        critic_step: Returns the critic's loss; it needs no gradient of the network.
        network_step: Returns the network's loss.
    """

    def step(progress: float, rng: torch.Generator) -> dict[str, Tensor]:
        trains_critic = bool(adversary.critics_turn)
        adversary.critic.requires_grad_(trains_critic)
        losses = (critic_step if trains_critic else network_step)(progress, rng)
        is_weak = trains_critic and losses["loss"].item() >= adversary.threshold
        adversary.critics_turn.fill_(is_weak or not trains_critic)
        return losses

    return step


def critic_cross_entropy(critic: Callable[[Tensor], Tensor], photographs: Tensor, generated: Tensor) -> Tensor:
    """Return a critic's binary cross-entropy: the target of photographs is 1, that of generated pictures 0."""
    return (cross_entropy(critic(photographs), 1.0) + cross_entropy(critic(generated), 0.0)) / 2


def cross_entropy(logits: Tensor, target: float) -> Tensor:
    """Return the mean binary cross-entropy of logits that share one target."""
    return functional.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, target).float())


def critic_hinge_loss(photographs: Tensor, generated: Tensor) -> Tensor:
    """Return a critic's hinge loss from its scores of photographs and generated pictures (arXiv:1705.02894)."""
    return functional.relu(1 - photographs.float()).mean() + functional.relu(1 + generated.float()).mean()

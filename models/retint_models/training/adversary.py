"""A network and its critic, taking turns; the losses of both."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from retint_models.training.loop import Step


class Rivals(nn.Module):
    """A critic, and whose turn it is: both go into checkpoints.

    Attributes:
        critic: Judges pictures.
        threshold: The critic goes on until its loss is below; infinite for strict alternation.
    """

    critics_turn: Tensor

    def __init__(self, critic: nn.Module, threshold: float = float("inf")) -> None:
        super().__init__()
        self.critic = critic
        self.threshold = threshold
        self.register_buffer("critics_turn", torch.tensor(True))


def alternate(rivals: Rivals, of_critic: Step, of_network: Step) -> Step:
    """Return a step in which the critic learns until it is good enough, then the network once.

    Args:
        rivals: Of the network.
        of_critic: Gives the critic's loss; no gradient need reach the network.
        of_network: Gives the network's loss.
    """

    def step(progress: float, chance: torch.Generator) -> dict[str, Tensor]:
        is_critics = bool(rivals.critics_turn)
        rivals.critic.requires_grad_(is_critics)
        told = (of_critic if is_critics else of_network)(progress, chance)
        is_weak = is_critics and told["loss"].item() >= rivals.threshold
        rivals.critics_turn.fill_(is_weak or not is_critics)
        return told

    return step


def logits_loss(critic: Callable[[Tensor], Tensor], real: Tensor, made: Tensor) -> Tensor:
    """Return a critic's cross-entropy: photographs are 1, what was made is 0."""
    return (towards(critic(real), 1.0) + towards(critic(made), 0.0)) / 2


def towards(logits: Tensor, target: float) -> Tensor:
    """Return the cross-entropy of logits, all of which should say the same."""
    return functional.binary_cross_entropy_with_logits(logits.float(), torch.full_like(logits, target).float())


def hinge_loss(real: Tensor, made: Tensor) -> Tensor:
    """Return a critic's hinge loss of its scores (Geometric GAN, arXiv:1705.02894)."""
    return functional.relu(1 - real.float()).mean() + functional.relu(1 + made.float()).mean()

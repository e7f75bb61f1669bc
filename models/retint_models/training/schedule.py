"""Learning rate schedules, and runs in phases: crops that grow, learning rates that follow, frozen parts."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

RateShape = Literal["cosine", "cycle", "flat"]
"""How learning rates move within a phase.

`cosine`: from the largest down to 0 along half a cosine. `cycle`: the same after a rise over four fifths of the phase
(one cycle, arXiv:1803.09820; momentum stays constant). `flat`: constant, then linear down to a hundredth over the last
8 %."""

ParameterGroups = list[list[nn.Parameter]]


def warmup_cosine(progress: float, warm_up: float) -> float:
    """Return the factor of the learning rate at a progress in [0, 1): linear warm-up, then cosine decay to 0."""
    if progress < warm_up:
        return (progress + 1e-3) / (warm_up + 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (progress - warm_up) / (1 - warm_up)))


def rising_cosine(x: float) -> float:
    """Return the rise from 0 (at x = 0) to 1 (from x = 1 on) along half a cosine."""
    return (1 - math.cos(math.pi * min(x, 1.0))) / 2


@dataclass(frozen=True)
class Phase:
    """One phase of a run.

    Attributes:
        share: Length, relative to the shares of the other phases.
        side: Side of the crops in pixels.
        batch: Crops a step.
        rates: Largest learning rate of each parameter group; a group at 0 is frozen.
        shape: How the rates move within the phase.
    """

    share: float
    side: int
    batch: int
    rates: tuple[float, ...]
    shape: RateShape = "cosine"

    def rate_factor(self, within: float) -> float:
        """Return the factor of the largest rates when a share of the phase, in [0, 1), is done."""
        if self.shape == "flat":
            return 1.0 if within < 0.92 else 1 - 0.99 * (within - 0.92) / 0.08
        peak = 0.8 if self.shape == "cycle" else 0.0
        if within < peak:
            return 1 / 25 + (1 - 1 / 25) * rising_cosine(within / peak)
        return 1 - rising_cosine((within - peak) / (1 - peak))


@dataclass(frozen=True)
class PhaseSchedule:
    """The phases of a run, in order."""

    phases: Sequence[Phase]

    def phase_at(self, progress: float) -> tuple[Phase, float]:
        """Return the phase at a progress of the run, and the share of that phase that is done, in [0, 1)."""
        left = progress * sum(phase.share for phase in self.phases)
        for phase in self.phases[:-1]:
            if left < phase.share:
                return phase, left / phase.share
            left -= phase.share
        return self.phases[-1], min(left / self.phases[-1].share, 1.0)

    def learning_rates(self, progress: float) -> list[float]:
        """Return the learning rate of each parameter group at a progress of the run."""
        phase, within = self.phase_at(progress)
        return [rate * phase.rate_factor(within) for rate in phase.rates]


def split_parameters(network: nn.Module, body: nn.Module) -> ParameterGroups:
    """Split the parameters of a network on a ResNet into groups with learning rates of their own.

    Args:
        network: The network.
        body: Its ResNet, as a sequence of eight modules.

    Returns:
        Kernels of the body's first six modules, kernels of its last two, and everything else. The body's batch norms
        are in the last group because they are trained even where the body is frozen (as fastai does).
    """
    early: list[nn.Parameter] = []
    late: list[nn.Parameter] = []
    for number, part in enumerate(body.children()):
        for module in part.modules():
            if isinstance(module, nn.Conv2d):
                (early if number < 6 else late).extend(module.parameters())
    in_body = {id(parameter) for parameter in (*early, *late)}
    return [early, late, [parameter for parameter in network.parameters() if id(parameter) not in in_body]]


def freeze_idle_groups(groups: ParameterGroups, rates: Sequence[float]) -> None:
    """Freeze the groups whose learning rate is 0, so that their gradients are not computed; unfreeze the others."""
    for group, rate in zip(groups, rates, strict=False):
        for parameter in group:
            parameter.requires_grad_(rate > 0)

"""Runs in stages: crops that grow, learning rates that follow, parts of a network that wait."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

Shape = Literal["cosine", "cycle", "flat"]


@dataclass(frozen=True)
class Stage:
    """One stage of a run.

    Attributes:
        share: How long it is, beside the others.
        side: Of the crops, in pixels.
        batch: Crops a step.
        rates: Largest learning rate of each group of parameters; a group at 0 is frozen.
        shape: How the rates move: from the largest down along a cosine; up for four fifths before that (one cycle,
            arXiv:1803.09820; momentum stays as it is); or flat, and linear down to a hundredth in the last 8 %.
    """

    share: float
    side: int
    batch: int
    rates: tuple[float, ...]
    shape: Shape = "cosine"

    def factor(self, within: float) -> float:
        """Tell what part of the largest rates holds at a share of the stage."""
        if self.shape == "flat":
            return 1.0 if within < 0.92 else 1 - 0.99 * (within - 0.92) / 0.08
        begin = 0.8 if self.shape == "cycle" else 0.0
        if within < begin:
            return 1 / 25 + (1 - 1 / 25) * eased(within / begin)
        return 1 - eased((within - begin) / (1 - begin))


def eased(x: float) -> float:
    """Go from 0 to 1 along half a cosine."""
    return (1 - math.cos(math.pi * min(x, 1.0))) / 2


@dataclass(frozen=True)
class Plan:
    """The stages of a run, in order."""

    stages: Sequence[Stage]

    def at(self, progress: float) -> tuple[Stage, float]:
        """Return the stage at a share of the run, and how much of that stage is done, in [0, 1)."""
        left = progress * sum(stage.share for stage in self.stages)
        for stage in self.stages[:-1]:
            if left < stage.share:
                return stage, left / stage.share
            left -= stage.share
        return self.stages[-1], min(left / self.stages[-1].share, 1.0)

    def rates(self, progress: float) -> list[float]:
        """Tell the learning rates at a share of the run."""
        stage, within = self.at(progress)
        return [rate * stage.factor(within) for rate in stage.rates]


Groups = list[list[nn.Parameter]]


def groups_of(network: nn.Module, body: nn.Module) -> Groups:
    """Split a network on a ResNet for stages that move its parts at different rates.

    Returns:
        Kernels of the body's first six steps, those of its last two, and all the rest. Norms of the body are with the
        rest, for they are trained also where the body is not (as fastai does).
    """
    early: list[nn.Parameter] = []
    late: list[nn.Parameter] = []
    for number, step in enumerate(body.children()):
        for module in step.modules():
            if isinstance(module, nn.Conv2d):
                (early if number < 6 else late).extend(module.parameters())
    apart = {id(parameter) for parameter in (*early, *late)}
    return [early, late, [parameter for parameter in network.parameters() if id(parameter) not in apart]]


def freeze(groups: Groups, rates: Sequence[float]) -> None:
    """Train only the groups that move; gradients of the others are not even computed."""
    for group, rate in zip(groups, rates, strict=False):
        for parameter in group:
            parameter.requires_grad_(rate > 0)

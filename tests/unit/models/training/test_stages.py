"""Stages of a run: whose turn it is, and at which rates."""

import pytest
import torch
from torch import nn

from retint_models.networks.resnet import resnet_encoder
from retint_models.training.stages import Plan, Stage, freeze, groups_of

PLAN = Plan([Stage(1, 64, 8, (0.0, 1.0), "cycle"), Stage(3, 128, 4, (0.1, 0.5)), Stage(1, 192, 2, (0.2, 0.2), "flat")])


def test_stages_follow_each_other_by_their_shares() -> None:
    sides = [PLAN.at(progress / 10)[0].side for progress in range(11)]
    assert sides == [64, 64, 128, 128, 128, 128, 128, 128, 192, 192, 192]
    assert PLAN.at(0.5)[1] == pytest.approx(0.5)


def test_rates_cycle_fall_or_stay() -> None:
    assert PLAN.rates(0.0) == [0.0, pytest.approx(1 / 25)]
    assert PLAN.rates(0.16) == [0.0, pytest.approx(1)]
    assert PLAN.rates(0.2) == [0.1, 0.5]
    assert PLAN.rates(0.5) == [pytest.approx(0.05), pytest.approx(0.25)]
    assert PLAN.rates(0.9) == [0.2, 0.2]
    assert PLAN.rates(1.0) == [pytest.approx(0.002)] * 2


def test_a_group_that_does_not_move_is_frozen_but_norms_are_with_the_rest() -> None:
    body = resnet_encoder((1, 1, 1, 1))
    network = nn.Sequential(body, nn.Conv2d(512, 1, 1))
    groups = groups_of(network, body)
    assert sum(map(len, groups)) == len(list(network.parameters()))
    freeze(groups, (0.0, 0.0, 1.0))
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {"1.weight", "0.1.weight", "0.4.0.bn1.weight"} <= trained
    assert not {"0.0.weight", "0.4.0.conv1.weight", "0.7.0.conv1.weight"} & trained
    freeze(groups, (1.0, 1.0, 1.0))
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert torch.is_grad_enabled()

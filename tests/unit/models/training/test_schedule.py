"""Learning rate schedules and the phases of a run."""

import pytest
import torch
from torch import nn

from retint_models.networks.resnet import resnet_encoder
from retint_models.training.schedule import Phase, PhaseSchedule, freeze_idle_groups, split_parameters, warmup_cosine

SCHEDULE = PhaseSchedule(
    [Phase(1, 64, 8, (0.0, 1.0), "cycle"), Phase(3, 128, 4, (0.1, 0.5)), Phase(1, 192, 2, (0.2, 0.2), "flat")]
)


def test_phases_follow_each_other_by_their_shares() -> None:
    sides = [SCHEDULE.phase_at(progress / 10)[0].side for progress in range(11)]
    assert sides == [64, 64, 128, 128, 128, 128, 128, 128, 192, 192, 192]
    assert SCHEDULE.phase_at(0.5)[1] == pytest.approx(0.5)


def test_rates_of_a_phase_cycle_fall_or_stay() -> None:
    assert SCHEDULE.learning_rates(0.0) == [0.0, pytest.approx(1 / 25)]
    assert SCHEDULE.learning_rates(0.16) == [0.0, pytest.approx(1)]
    assert SCHEDULE.learning_rates(0.2) == [0.1, 0.5]
    assert SCHEDULE.learning_rates(0.5) == [pytest.approx(0.05), pytest.approx(0.25)]
    assert SCHEDULE.learning_rates(0.9) == [0.2, 0.2]
    assert SCHEDULE.learning_rates(1.0) == [pytest.approx(0.002)] * 2


def test_a_group_without_a_rate_is_frozen_but_batch_norms_are_with_the_rest() -> None:
    body = resnet_encoder((1, 1, 1, 1))
    network = nn.Sequential(body, nn.Conv2d(512, 1, 1))
    groups = split_parameters(network, body)
    assert sum(map(len, groups)) == len(list(network.parameters()))
    freeze_idle_groups(groups, (0.0, 0.0, 1.0))
    trained = {name for name, parameter in network.named_parameters() if parameter.requires_grad}
    assert {"1.weight", "0.1.weight", "0.4.0.bn1.weight"} <= trained
    assert not {"0.0.weight", "0.4.0.conv1.weight", "0.7.0.conv1.weight"} & trained
    freeze_idle_groups(groups, (1.0, 1.0, 1.0))
    assert all(parameter.requires_grad for parameter in network.parameters())
    assert torch.is_grad_enabled()


def test_the_learning_rate_rises_then_falls_to_nothing() -> None:
    rates = [warmup_cosine(progress / 100, 0.05) for progress in range(101)]
    assert rates[0] < 0.03
    assert max(rates) == rates[5] == pytest.approx(1)
    assert rates[-1] == pytest.approx(0)
    assert rates[5:] == sorted(rates[5:], reverse=True)

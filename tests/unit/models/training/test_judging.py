"""The judge of colorizers on networks whose faults are known."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import photographs
from torch import Tensor, nn

from retint_models.datasets.photographs import Photos
from retint_models.networks.color import rec709_chroma
from retint_models.training.journal import Journal
from retint_models.training.judging import (
    GAINS,
    LARGEST_GAIN,
    NOT_REACHED,
    Measured,
    make_colorizer_judge,
    score_at_share,
    try_gains,
)

SIDE = 64


@pytest.fixture(scope="module")
def photos() -> Photos:
    pictures = [photographs.color_photo(number, side=SIDE) for number in range(3)]
    size = SIDE * SIDE * 3
    entries = [{"name": str(number), "height": SIDE, "width": SIDE, "start": number * size} for number in range(3)]
    return Photos(np.concatenate([picture.ravel() for picture in pictures]), entries, {})


class Painter(nn.Module):
    """Knows the true chroma of the photographs, and gives a factor of it, or something else."""

    def __init__(self, photos: Photos, factor: float, noise: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.factor, self.noise = factor, noise
        rgb = [torch.from_numpy(np.array(photo)).permute(2, 0, 1)[None].float() / 255 for photo in photos]
        self.answers = [rec709_chroma(picture) for picture in rgb]
        self.calls = 0

    def forward(self, luma: Tensor) -> Tensor:
        chroma = self.answers[self.calls % len(self.answers)]
        self.calls += 1
        random = torch.randn(chroma.shape, generator=torch.Generator().manual_seed(self.calls))
        return self.factor * (chroma + self.noise * random)


def judge(photos: Photos, network: nn.Module) -> dict[str, float]:
    with torch.no_grad():
        return make_colorizer_judge(photos, lambda network, luma: network(luma))(network)


def test_gray_is_worse_than_the_wildest_color(photos: Photos) -> None:
    gray, wild = judge(photos, Painter(photos, 0.0)), judge(photos, Painter(photos, 1.0, noise=1.0))
    assert gray["delta_e"] < wild["delta_e"], "its error alone would make it the better one"
    assert gray["score"] == NOT_REACHED
    assert wild["score"] < 100
    assert (gray["reached"], wild["reached"]) == (0, 1)
    assert math.isnan(gray["gain"])


def test_a_drab_network_is_judged_as_colorful_as_the_others(photos: Photos) -> None:
    usual, drab = judge(photos, Painter(photos, 0.8)), judge(photos, Painter(photos, 0.05))
    assert drab["gain"] > GAINS[-1] > usual["gain"]
    assert drab["score"] == pytest.approx(usual["score"], abs=0.3)
    drabber = judge(photos, Painter(photos, 0.05, noise=0.3))
    assert drabber["score"] > drab["score"] + 1, "noise counts in what is drab, too"


def test_a_gaudy_network_is_judged_as_colorful_as_the_others(photos: Photos) -> None:
    usual, gaudy = judge(photos, Painter(photos, 0.8)), judge(photos, Painter(photos, 8.0))
    assert gaudy["gain"] < GAINS[0]
    assert gaudy["score"] == pytest.approx(usual["score"], abs=0.3)


def test_a_network_too_drab_for_every_gain_is_worse_than_those_that_are_not(photos: Photos) -> None:
    faint, fainter = (judge(photos, Painter(photos, factor)) for factor in (0.3 / LARGEST_GAIN, 0.1 / LARGEST_GAIN))
    assert 100 < faint["score"] < fainter["score"] < NOT_REACHED
    assert (faint["reached"], fainter["reached"]) == (0, 0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_never_is_the_best(photos: Photos, value: float) -> None:
    scores = judge(photos, Painter(photos, value))
    assert not scores["score"] < math.inf
    assert scores["reached"] == 0


def test_a_network_that_gives_no_number_at_one_gain_has_no_score() -> None:
    broken = score_at_share([Measured(1.0, 0.5, 10.0), Measured(2.0, math.nan, math.nan)], 0.7)
    assert math.isnan(broken["score"])


def test_a_judgement_without_a_number_is_logged_as_json(tmp_path: Path) -> None:
    Journal(tmp_path, 0, lambda entry: None).log(event="judged", step=1, score=math.nan, gain=math.inf, reached=0.0)
    line = (tmp_path / "log.jsonl").read_text()
    entry = json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    assert entry == {"event": "judged", "step": 1, "score": None, "gain": None, "reached": 0.0}


def test_the_score_lies_between_the_two_gains_around_the_share() -> None:
    tried = [Measured(1.0, 0.5, 10.0), Measured(2.0, 0.6, 11.0), Measured(3.0, 0.8, 13.0)]
    assert score_at_share(tried, 0.7) == {"score": pytest.approx(12.0), "gain": pytest.approx(2.5), "reached": 1.0}
    assert score_at_share(tried[:2], 0.7) == {
        "score": pytest.approx(199.4),
        "gain": pytest.approx(math.nan, nan_ok=True),
        "reached": 0.0,
    }


def test_gains_are_tried_until_the_share_lies_between_two() -> None:
    asked: list[float] = []

    def measure(gain: float) -> Measured:
        asked.append(gain)
        return Measured(gain, 0.1 * gain, gain)

    tried = try_gains(measure, 0.68)
    assert [one.gain for one in tried] == [*GAINS, 3.75, 5.625, 8.4375]
    assert len(asked) == len(tried), "nothing is measured twice"

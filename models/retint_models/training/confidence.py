"""Fit the calibration of `compact`'s confidence, on photographs that it was not trained on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from retint_models.evaluation.calibration import PLACES, tabulate
from retint_models.evaluation.pictures import to_tensor
from retint_models.evaluation.samples import ColorSample
from retint_models.networks import proxies
from retint_models.networks.color import ciede2000, join_luma_chroma, rgb_to_lab
from retint_models.networks.compact import Calibration, Compact

Gain = tuple[float, float]
"""A gain and its limit, see `ColorDecision.apply_gain`."""


class Observed(NamedTuple):
    """Places of a photograph, in three tensors (n,) in float64.

    Attributes:
        error: CIEDE2000 error of the expected color, as the network says.
        moved: How far the gain moved the color, in chroma.
        true: CIEDE2000 error that is found.
    """

    error: Tensor
    moved: Tensor
    true: Tensor


@torch.inference_mode()
def observe(network: Compact, sample: ColorSample, gains: Sequence[Gain]) -> Observed:
    """Color a photograph's gray with each gain, at full size, and compare it with the photograph at `PLACES`."""
    view = proxies.make_view(sample.gray)
    decision = network(view.seen)
    true = to_tensor(sample.true)[None]
    at = torch.linspace(0, view.luma.numel() - 1, PLACES).long()

    def pick(maps: Tensor) -> Tensor:
        return maps.flatten(2)[:, :, None, at]

    def look(gain: float, limit: float) -> tuple[Tensor, Tensor, Tensor]:
        chroma = decision.apply_gain(gain, limit)
        moved = (chroma - decision.chroma).norm(dim=1, keepdim=True)
        large = pick(proxies.enlarge(torch.cat([chroma, decision.error, moved], 1), view.luma))
        colored = join_luma_chroma(pick(view.luma), large[:, :2])
        return large[:, 2], large[:, 3], ciede2000(rgb_to_lab(colored), rgb_to_lab(pick(true)))

    looks = [look(*gain) for gain in gains]
    return Observed(*(torch.cat(parts, -1).flatten().double() for parts in zip(*looks, strict=True)))


def fit(observed: Sequence[Observed]) -> Calibration:
    """Fit the calibration that makes the errors found most likely: exponential about the one expected, as in training.

    Args:
        observed: Photographs that the network was not trained on, with the gains that are in use. Without one above 1
            nothing tells what a gain costs.
    """
    error, moved, true = (torch.cat(tensors) for tensors in zip(*observed, strict=True))
    logs = torch.tensor([1.0, 30.0], dtype=torch.float64).log().requires_grad_()
    optimizer = torch.optim.LBFGS([logs], max_iter=100, line_search_fn="strong_wolfe")

    def surprise() -> Tensor:
        optimizer.zero_grad()
        expected = Calibration(*logs.exp()).expect(error, moved).clamp_min(1e-3)
        loss = (true / expected + expected.log()).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(surprise)  # type: ignore[no-untyped-call]
    return Calibration(*(round(factor, 3) for factor in logs.detach().exp().tolist()))


def tabulate_with(observed: Sequence[Observed], calibration: Calibration) -> dict[str, Any]:
    """Tabulate the errors that are expected with a calibration against those found, see `calibration.tabulate`."""
    expected = [calibration.expect(photo.error, photo.moved).numpy() for photo in observed]
    return tabulate(np.stack(expected), np.stack([photo.true.numpy() for photo in observed]))

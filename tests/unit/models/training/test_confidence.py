"""The calibration of `compact`'s confidence, fitted to errors of a known law and to those of the shipped network."""

import numpy as np
import pytest
import torch
from tests import photographs

from retint_models.evaluation.calibration import errors_at_places
from retint_models.evaluation.pictures import to_pixels, to_tensor
from retint_models.evaluation.samples import ColorSample
from retint_models.networks import registry
from retint_models.networks.color import rec709_luma
from retint_models.networks.compact import Calibration, CompactColorizer
from retint_models.training import confidence
from retint_models.training.confidence import Observed

GAIN = (2.5, 1.8)


def draw_places(law: Calibration, seed: int, count: int = 20_000) -> Observed:
    """Draw places whose errors are exponential about what a calibration expects."""
    rng = np.random.default_rng(seed)
    error, moved = torch.from_numpy(rng.uniform(4, 14, count)), torch.from_numpy(rng.exponential(0.1, count))
    return Observed(error, moved, law.expect(error, moved) * torch.from_numpy(rng.exponential(1, count)))


@pytest.fixture(scope="module")
def sample() -> ColorSample:
    true = photographs.color_photo(3, 256)
    return ColorSample("3.jpg", "city", "CC0", true, to_pixels(rec709_luma(to_tensor(true)).expand(3, -1, -1)))


@pytest.mark.parametrize("law", [Calibration(1.3, 45.0), Calibration(0.8, 20.0)])
def test_the_law_of_errors_is_found_again(law: Calibration) -> None:
    fitted = confidence.fit([draw_places(law, seed) for seed in range(4)])
    assert fitted.error == pytest.approx(law.error, rel=0.03)
    assert fitted.chroma == pytest.approx(law.chroma, rel=0.06)


def test_a_calibration_closes_the_gap_on_photographs_that_did_not_fit_it() -> None:
    law = Calibration(1.4, 40.0)
    fitted = confidence.fit([draw_places(law, seed) for seed in range(3)])
    others = [draw_places(law, seed, 2000) for seed in range(3, 9)]
    plain, mended = (confidence.tabulate_with(others, each) for each in (Calibration(), fitted))
    assert plain["gap"] > 3 > 0.5 > mended["gap"]
    assert mended["rank_correlation"] > plain["rank_correlation"]


def test_what_is_observed_is_what_the_layer_makes(sample: ColorSample) -> None:
    colorizer = CompactColorizer(registry.card("compact"))
    layer = colorizer([sample.gray], {"gain": GAIN[0], "limit": GAIN[1]})[0]
    expected, true = errors_at_places(sample, layer)
    observed = confidence.observe(colorizer.network, sample, [GAIN])
    assert np.abs(observed.true.numpy() - true).mean() < 0.3, "but for 8 bits"
    ours = colorizer.calibration.expect(observed.error, observed.moved).numpy()
    assert np.abs(ours - expected).mean() < 0.3


def test_each_gain_adds_its_places(sample: ColorSample) -> None:
    network = CompactColorizer(registry.card("compact")).network
    both = confidence.observe(network, sample, [(1.0, 1.0), GAIN])
    error, moved, true = (part.chunk(2) for part in both)
    assert torch.equal(*error), "what the network says is said before a gain"
    assert moved[0].abs().max() == 0 < moved[1].mean()
    assert not torch.equal(*true)

"""What speaks against a result raises its risk."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.sample_layers import color_layer, density_layer, unsure_layer

from retint_workers.imaging.risk import measure_risk


def layer_of(confidence: int) -> NDArray[np.uint8]:
    values = np.full((32, 32), confidence, np.uint8)
    values[:16] = min(255, confidence + 2)
    return values


def test_a_network_that_is_unsure_makes_a_riskier_result() -> None:
    risks = [measure_risk(unsure_layer(layer_of(confidence)), None) for confidence in (20, 120, 253)]
    assert risks == sorted(risks, reverse=True)
    assert risks[0] == pytest.approx(0.5 * (1 - 21 / 255), abs=1e-3)
    untold = measure_risk(unsure_layer(np.full((32, 32), 255, np.uint8)), None)
    assert untold == 0.25, "a network that does not say how sure it is counts as half sure"


def test_color_beyond_the_gamut_is_a_risk() -> None:
    true = color_layer(np.full((32, 32, 3), (140, 120, 100), np.uint8))
    beyond = np.array(true.chroma)
    beyond[:, :8] = 0.5
    assert measure_risk(true, None) == 0.25
    assert measure_risk(replace(true, chroma=beyond), None) == pytest.approx(0.25 + 0.2 / 4)


@pytest.mark.parametrize(("gate", "risk"), [(0.0, 0.0), (0.5, 0.15), (1.0, 0.0), (0.25, 0.075)])
def test_a_defader_that_is_undecided_is_a_risk(gate: float, risk: float) -> None:
    assert measure_risk(None, density_layer(gate=gate)) == pytest.approx(risk)

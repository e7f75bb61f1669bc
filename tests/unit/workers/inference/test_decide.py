"""Both decisions about one photo: the defader looks at the colorized proxy."""

from typing import Any

import numpy as np
import pytest
from tests import photographs, sample_layers

from retint.errors import Transient
from retint.recipes import parse
from retint.settings import Settings
from retint_models.layers.rendering import colorize_proxy
from retint_workers.inference import loading
from retint_workers.inference.decide import decide

PROXY = np.repeat(photographs.to_gray(photographs.color_photo(1, 64))[..., None], 3, axis=2)
COLOR, DENSITY = sample_layers.color_layer(photographs.color_photo(1, 64)), sample_layers.density_layer()


class SampleNetwork:
    """A network that always decides for the same layer, and records what it looked at."""

    at_once = 1

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.inputs: list[Any] = []

    def __call__(self, proxies: list[Any], **settings: Any) -> list[Any]:
        if self.layer is None:
            raise RuntimeError("no decision")
        self.inputs.extend(proxies)
        return [self.layer] * len(proxies)


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> dict[str, SampleNetwork]:
    """Sample networks in place of all colorizers and defaders."""
    made = {"colorizer": SampleNetwork(COLOR), "defader": SampleNetwork(DENSITY)}
    monkeypatch.setattr(loading, "load_network", lambda kind, *_: made[kind])
    return made


def test_the_defader_looks_at_the_colorized_proxy(networks: dict[str, SampleNetwork]) -> None:
    color, density = decide(PROXY, "neutral", parse({"strength": 0.5}), Settings())
    assert color is COLOR
    assert density is not None
    assert density.strength == 0.5
    assert (networks["colorizer"].inputs[0] == PROXY).all()
    assert (networks["defader"].inputs[0] == colorize_proxy(PROXY, COLOR)).all()


@pytest.mark.parametrize(("kind", "recipe"), [("color", {}), ("neutral", {"colorizer": "keep"})])
def test_without_a_color_layer_the_defader_looks_at_the_proxy(
    kind: str, recipe: dict[str, object], networks: dict[str, SampleNetwork]
) -> None:
    color, _ = decide(PROXY, kind, parse(recipe), Settings())
    assert color is None
    assert (networks["defader"].inputs[0] == PROXY).all()


def test_nothing_is_decided_that_the_recipe_does_not_ask_for(networks: dict[str, SampleNetwork]) -> None:
    assert decide(PROXY, "color", parse({"insist": True, "defader": "keep"}), Settings()) == (COLOR, None)
    assert decide(PROXY, "neutral", parse({"colorizer": "keep", "strength": 0}), Settings()) == (None, None)
    assert not networks["defader"].inputs


def test_a_network_that_fails_raises_its_error(networks: dict[str, SampleNetwork]) -> None:
    networks["defader"].layer = None
    with pytest.raises(Transient) as failure:
        decide(PROXY, "neutral", parse({}), Settings())
    assert failure.value.code == "network_failed"

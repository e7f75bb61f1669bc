"""Both decisions about photos: the colorizer looks at the repaired proxy, or the defader at the colorized one."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests import photographs, sample_layers

from retint.errors import NotFound, RetintError, Transient
from retint.recipes import Recipe, parse
from retint.settings import Settings
from retint_models.layers.rendering import colorize_proxy, repair_proxy
from retint_models.layers.types import Layers, Order
from retint_workers.inference import loading
from retint_workers.inference.decide import decide, decide_photo

GRAY = np.repeat(photographs.to_gray(photographs.color_photo(1, 64))[..., None], 3, axis=2)
COLOR, DENSITY = sample_layers.color_layer(photographs.color_photo(1, 64)), sample_layers.density_layer()


class SampleNetwork:
    """A network that decides for the same layer, numbered in its record, and records what it looked at."""

    def __init__(self, layer: Any, at_once: int) -> None:
        self.layer, self.at_once = layer, at_once
        self.inputs: list[Any] = []

    def __call__(self, proxies: list[Any], **settings: Any) -> list[Any]:
        if self.layer is None:
            raise RuntimeError("no decision")
        self.inputs.extend(proxies)
        return [replace(self.layer, record={"mean": float(proxy.mean())}) for proxy in proxies]


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> dict[str, SampleNetwork]:
    """Sample networks in place of all colorizers and defaders; they take different numbers of proxies at once."""
    made = {"colorizer": SampleNetwork(COLOR, 2), "defader": SampleNetwork(DENSITY, 3)}
    monkeypatch.setattr(loading, "load_network", lambda kind, *_: made[kind])
    return made


def shades(count: int) -> list[Any]:
    """Proxies that differ in tone."""
    return [np.clip(GRAY.astype(int) + 5 * number, 0, 255).astype(np.uint8) for number in range(count)]


def decide_all(proxies: list[Any], recipe: Recipe, order: Order = Order.TONE_FIRST) -> Iterator[Layers | RetintError]:
    return decide(proxies, recipe, Settings(), order=order)


def test_the_colorizer_looks_at_the_fully_repaired_proxy(networks: dict[str, SampleNetwork]) -> None:
    proxies = shades(7)
    pairs = list(decide_all(proxies, parse({"strength": 0.5})))
    for number, (proxy, pair) in enumerate(zip(proxies, pairs, strict=True)):
        assert not isinstance(pair, RetintError)
        color, density = pair
        assert color is not None
        assert density is not None
        assert density.strength == 0.5
        assert (networks["defader"].inputs[number] == proxy).all()
        repaired = repair_proxy(proxy, replace(density, strength=1))
        assert (networks["colorizer"].inputs[number] == repaired).all()
        assert (repaired != proxy).any()
        assert (density.record["mean"], color.record["mean"]) == (proxy.mean(), repaired.mean())


def test_color_first_the_defader_looks_at_the_colorized_proxy(networks: dict[str, SampleNetwork]) -> None:
    (pair,) = decide_all([GRAY], parse({}), Order.COLOR_FIRST)
    assert not isinstance(pair, RetintError)
    assert [layer.order for layer in pair if layer] == [Order.COLOR_FIRST] * 2
    assert (networks["colorizer"].inputs[0] == GRAY).all()
    assert (networks["defader"].inputs[0] == colorize_proxy(GRAY, COLOR)).all()


@pytest.mark.parametrize("order", Order)
def test_an_error_takes_its_proxys_place_and_no_other(order: Order, networks: dict[str, SampleNetwork]) -> None:
    proxies = shades(5)
    proxies[1] = NotFound("There is no such proxy.")
    outcomes = list(decide_all(proxies, parse({}), order))
    assert [isinstance(outcome, RetintError) for outcome in outcomes] == [False, True, False, False, False]
    first = 1 if order is Order.TONE_FIRST else 0
    means = [outcome[first].record["mean"] for outcome in outcomes if not isinstance(outcome, RetintError)]  # type: ignore[union-attr]
    assert means == [proxy.mean() for proxy in proxies if not isinstance(proxy, RetintError)]


def test_without_a_defader_the_colorizer_looks_at_the_proxy(networks: dict[str, SampleNetwork]) -> None:
    (pair,) = decide_all([GRAY], parse({"defader": "keep"}))
    assert not isinstance(pair, RetintError)
    assert pair[1] is None
    assert (networks["colorizer"].inputs[0] == GRAY).all()


@pytest.mark.parametrize(
    ("kind", "recipe", "wanted"),
    [
        ("neutral", {}, (True, True)),
        ("toned", {"strength": 0}, (True, True)),  # the colorizer looks through it
        ("neutral", {"colorizer": "keep"}, (False, True)),
        ("neutral", {"colorizer": "keep", "strength": 0}, (False, False)),
        ("color", {}, (False, True)),
        ("color", {"strength": 0}, (False, False)),
        ("color", {"insist": True, "defader": "keep"}, (True, False)),
        ("blank", {}, (False, False)),
        ("blank", {"insist": True}, (True, True)),
        ("document", {}, (False, False)),
    ],
)
def test_only_what_recipe_and_kind_ask_for_is_decided(
    kind: str, recipe: dict[str, object], wanted: tuple[bool, bool], networks: dict[str, SampleNetwork]
) -> None:
    layers = decide_photo(GRAY, kind, parse(recipe), Settings())
    assert tuple(layer is not None for layer in layers) == wanted
    assert (bool(networks["colorizer"].inputs), bool(networks["defader"].inputs)) == wanted


def test_a_network_that_fails_raises_its_error(networks: dict[str, SampleNetwork]) -> None:
    networks["defader"].layer = None
    with pytest.raises(Transient) as failure:
        decide_photo(GRAY, "neutral", parse({}), Settings())
    assert failure.value.code == "network_failed"

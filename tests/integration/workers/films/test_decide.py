"""Decisions about films: each scene's tone first, and every frame's color through it."""

from pathlib import Path
from typing import Any

import pytest
from numpy.typing import NDArray
from tests import films, sample_layers

from retint import recipes
from retint.settings import Settings
from retint_models.layers.rendering import repair_proxy
from retint_models.layers.types import DensityLayer, Order
from retint_workers.films import color_film, decide, density_zip, ingest
from retint_workers.inference import loading

SCENES = {True: 0.3, False: 0.1}
"""How much density is changed in a scene that is dark, or bright."""


class SampleNetwork:
    """A network of either kind, which records what it looked at."""

    at_once = 4

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.inputs: list[NDArray[Any]] = []

    def __call__(self, proxies: list[NDArray[Any]], **settings: Any) -> list[Any]:
        self.inputs += proxies
        if self.kind == "defader":
            return [repair_of(proxy) for proxy in proxies]
        return [sample_layers.color_layer(proxy[::4, ::4]) for proxy in proxies]


def repair_of(proxy: NDArray[Any]) -> DensityLayer:
    return sample_layers.density_layer(change=SCENES[bool(proxy.mean() < 128)])


@pytest.fixture
def networks(monkeypatch: pytest.MonkeyPatch) -> dict[str, SampleNetwork]:
    made = {kind: SampleNetwork(kind) for kind in ("colorizer", "defader")}
    monkeypatch.setattr(loading, "load_network", lambda kind, *_: made[kind])
    return made


FRAMES = [frame // 2 + (0 if number < 16 else 128) for number, frame in enumerate(films.two_scenes(32, size=(64, 48)))]
"""A dark scene and a bright one, 16 frames each."""


@pytest.fixture
def film(tmp_path: Path) -> Path:
    return films.write(tmp_path / "film.mkv", FRAMES)


def test_the_colorizer_looks_at_each_frame_through_the_repair_of_its_scene(
    film: Path, networks: dict[str, SampleNetwork], settings: Settings
) -> None:
    recipe = recipes.parse({"strength": 0.5})
    facts = ingest.ingest(film, recipe, settings).facts
    assert facts["scenes"] == [0, 16]
    color, density = decide.decide(film, film.parent, facts, recipe, settings)
    assert color is not None
    assert density is not None
    assert {round(float(proxy.mean())) // 100 for proxy in networks["defader"].inputs} == {0, 1}, "as the film is"
    for seen, frame in zip(networks["colorizer"].inputs, FRAMES, strict=True):
        assert abs(seen.mean() - repair_proxy(frame, repair_of(frame)).mean()) < 2
        assert abs(seen.mean() - frame.mean()) > 4
    assert density_zip.read_layer(density, 0).order is Order.TONE_FIRST
    assert color_film.read_record(color)["order"] == Order.TONE_FIRST


def test_a_color_film_of_the_version_before_is_defaded_color_first(
    film: Path, networks: dict[str, SampleNetwork], settings: Settings
) -> None:
    recipe = recipes.parse({})
    facts = ingest.ingest(film, recipe, settings).facts
    color = decide.colorize(film, film.parent, facts, recipe, None, settings)
    density = decide.defade(film, film.parent, facts, recipe, color, settings)
    assert {density_zip.read_layer(density, start).order for start in (0, 16)} == {Order.COLOR_FIRST}
    assert len(networks["defader"].inputs) == 2

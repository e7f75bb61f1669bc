"""The gpu stages with a real store: what networks are given, and what threads do while they run."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import structlog
from numpy.typing import NDArray
from PIL import Image
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs
from tests import sample_layers
from tests.leases import new_lease

from retint.errors import InvalidPhoto, RetintError, Transient
from retint.jobs.leases import Done, Lease
from retint.lifecycle import Stage
from retint.services import Services
from retint.settings import Settings
from retint.stores.directory import DirectoryStore
from retint_models.layers.types import ColorLayer, DensityLayer, Order
from retint_workers.beats import Beat
from retint_workers.inference import loading
from retint_workers.queue import network_runs, stages, tasks


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    made = Services.connect(Settings(data=tmp_path, device="cpu"))
    made.store.prepare()
    yield made
    made.engine.dispose()


def make_leases(services: Services, count: int, **recipe: Any) -> list[Lease]:
    """Make leases on ingested photos of one batch, with their proxies in the store."""
    made = []
    recipe = {"defader": "keep"} | recipe
    for number in range(count):
        files, facts = {"proxy": f"proxies/{number}.png"}, {Stage.INGEST: {"kind": "neutral"}}
        made.append(new_lease(str(number), Stage.COLORIZE, recipe, attempt=2, files=files, facts=facts))
        buffer = io.BytesIO()
        Image.fromarray(np.full((48, 64, 3), 40 + number, np.uint8)).save(buffer, "PNG")
        services.store.put(files["proxy"], buffer.getvalue(), "image/png")
    return made


class CallbackNetwork:
    """A network that takes one picture per call, and calls back each time."""

    at_once = 1

    def __init__(self, meanwhile: Callable[[int], None]) -> None:
        self.meanwhile = meanwhile
        self.calls = 0

    def __call__(self, proxies: list[NDArray[Any]], settings: Any) -> list[ColorLayer]:
        self.calls += 1
        self.meanwhile(self.calls)
        [picture] = proxies
        small = (picture[::4, ::4, 0] / 255).astype(np.float16)
        return [ColorLayer(np.stack([small, small]), small, np.full(small.shape, 9, np.uint8), {})]


def test_threads_read_and_write_while_the_network_runs(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = make_leases(services, 4)
    first_call, second_call, read, written = Event(), Event(), Event(), Event()

    class Slow(DirectoryStore):
        """Reads the last proxy during the first call, writes the first layer during the second."""

        def open(self, key: str, *rest: Any, **others: Any) -> Any:
            if key == bundle[3].files["proxy"]:
                assert first_call.wait(20), "the network waits for what it does not need yet"
                read.set()
            return super().open(key, *rest, **others)

        def put(self, key: str, *rest: Any) -> None:
            if key.startswith(bundle[0].file_key("")):
                assert second_call.wait(20), "the network waits for a layer to be written"
                written.set()
            super().put(key, *rest)

    def meanwhile(call: int) -> None:
        if call == 1:
            first_call.set()
            assert read.wait(20), "nothing is read while the network runs"
        elif call == 2:
            second_call.set()
            assert written.wait(20), "nothing is written while the network runs"

    slow = Services(services.settings, services.engine, Slow(services.settings.data / "store"))
    monkeypatch.setattr(loading, "load_network", lambda *_: CallbackNetwork(meanwhile))
    monkeypatch.setattr(network_runs, "WRITE_LAG_S", 60)
    ended = list(stages.run_colorize(slow, bundle, lambda: True))
    assert [lease for lease, _ in ended] == bundle
    assert all(isinstance(outcome, Done) for _, outcome in ended)


def test_lines_of_the_threads_of_a_stage_name_the_job(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    log = structlog.get_logger()

    class Talking(DirectoryStore):
        def open(self, key: str, *rest: Any, **others: Any) -> Any:
            log.info("reads", key=key)
            return super().open(key, *rest, **others)

        def put(self, key: str, *rest: Any) -> None:
            log.info("writes", key=key)
            super().put(key, *rest)

    bundle = make_leases(services, 4)
    talking = Services(services.settings, services.engine, Talking(services.settings.data / "store"))
    monkeypatch.setattr(loading, "load_network", lambda *_: CallbackNetwork(lambda _: None))
    with capture_logs(processors=[merge_contextvars]) as lines:
        list(stages.run_colorize(talking, bundle, lambda: True))
    found = {line["key"]: line for line in lines if line["event"] in ("reads", "writes")}
    for lease in bundle:
        for key in (lease.files["proxy"], lease.file_key("color.safetensors")):
            assert found[key].items() >= lease.log_fields.items()


def test_lines_of_a_stage_name_the_photo_at_hand(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    log = structlog.get_logger()
    bundle = [new_lease(name, Stage.INGEST, {}) for name in ("first", "second")]
    for lease in bundle:
        services.store.put(lease.original_key, b"no picture")

    def ingest(*_: Any) -> None:
        log.info("ingests")
        raise InvalidPhoto("This is not a photograph.")

    monkeypatch.setattr("retint_workers.imaging.ingest.ingest", ingest)
    with capture_logs(processors=[merge_contextvars]) as lines:
        for _ in stages.run_ingest(services, bundle, lambda: True):
            log.info("between")
    assert [line["event"] for line in lines] == ["ingests", "between"] * 2
    assert [line.get("job_id") for line in lines[::2]] == [str(lease.job_id) for lease in bundle]
    assert not any("job_id" in line for line in lines[1::2])


def test_a_slow_network_waits_for_its_last_layer(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    network = CallbackNetwork(lambda _: None)
    monkeypatch.setattr(loading, "load_network", lambda *_: network)
    monkeypatch.setattr(network_runs, "WRITE_LAG_S", 0)
    for number, _ in enumerate(stages.run_colorize(services, make_leases(services, 3), lambda: True), start=1):
        assert network.calls == number


def test_an_outcome_is_told_when_its_files_are_in_the_store(services: Services) -> None:
    colorized, defaded = {"defader": "keep"}, {"colorizer": "keep", "defader": "compact-defade"}
    for stage, run, recipe in (
        (Stage.COLORIZE, stages.run_colorize, colorized),
        (Stage.DEFADE, stages.run_defade, defaded),
    ):
        told = 0
        for _, outcome in run(services, make_leases(services, 6, **recipe), lambda: True):
            assert isinstance(outcome, Done), stage
            [key] = outcome.files.values()
            assert services.store.size(key) > 100
            told += 1
        assert told == 6


def test_a_proxy_that_is_gone_costs_no_photo_but_its_own(services: Services) -> None:
    bundle = make_leases(services, 5)
    services.store.delete([bundle[2].files["proxy"]])
    ended = list(stages.run_colorize(services, bundle, lambda: True))
    assert sorted(lease.name for lease, outcome in ended if isinstance(outcome, Done)) == ["0", "1", "3", "4"]
    [gone] = [outcome for lease, outcome in ended if lease.name == "2"]
    assert isinstance(gone, RetintError)


def test_what_is_not_begun_in_time_is_left(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    network = CallbackNetwork(lambda _: None)
    monkeypatch.setattr(loading, "load_network", lambda *_: network)
    bundle = make_leases(services, 5)
    ended = list(tasks.yield_outcomes(stages.run_colorize, services, bundle, lambda: network.calls < 3))
    assert [lease for lease, _ in ended] == bundle[:3]


def test_a_bug_costs_no_photo_but_its_own(services: Services) -> None:
    bundle = make_leases(services, 4)
    tried: list[str] = []

    def work(_: Services, some: Sequence[Lease], beat: Beat) -> Iterator[tuple[Lease, Done]]:
        for lease in some:
            tried.append(lease.name)
            if lease.name == "1":
                raise ZeroDivisionError
            yield lease, Done()

    ended = list(tasks.yield_outcomes(work, services, bundle, lambda: True))
    assert [(lease.name, isinstance(outcome, Done)) for lease, outcome in ended] == [
        ("0", True),
        ("1", False),
        ("2", True),
        ("3", True),
    ]
    assert tried == ["0", "1", "1", "2", "3"]


def test_a_stage_that_ends_nothing_is_a_bug_however_late_it_is(services: Services) -> None:
    bundle = make_leases(services, 3)
    ended = list(tasks.yield_outcomes(lambda *_: iter(()), services, bundle, lambda: False))
    assert [lease for lease, _ in ended] == bundle
    assert all(isinstance(outcome, Transient) and outcome.code == "bug" for _, outcome in ended)


def test_a_network_that_is_not_here_is_said_of_every_photo(services: Services) -> None:
    bundle = make_leases(services, 3, colorizer="artistic")
    ended = list(tasks.yield_outcomes(stages.run_colorize, services, bundle, lambda: True))
    assert [lease for lease, _ in ended] == bundle
    for _, outcome in ended:
        assert isinstance(outcome, loading.NetworkUnavailable)
        assert "artistic" in outcome.message


# --- the order of the layers ------------------------------------------------------------------------------------------


class BrightnessNetwork:
    """A network of either kind whose layers record how bright what it looked at was."""

    at_once = 1

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __call__(self, proxies: list[NDArray[Any]], settings: Any = None) -> list[Any]:
        record = {"order": "tone-first", "mean": float(proxies[0].mean())}
        if self.kind == "defader":
            return [replace(sample_layers.density_layer(), record=record)]
        return [replace(sample_layers.color_layer(proxies[0]), record=record)]


def read_layers(services: Services, done: Done) -> dict[str, Any]:
    parsers: dict[str, Any] = {"color": ColorLayer.from_bytes, "density": DensityLayer.from_bytes}
    found = {}
    for name, key in done.files.items():
        with services.store.open(key) as source:
            found[name] = parsers[name](source.read())
    return found


def run_stage(stage: Stage, services: Services, lease: Lease) -> Done:
    ((_, outcome),) = tasks.yield_outcomes(stages.STAGES[stage], services, [lease], lambda: True)
    assert isinstance(outcome, Done)
    return outcome


def test_colorize_hands_the_density_layer_on_and_defade_adopts_it(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_network", lambda kind, *_: BrightnessNetwork(kind))
    (lease,) = make_leases(services, 1, defader="compact-defade")
    done = run_stage(Stage.COLORIZE, services, lease)
    layers = read_layers(services, done)
    assert layers["density"].record["mean"] == 40, "it was decided on the proxy as it is"
    assert abs(layers["color"].record["mean"] - 40) > 5, "it was decided on the repaired proxy"
    assert run_stage(Stage.DEFADE, services, replace(lease, files=lease.files | done.files)) == Done()


def test_defade_decides_where_nothing_was_colorized(services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "load_network", lambda kind, *_: BrightnessNetwork(kind))
    (lease,) = make_leases(services, 1, defader="compact-defade", colorizer="keep")
    assert run_stage(Stage.COLORIZE, services, lease) == Done()
    layers = read_layers(services, run_stage(Stage.DEFADE, services, lease))
    assert (layers["density"].record["mean"], layers["density"].order) == (40, Order.TONE_FIRST)


def test_color_that_a_worker_of_the_version_before_decided_is_defaded_color_first(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_network", lambda kind, *_: BrightnessNetwork(kind))
    (lease,) = make_leases(services, 1, defader="compact-defade")
    red = sample_layers.color_layer(np.broadcast_to(np.array([200, 20, 20], np.uint8), (8, 8, 3)))
    services.store.put("former.safetensors", replace(red, record={}).to_bytes(), "application/octet-stream")
    lease = replace(lease, files=lease.files | {"color": "former.safetensors"})
    layers = read_layers(services, run_stage(Stage.DEFADE, services, lease))
    assert layers["density"].order is Order.COLOR_FIRST
    assert layers["density"].record["mean"] != 40, "it was decided on the colorized proxy"


def test_a_layer_that_cannot_be_read_is_a_fault_that_another_worker_may_cure(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "load_network", lambda kind, *_: BrightnessNetwork(kind))
    (lease,) = make_leases(services, 1, defader="compact-defade")
    newer = replace(sample_layers.color_layer(np.zeros((8, 8, 3))), record={"order": "sideways"})
    services.store.put("newer.safetensors", newer.to_bytes(), "application/octet-stream")
    lease = replace(lease, files=lease.files | {"color": "newer.safetensors"})
    ((_, outcome),) = tasks.yield_outcomes(stages.run_defade, services, [lease], lambda: True)
    assert isinstance(outcome, Transient)
    assert outcome.code == "layer_unreadable"

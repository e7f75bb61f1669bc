"""What operators and autoscalers are told of the fleets, and what people are told who wait for a worker."""

from uuid import UUID

import pytest
from flask import Flask
from pydantic import SecretStr
from sqlalchemy import update
from tests.integration.web.conftest import Person, csrf_token

from retint import demand
from retint.columns import now
from retint.demand import Speeds
from retint.fleet_tables import Fleet
from retint.jobs import tallies
from retint.services import Services
from retint.settings import Driver

METRICS = "the-token-of-monitoring"

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


def assess(services: Services, **live: int) -> None:
    with services.begin() as session:
        demand.assess(session, services.settings, tallies.list_loads(session), Speeds(), live)


def drive(app: Flask, driver: Driver, **settings: object) -> None:
    """Let the portal believe in another driver."""
    services: Services = app.extensions["retint"]
    changed = services.settings.model_copy(update={"fleet_driver": driver, **settings})
    app.extensions["retint"] = type(services)(changed, services.engine, services.store)


def set_fleet(person: Person, name: str, **values: object) -> int:
    browser = person.browser()
    data = {"csrf_token": csrf_token(browser, "/admin/"), **values}
    return browser.post(f"/admin/fleets/{name}", data=data).status_code


def test_an_autoscaler_reads_what_is_wanted_with_the_token_for_metrics(
    app: Flask, admin: Person, services: Services
) -> None:
    limits = {"least": 0, "most": 6, "wait_s": 60}
    assert admin.api("PUT", "/fleets/gpu", json=limits).json["mode"] == "automatic"
    drive(app, Driver.HAND, metrics_token=SecretStr(METRICS))
    path, shown = "/api/v1/fleets/gpu/demand", {"Authorization": f"Bearer {METRICS}"}
    client = app.test_client()
    answer = client.get(path, headers=shown)
    assert (answer.status_code, answer.get_json()["code"]) == (503, "demand_unknown"), "it then changes nothing"
    admin.deposit(admin.open_batch())
    assess(services)
    found = client.get(path, headers=shown).get_json()
    assert (found["wanted"], found["coming"], found["most"]) == (1, 1, 6)
    assert found["short_since"]
    assert "coming" in found["why"]
    assert admin.api("GET", "/fleets/gpu/demand").json == found
    assert client.get(path, headers={"Authorization": "Bearer wrong"}).status_code == 401
    assert client.get("/api/v1/fleets/gpu", headers=shown).status_code == 401, "the token is good for this alone"
    assert client.get("/api/v1/fleets/tpu/demand", headers=shown).status_code == 404


@pytest.mark.parametrize(
    "body",
    [{}, {"least": 1}, {"wanted": 1, "least": 0, "most": 3}, {"least": 4, "most": 3}, {"wanted": 1, "wait_s": 60}],
)
def test_settings_of_a_fleet_that_contradict_each_other_are_refused(admin: Person, body: dict[str, int]) -> None:
    before = admin.api("GET", "/fleets/gpu").json
    answer = admin.api("PUT", "/fleets/gpu", json=body)
    assert answer.status_code == 422
    assert answer.json["detail"].endswith(".")
    assert admin.api("GET", "/fleets/gpu").json == before


def test_limits_are_set_on_the_page_and_what_is_wanted_is_told_with_the_reason(
    admin: Person, services: Services
) -> None:
    assert set_fleet(admin, "gpu", mode="automatic", least=0, most=3, wait_min=10) == 303
    assess(services)
    page = admin.browser().get("/admin/").text
    assert "0</span> wanted" in page
    assert "Nothing waits or runs." in page
    assert 'id="automatic-gpu" checked' in page
    admin.deposit(admin.open_batch())
    assess(services)
    assert "work is coming: 1 at the stages before" in admin.browser().get("/admin/live").text
    assert set_fleet(admin, "gpu", mode="fixed", wanted=2) == 303
    assert "The operator has set this number." in admin.browser().get("/admin/").text
    assert set_fleet(admin, "gpu", mode="automatic", least=4, most=3, wait_min=10) == 400
    assert set_fleet(admin, "gpu", mode="automatic", least=0, most=3, wait_min=0) == 400


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (Driver.UP, "it starts new ones at once"),
        (Driver.COMPOSE, "docker compose --profile gpu up --detach --no-recreate --scale cpu-worker=1"),
        (Driver.KUBERNETES, "The chart&#39;s maximum, 8 cpu and 4 gpu workers, holds whatever is set here."),
        (Driver.HAND, "Nothing here starts or stops workers by itself."),
    ],
)
def test_the_page_promises_what_the_driver_can_do(app: Flask, admin: Person, driver: Driver, words: str) -> None:
    drive(app, driver, most_cpu_workers=8, most_gpu_workers=4)
    page = admin.browser().get("/admin/").text
    assert words in page
    assert ("starting" in page) == (driver in (Driver.UP, Driver.KUBERNETES))


def test_workers_that_never_come_are_told_on_the_page_and_in_a_metric(
    app: Flask, admin: Person, services: Services
) -> None:
    drive(app, Driver.KUBERNETES, metrics_token=SecretStr(METRICS))
    assert admin.api("PUT", "/fleets/gpu", json={"wanted": 2}).status_code == 200
    assess(services, cpu=1)
    assert "2 starting" in admin.browser().get("/admin/").text
    with services.begin() as session:
        session.execute(update(Fleet).where(Fleet.name == "gpu").values(short_since=now(-725.0)))
    assert "2 missing for 12 min: see whether the cluster has a free node" in admin.browser().get("/admin/").text
    assert admin.api("GET", "/fleets/gpu/demand").json["is_unmet"] is True
    shown = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {METRICS}"}).text
    assert 'retint_workers_short_seconds{fleet="gpu"} 7' in shown
    assert 'retint_workers_short_seconds{fleet="cpu"} 0.0' in shown


def test_who_deposits_is_told_that_a_worker_is_being_waited_for(
    app: Flask, admin: Person, member: Person, services: Services, worker: UUID
) -> None:
    batch_id = member.open_batch()
    member.deposit(batch_id)
    assess(services, gpu=1)
    page = f"/batches/{batch_id}"
    assert "the photos wait until the operator starts one" in member.browser().get(page).text
    drive(app, Driver.UP)
    assert "A worker is being started" in member.browser().get(page).text
    with services.begin() as session:
        session.execute(update(Fleet).values(short_since=now(-725.0)))
    assert "No cpu worker has come for 12 min." in member.browser().get(f"{page}/live").text
    admin.api("PUT", "/fleets/cpu", json={"wanted": 0})
    assert "none is wanted" in member.browser().get(page).text
    member.api("POST", f"/batches/{batch_id}/pause")
    assert "none is wanted" not in member.browser().get(page).text

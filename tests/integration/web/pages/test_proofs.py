"""The proof of a batch in the portal and by the API: opened, looked at, released."""

import html
import re
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select
from tests.integration.web.conftest import JPEG, Person, csrf_token

from retint.audit_tables import AuditEntry
from retint.services import Services

EMBEDDED = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


@pytest.fixture
def batch_id(member: Person) -> str:
    """A paused batch of four photos."""
    batch_id = member.open_batch("Box 7", paused=True)
    for number in range(4):
        member.deposit(batch_id, f"album/{number}.jpg", JPEG + bytes([number]))
    return batch_id


def open_proof(member: Person, batch_id: str, **body: Any) -> dict[str, Any]:
    answer = member.api("POST", f"/batches/{batch_id}/proof", json=body)
    assert answer.status_code == 201, answer.text
    return dict(answer.json)


def post(browser: FlaskClient, path: str, **fields: Any) -> Any:
    return browser.post(path, data={"csrf_token": csrf_token(browser, "/deposit"), **fields})


def ids(proof: dict[str, Any], column: int) -> list[str]:
    return [each["id"] for each in proof["columns"][column]["tries"]]


def test_a_batch_is_proved_and_released_by_the_api(
    member: Person, batch_id: str, restore: Callable[..., None], services: Services
) -> None:
    assert member.api("GET", f"/batches/{batch_id}").json["paused"]
    proof = open_proof(member, batch_id)
    assert [each["recipe"]["colorizer"] for each in proof["columns"]] == ["compact", "compact-vivid"]
    assert open_proof(member, batch_id) == proof
    assert (proof["photos"], proof["can_begin"], proof["is_over"]) == (4, True, False)
    assert proof["columns"][0]["photo_s"] is None
    restore(*ids(proof, 1))
    again = member.api("GET", f"/batches/{batch_id}/proof").json
    assert [each["state"] for each in again["columns"][1]["tries"]] == ["restored"] * 4
    assert set(again["columns"][1]["photo_s"]) == {"cpu", "gpu"}
    wanted = again["columns"][1]["recipe_hash"]
    released = member.api("POST", f"/batches/{batch_id}/proof/release", json={"recipe_hash": wanted})
    assert (released.status_code, released.json["can_begin"]) == (200, False)
    batch = member.api("GET", f"/batches/{batch_id}").json
    assert (batch["paused"], batch["recipe_hash"]) == (False, wanted)
    other = again["columns"][0]["recipe_hash"]
    refused = member.api("POST", f"/batches/{batch_id}/proof/release", json={"recipe_hash": other})
    assert (refused.status_code, refused.json["code"]) == (409, "batch_not_paused")
    with services.read() as session:
        entries = session.scalars(select(AuditEntry).where(AuditEntry.action == "batch_released")).all()
    [(subject, before, after)] = [(entry.subject, entry.before, entry.after) for entry in entries]
    assert (subject, before == after) == (batch_id, False)


@EMBEDDED
def test_other_recipes_are_proved_after_a_discard(member: Person, batch_id: str) -> None:
    open_proof(member, batch_id)
    gray = {"colorizer": "keep"}
    refused = member.api("POST", f"/batches/{batch_id}/proof", json={"recipes": [gray]})
    assert (refused.status_code, refused.json["code"]) == (409, "has_proof")
    assert member.api("POST", f"/batches/{batch_id}/proof/discard").json["columns"] == []
    assert len(open_proof(member, batch_id, recipes=[gray])["columns"]) == 1
    items = member.api("GET", "/batches").json["items"]
    assert [each["id"] for each in items] == [batch_id]


@EMBEDDED
def test_nobody_proves_what_is_not_there(member: Person, stranger: Person, batch_id: str) -> None:
    proof = open_proof(member, batch_id)
    for method, path, body in (
        ("GET", "", None),
        ("POST", "", {}),
        ("POST", "/release", {"recipe_hash": proof["columns"][0]["recipe_hash"]}),
        ("POST", "/discard", None),
    ):
        assert stranger.api(method, f"/batches/{batch_id}/proof{path}", json=body).status_code == 404
    empty = member.api("POST", f"/batches/{member.open_batch(paused=True)}/proof", json={})
    assert (empty.status_code, empty.json["code"]) == (409, "nothing_to_prove")
    running = member.api("POST", f"/batches/{member.open_batch()}/proof", json={})
    assert (running.status_code, running.json["code"]) == (409, "batch_not_paused")


@EMBEDDED
def test_a_person_opens_a_proof_compares_and_releases_the_rest(
    member: Person, batch_id: str, restore: Callable[..., None]
) -> None:
    browser = member.browser()
    assert f'href="/batches/{batch_id}/proof"' in browser.get(f"/batches/{batch_id}").text
    form = browser.get(f"/batches/{batch_id}/proof").text
    assert re.findall(r'value="([\w-]+)" checked', form) == ["compact", "compact-vivid"]
    path = f"/batches/{batch_id}/proof"
    assert post(browser, path, network=["compact", "compact-vivid"]).status_code == 303
    page = browser.get(path).text
    assert page.count("Restore all 4 with this") == 2
    assert page.count("not known yet") == 2
    assert "0 of 8" in page
    proof = member.api("GET", f"/batches/{batch_id}/proof").json
    restore(*ids(proof, 0))
    open_ids = ",".join(ids(proof, 0))
    fragment = browser.get(f"{path}/live?open={open_ids}").text
    assert fragment.count('hx-swap-oob="true"') == 12, "four originals and their eight pictures"
    assert "4 of 8" in fragment
    assert browser.get(f"{path}/live").text.count('hx-swap-oob="true"') == 0
    assert f'href="{path}"' in browser.get(f"/jobs/{ids(proof, 0)[0]}").text
    assert browser.get(f"/batches/{_batch_of(member, ids(proof, 0)[0])}").headers["Location"] == path
    answer = post(browser, f"{path}/release", recipe=proof["columns"][0]["recipe_hash"])
    assert answer.headers["Location"] == f"/batches/{batch_id}"
    after = browser.get(path).text
    assert "The batch is restored with this." in after
    assert "Restore all" not in after
    again = post(browser, f"{path}/release", recipe=proof["columns"][1]["recipe_hash"])
    assert again.headers["Location"] == path
    assert "not paused" in html.unescape(browser.get(path).text)


def _batch_of(member: Person, job_id: str) -> str:
    return str(member.api("GET", f"/jobs/{job_id}").json["batch_id"])


@EMBEDDED
def test_the_deposit_form_opens_a_batch_that_waits_for_its_proof(member: Person) -> None:
    browser = member.browser()
    token = csrf_token(browser, "/deposit")
    for fields, paused in (({"prove": "1"}, True), ({}, False)):
        sent: Any = browser.post("/deposit/batches", data={"csrf_token": token, "name": "Box", **fields})
        batch_id = UUID(sent.json["page"].rpartition("/")[2])
        assert member.api("GET", f"/batches/{batch_id}").json["paused"] is paused


@EMBEDDED
def test_the_form_says_what_is_wrong(member: Person, batch_id: str) -> None:
    browser = member.browser()
    path = f"/batches/{batch_id}/proof"
    post(browser, path)
    assert "A proof has 1 to 3 recipes." in browser.get(path).text
    member.api("POST", f"/batches/{batch_id}/cancel")
    assert browser.get(path).headers["Location"] == f"/batches/{batch_id}"
    assert "Prove first" not in browser.get(f"/batches/{batch_id}").text

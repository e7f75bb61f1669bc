"""A portal whose store belongs to another database takes nothing, and says so."""

import json
from uuid import uuid4

import pytest
from tests.integration.web.conftest import Person

from retint.services import Services
from retint.stores import keys
from retint_web.app import create_app


@pytest.fixture
def restarted(services: Services, member: Person) -> Person:
    """The member of a portal that starts, unverified as after a start without the store, and finds another's store."""
    services.store.put(keys.IDENTITY, json.dumps({"id": str(uuid4()), "mark": 1}).encode())
    again = Services(services.settings, services.engine, services.store)
    return Person(member.identity, member.token, create_app(again))


def test_it_is_not_ready(restarted: Person) -> None:
    answer = restarted.app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json
    assert answer.json["store"].startswith("The store belongs to another database: correct RETINT_STORE_URL")
    assert (answer.json["database"], answer.json["broker"]) == ("ok", "ok")


def test_it_takes_no_file(restarted: Person, services: Services) -> None:
    batch_id = restarted.open_batch()
    answer = restarted.api("PUT", f"/batches/{batch_id}/files", data=b"bytes", query_string={"name": "a.jpg"})
    assert (answer.status_code, answer.json["code"]) == (503, "wrong_store")
    assert list(services.store.list(keys.ROOT)) == []

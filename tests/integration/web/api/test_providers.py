"""Sign-in providers by the API and by their page: what an administrator sets up."""

from typing import Any

import pytest
from flask import Flask
from tests.integration.web.conftest import Person
from tests.lying_provider import run_lying_provider

from retint.services import Services
from retint_web.app import create_app

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)
GIVEN: dict[str, Any] = {
    "name": "Museum account",
    "issuer": "https://login.museum.example",
    "client_id": "retint",
    "client_secret": "s3cret",
    "roles": {"conservation": "reviewer"},
}


def test_an_administrator_sets_a_provider_up_changes_and_removes_it(admin: Person) -> None:
    made = admin.api("POST", "/providers", json=GIVEN)
    assert (made.status_code, made.json["slug"], made.json["has_secret"]) == (201, "museum-account", True)
    assert made.json["is_listed"] is True  # the only institution here
    assert made.json["redirect_uri"] == "http://localhost/sign-in/with/museum-account/back"
    path = f"/providers/{made.json['id']}"
    changed = admin.api("PUT", path, json=GIVEN | {"client_secret": None, "is_active": False})
    assert (changed.json["is_active"], changed.json["has_secret"]) == (False, True)
    assert admin.api("POST", "/providers", json=GIVEN).json["slug"] == "museum-account-2"
    assert admin.api("POST", "/providers", json=GIVEN | {"slug": "museum-account"}).status_code == 409
    assert "s3cret" not in admin.api("GET", "/providers").text
    assert admin.api("GET", path).json["name"] == "Museum account"
    assert (
        admin.app.test_client().delete(f"/api/v1{path}", headers={"Authorization": f"Bearer {admin.token}"}).status_code
        == 204
    )
    assert admin.api("GET", path).status_code == 404


def test_where_there_are_many_institutions_a_provider_is_not_listed(admin: Person, stranger: Person) -> None:
    assert admin.api("POST", "/providers", json=GIVEN).json["is_listed"] is False
    assert stranger.api("GET", "/providers").json == {"items": []}


def test_check_tells_what_is_wrong(admin: Person, services: Services) -> None:
    with run_lying_provider() as running:
        made = admin.api("POST", "/providers", json=GIVEN | {"issuer": running.issuer}).json
        refused = admin.api("POST", f"/providers/{made['id']}/check")
        assert (refused.status_code, refused.json["code"]) == (502, "provider_failed")
        settings = services.settings.model_copy(update={"provider_hosts": running.host})
        app = create_app(Services(settings, services.engine, services.store))
        found = Person(admin.identity, admin.token, app).api("POST", f"/providers/{made['id']}/check")
        assert found.json["token_endpoint"] == f"{running.issuer}/token"


def test_the_page_keeps_what_was_entered_and_says_what_is_wrong(admin: Person, app: Flask) -> None:
    app.config["WTF_CSRF_ENABLED"] = False
    browser = admin.browser()
    assert "Nobody signs in by a provider yet" in browser.get("/admin/sign-in/").text
    form = {name: value for name, value in GIVEN.items() if name != "roles"}
    refused = browser.post("/admin/sign-in/new", data=form | {"roles": "conservation: reviewer"})
    assert refused.status_code == 400
    assert "is no line such as" in refused.text
    assert "https://login.museum.example" in refused.text
    assert "s3cret" not in refused.text
    values = form | {"scopes": "openid", "groups_claim": "groups", "is_active": "on"}
    made = browser.post("/admin/sign-in/new", data=values | {"roles": "CN=a,OU=b = Admin\n\nreaders=member"})
    assert made.status_code == 303, made.text
    page = browser.get(made.location)
    assert "CN=a,OU=b = admin" in page.text
    assert "http://localhost/sign-in/with/museum-account/back" in page.text
    assert browser.post(f"{made.location}/remove").status_code == 303
    assert browser.get(made.location).status_code == 404

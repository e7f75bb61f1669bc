"""What holds for every route of the portal, including future ones: the tests walk Flask's map of routes."""

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from flask import Flask
from tests.integration.web.conftest import Person, make_browser
from tests.sample_layers import unsure_layer
from tests.timing import AT_ONCE_S
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from retint import accounts, providers, uploads
from retint.notifications import webhooks
from retint.provider_tables import ProviderIdentity
from retint.roles import OPERATOR, Duty, Role
from retint.services import Services

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

PUBLIC = {
    "static",
    "health.healthz",
    "health.readyz",
    "health.metrics",  # which wants a token of its own
    "accounts.sign_in",
    "accounts.redeem",
    "accounts.forgot",
    "api.openapi",
    "reference.show",
    "api.describe_uploads",
    "provider_sign_in.begin",
    "provider_sign_in.back",
}
"""Routes that need no sign-in. A new one must be added here deliberately."""

TUS = {"HTTP_TUS_RESUMABLE": "1.0.0"}
SENT = {"HTTP_UPLOAD_OFFSET": "0", "CONTENT_TYPE": "application/offset+octet-stream"}
BODIES: dict[str, dict[str, Any]] = {
    "api.upload": {"data": b"bytes", "query_string": {"name": "a.jpg"}},
    "api.add_known": {"json": {"sha256": "0" * 64, "name": "a.jpg"}},
    "api.open_batch": {"json": {"name": "Box"}},
    "api.known": {"json": {"sha256": []}},
    "api.keep_photo": {"data": b"bytes"},
    "api.begin_trial": {"json": {"sha256": "0" * 64, "name": "a.jpg"}},
    "api.add_try": {"json": {"recipe": {"colorizer": "keep"}}},
    "api.release_batch": {"json": {"recipe_hash": "0" * 64}},
    "api.scale_fleet": {"json": {"wanted": 2}},
    "api.add_known_files": {"json": {"files": []}},
    "api.import_catalogue": {"data": b"filename,title\na.jpg,A\n"},
    "api.check_catalogue": {"data": b"filename,title\na.jpg,A\n"},
    "api.find_uploads": {"query_string": {"sha256": "0" * 64}},
    "api.open_upload": {"environ_overrides": TUS | {"HTTP_UPLOAD_LENGTH": "5"}},
    "api.send_upload": {"environ_overrides": TUS | SENT, "data": b"x"},
    "api.end_upload": {"environ_overrides": TUS},
    "api.judge": {"json": {"verdict": "approved", "seen_sha256": "0" * 64}},
    "api.rework": {"json": {"seen_sha256": "0" * 64}},
    "api.run_again": {"json": {"state": "refused"}},
    "api.add_webhook": {"json": {"url": "https://dams.example.org/retint", "kinds": ["batch.ended"]}},
    "api.change_webhook": {"json": {"url": "https://dams.example.org/retint", "kinds": ["batch.ended"]}},
    "api.choose_mail": {"json": {"kinds": {"batch.ended": True}}},
    "api.add_institution": {"json": {"name": "Another", "email": "kim@another.example"}},
    "api.change_institution": {"json": {"name": "Elsewhere"}},
    "institutions.add": {"data": {"name": "Another", "email": "kim@another.example"}},
    "institutions.change": {"data": {"name": "Elsewhere", "weight": "1"}},
}
PROVIDER = {"name": "House", "issuer": "https://127.0.0.1:9", "client_id": "retint", "roles": {"it": "admin"}}
BODIES |= {"api.add_provider": {"json": PROVIDER}, "api.change_provider": {"json": PROVIDER}}
BODIES |= {
    f"sending.{name}": BODIES[f"api.{name}"] for name in ("add_known_files", "open_upload", "send_upload", "end_upload")
}
"""What the deposit page's script sends is what the API takes."""
ADMIN: set[Duty] = {Role.ADMIN}
HOUSE: set[Duty] = {OPERATOR}
BOTH, REVIEWER = ADMIN | HOUSE, ADMIN | {Role.REVIEWER}
ROLES: dict[str, set[Duty]] = {
    "admin.index": BOTH,
    "admin.live": BOTH,
    "audit.export": BOTH,
    "audit.show": BOTH,
    "api.export_audit": BOTH,
    "api.list_audit": BOTH,
    "admin.scale": HOUSE,
    "admin.retry": ADMIN,
    "admin.retry_faults": HOUSE,
    "batches.retry": HOUSE,
    "photos.retry": HOUSE,
    "api.list_workers": HOUSE,
    "api.list_queues": HOUSE,
    "api.show_sweep": HOUSE,
    "api.show_fleet": HOUSE,
    "api.scale_fleet": HOUSE,
    "api.show_demand": HOUSE,
    "api.list_failures": ADMIN,
    "api.retry_failures": ADMIN,
    "api.list_faults": HOUSE,
    "api.retry_faults": HOUSE,
    "api.retry_job": HOUSE,
    "api.judge": REVIEWER,
    "api.rework": REVIEWER,
    "light_table.show": REVIEWER,
    "light_table.more": REVIEWER,
    "light_table.frame": REVIEWER,
    "light_table.judge": REVIEWER,
    "light_table.judge_here": REVIEWER,
    "light_table.rework": REVIEWER,
    "light_table.rework_here": REVIEWER,
    **{f"institutions.{name}": HOUSE for name in ("index", "add", "show", "change", "disable", "enable")},
    **{f"api.{name}_institution": HOUSE for name in ("add", "show", "change", "disable", "enable")},
    "api.list_institutions": HOUSE,
}
PEOPLE_PAGES = (
    "index", "invite", "show", "set_role", "disable", "enable", "reset_password", "end_session", "service_accounts",
    "make_service_account", "revoke_service_account",
)  # fmt: skip
PEOPLE_OPERATIONS = (
    "list_people", "invite_person", "show_person", "change_person", "make_link", "list_sessions", "end_session",
    "list_service_accounts", "make_service_account", "revoke_service_account",
)  # fmt: skip
ROLES |= dict.fromkeys((f"people.{page}" for page in PEOPLE_PAGES), ADMIN)
ROLES |= dict.fromkeys((f"api.{operation}" for operation in PEOPLE_OPERATIONS), ADMIN)
PROVIDER_PAGES = ("providers.index", "providers.new", "providers.show", "providers.remove", "provider_sign_in.try_out")
ROLES |= dict.fromkeys(PROVIDER_PAGES, ADMIN)
ROLES |= dict.fromkeys((f"api.{verb}_provider" for verb in ("add", "show", "change", "remove", "check")), ADMIN)
ROLES |= {"api.list_providers": ADMIN}
WEBHOOK_PAGES = ("index", "add", "show", "change", "pause", "resume", "rotate", "test", "send_again", "delete")
WEBHOOK_OPERATIONS = ("add", "show", "change", "delete", "pause", "resume", "rotate", "test")
ROLES |= dict.fromkeys((f"webhooks.{page}" for page in WEBHOOK_PAGES), ADMIN)
ROLES |= dict.fromkeys((f"api.{operation}_webhook" for operation in WEBHOOK_OPERATIONS), ADMIN)
ROLES |= dict.fromkeys(("api.list_webhooks", "api.list_notifications", "api.send_notification_again"), ADMIN)
"""Routes that not every user may use, and who may. A new one must be added here deliberately."""
OWNED = {"batch_id", "job_id", "session_id", "token_id", "trial_id", "upload_id", "user_id", "webhook_id"}
OWNED |= {"provider_id", "identity_id"}
"""Parameters of routes that name what an institution has."""
SECRET_NAME = "Grandmother's love letters"


@pytest.fixture
def app(app: Flask) -> Flask:
    # CSRF has tests of its own. Here every request must get as far as possible.
    app.config["WTF_CSRF_ENABLED"] = False
    return app


@pytest.fixture
def ids(
    admin: Person, services: Services, restore: Callable[..., None], put_zoom: Callable[..., str]
) -> dict[str, Any]:
    """An id of one of everything that a tenant can have, by the route's parameter."""
    return make_ids(admin, services, restore, put_zoom)


def make_ids(
    admin: Person, services: Services, restore: Callable[..., None], put_zoom: Callable[..., str]
) -> dict[str, Any]:
    """Make one of everything that a tenant can have, and return its id by the route's parameter."""
    batch_id = admin.open_batch(SECRET_NAME)
    job = admin.deposit(batch_id, f"{SECRET_NAME}.jpg")
    page = {"role": "photograph", "kind": "neutral", "width": 3000, "height": 2000}
    color = unsure_layer(np.arange(12, dtype=np.uint8).reshape(3, 4)).to_bytes()
    restore(job["id"], pages=[page | {"number": number} for number in (1, 2)], size=(3000, 2000), color=color)
    for number in (1, 2):
        put_zoom(admin, job["id"], number)
    trial = admin.api("POST", "/trials", json={"sha256": job["sha256"], "name": f"{SECRET_NAME}.jpg"})
    with services.begin() as session:
        token = accounts.list_tokens(session, admin.identity)[0]
        colleague = accounts.create_user(session, admin.identity.tenant_id, "colleague@museum.example")
        theirs = accounts.begin_session(session, accounts.identify(colleague), "192.0.2.8", "Firefox on Linux")
        tenant_id, url = admin.identity.tenant_id, f"https://dams.example.org/{SECRET_NAME.replace(' ', '-')}"
        webhook, _ = webhooks.add(session, services.settings, tenant_id, url, ["batch.ended"])
        notification_id = webhooks.send_test(session, webhook)
        wanted = providers.parse(providers.NewProvider, PROVIDER | {"slug": "museum", "name": "House account"})
        provider = providers.add(session, services.settings, tenant_id, wanted)
        at_provider = ProviderIdentity(tenant_id=tenant_id, user_id=admin.identity.person_id, issuer="x", subject="y")
        session.add(at_provider)
    upload = uploads.open(services, admin.identity.tenant_id, 5, created_by=admin.identity.user_id)
    with services.begin() as session:  # nobody's, so that disabling it ends nobody's session
        elsewhere = accounts.get_or_create_tenant(session, "Elsewhere")
    return {
        "tenant_id": elsewhere.id,
        "upload_id": upload.id,
        "trial_id": trial.json["id"],
        "network": "compact",
        "batch_id": batch_id,
        "job_id": job["id"],
        "token_id": token.id,
        "user_id": colleague.id,
        "session_id": theirs.session_id,
        "webhook_id": webhook.id,
        "provider_id": provider.id,
        "identity_id": at_provider.id,
        "slug": "museum",
        "notification_id": notification_id,
        "name": "result",
        "level": 0,
        "page": 2,
        "column": 0,
        "row": 0,
        "secret": "nobody-knows",
        "fleet": "gpu",
        "filename": "retint.css",
    }


def walk(app: Flask, ids: dict[str, Any]) -> Iterator[tuple[Rule, str, str]]:
    """Yield every rule with each of its methods and its path; that which ends the session last."""
    adapter = app.url_map.bind("localhost")
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.endpoint == "accounts.sign_out"):
        unknown = rule.arguments - ids.keys() - set(rule.defaults or {})
        assert not unknown, f"{rule}: this test needs values for {unknown}"
        values = {name: ids[name] for name in rule.arguments}
        if rule.endpoint in ("api.show_demand", "api.show_fleet", "api.scale_fleet", "admin.scale"):
            values["name"] = "gpu"
        for part in (*OWNED, "notification_id", "tenant_id"):
            if part in values:
                values[part] = UUID(str(values[part]))
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method, adapter.build(rule.endpoint, values, method)


def _send(person: Person | None, app: Flask, rule: Rule, method: str, path: str) -> TestResponse:
    body = BODIES.get(rule.endpoint, {"json": {}} if rule.endpoint.startswith("api.") and method != "GET" else {})
    if person is None:
        return make_browser(app).open(path, method=method, buffered=True, **body)
    if rule.endpoint.startswith("api."):
        headers = {"Authorization": f"Bearer {person.token}"}
        return app.test_client().open(path, method=method, headers=headers, buffered=True, **body)
    return person.browser().open(path, method=method, buffered=True, **body)


def test_nobody_gets_in_without_signing_in(app: Flask, ids: dict[str, Any]) -> None:
    for rule, method, path in walk(app, ids):
        answer = _send(None, app, rule, method, path)
        if rule.endpoint in PUBLIC and method == "POST" and rule.endpoint != "accounts.forgot":
            assert answer.status_code in (400, 403, 429), f"{method} {path}: {answer.status}"
        elif rule.endpoint in PUBLIC:
            assert answer.status_code not in (401, 403), f"{method} {path} is public"
        elif rule.endpoint.startswith("api."):
            assert answer.status_code == 401, f"{method} {path}: {answer.status}"
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        elif method in ("PUT", "PATCH", "DELETE"):
            assert (answer.status_code, answer.mimetype) == (401, "application/problem+json"), f"{method} {path}"
        else:
            assert answer.status_code == 303, f"{method} {path}: {answer.status}"
            assert answer.headers["Location"].startswith("/sign-in"), f"{method} {path}"


def test_a_tenant_cannot_reach_what_is_anothers(
    app: Flask, ids: dict[str, Any], admin: Person, stranger: Person, operator: Person
) -> None:
    walked = 0
    for rule, method, path in walk(app, ids):
        if rule.arguments & OWNED:
            other = operator if ROLES.get(rule.endpoint) == HOUSE else stranger  # both are of other institutions
            answer = _send(other, app, rule, method, path)
            assert answer.status_code == 404, f"{method} {path}: {answer.status}"
            assert SECRET_NAME not in answer.text
            walked += 1
    assert walked >= 15
    assert admin.api("GET", f"/batches/{ids['batch_id']}").json["cancelled"] is False
    assert admin.api("GET", f"/jobs/{ids['job_id']}").json["state"] == "restored"


def test_what_the_stranger_is_denied_is_there_for_its_owner(app: Flask, ids: dict[str, Any], admin: Person) -> None:
    """Without this, the test above would prove nothing: it might ask for what nobody has."""
    for rule, method, path in walk(app, ids):
        if rule.arguments & {"batch_id", "job_id"} and rule.endpoint != "api.add_known":
            answer = _send(admin, app, rule, method, path)
            assert answer.status_code not in (401, 403, 404, 405), f"{method} {path}: {answer.status}"
            assert answer.status_code < 500, f"{method} {path}: {answer.status}"


def test_lists_show_nothing_of_another_tenant(app: Flask, ids: dict[str, Any], stranger: Person) -> None:
    for rule, method, path in walk(app, ids):
        if method == "GET" and not rule.arguments:
            text = _send(stranger, app, rule, method, path).text
            for secret in (SECRET_NAME, "love letters", ids["batch_id"], ids["job_id"]):
                assert secret not in text, f"{path} shows {secret}"


def test_a_cursor_of_another_tenant_is_no_way_in(ids: dict[str, Any], stranger: Person) -> None:
    assert stranger.api("GET", f"/batches?after={ids['batch_id']}").status_code == 404
    mine = stranger.open_batch()
    assert stranger.api("GET", f"/batches/{mine}/jobs?after={ids['job_id']}").status_code == 404


def test_only_administrators_and_operators_rule_each_what_is_theirs(
    app: Flask, ids: dict[str, Any], member: Person, stranger: Person, operator: Person
) -> None:
    """Nobody else than those who are listed; the stranger is an administrator, but no operator."""
    walked = [each for each in walk(app, ids) if each[0].endpoint not in PUBLIC]
    for rule, method, path in walked:
        for person, role in ((member, None), (stranger, Role.ADMIN), (operator, OPERATOR)):
            answer = _send(person, app, rule, method, path)
            needed = ROLES.get(rule.endpoint)
            is_refused = needed is not None and role not in needed
            assert (answer.status_code == 403) == is_refused, f"{method} {path} as {role}: {answer.status}"
            assert not is_refused or "may do this" in answer.text


def test_the_house_is_in_no_institutions_pages(
    app: Flask, ids: dict[str, Any], stranger: Person, operator: Person, worker: UUID
) -> None:
    assert "host" in operator.browser().get("/admin/").text
    page = stranger.browser().get("/admin/").text
    for word in ("4711", "cpu (1 thread)", "Queues", "Wanted", "all institutions"):
        assert word in operator.browser().get("/admin/").text, word
        assert word not in page, word
    assert SECRET_NAME not in operator.browser().get("/admin/").text


def test_what_only_reads_waits_for_no_writer(
    app: Flask, ids: dict[str, Any], admin: Person, operator: Person, services: Services
) -> None:
    """Another process holds SQLite's write lock all the while."""
    admin.api("GET", "/batches")  # notes the use of the token
    with closing(sqlite3.connect(services.engine.url.database or "", isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        for rule, method, path in walk(app, ids):
            if method == "GET" and rule.endpoint not in ("accounts.redeem", "provider_sign_in.begin"):
                started = time.monotonic()
                answer = _send(admin, app, rule, method, path)
                assert answer.status_code < 500, path
                assert time.monotonic() - started < AT_ONCE_S, path


def test_no_route_breaks_on_ids_that_are_none(app: Flask, ids: dict[str, Any], admin: Person) -> None:
    strange = {
        "batch_id": "0" * 36,
        "job_id": "%00",
        "token_id": "1",
        "level": "9" * 30,
        "column": "-1",
        "row": "x",
        "page": "9" * 30,
    }
    for rule in app.url_map.iter_rules():
        path = rule.rule
        for name in rule.arguments:
            kind = "uuid:" if f"<uuid:{name}>" in path else "int:" if f"<int:{name}>" in path else ""
            path = path.replace(f"<{kind}{name}>", strange.get(name, "%ff%00%0a"))
        for method in sorted((rule.methods or set()) - {"OPTIONS"}):
            if rule.arguments:
                status = _send(
                    admin, app, rule, method, path.replace("<path:filename>", "../../etc/passwd")
                ).status_code
                assert status in (200, 400, 403, 404, 405), f"{method} {path}: {status}"
                assert status != 200 or rule.endpoint == "accounts.redeem", f"{method} {path}"

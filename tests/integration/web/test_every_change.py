"""Nothing changes without an audit entry: the tests walk Flask's map of routes, and send what changes something."""

import hashlib
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID

import click
import pytest
from flask import Flask
from sqlalchemy import select, text
from tests.integration.web.conftest import PASSWORD, Person, make_browser
from tests.integration.web.test_every_route import BODIES, make_ids

from retint import accounts, database, institutions, proofs, uploads
from retint.audit import chain
from retint.audit.sentences import PHRASES
from retint.audit_tables import AuditEntry
from retint.command import cli
from retint.notifications import webhooks
from retint.recipes import Recipe
from retint.roles import Scope
from retint.services import Services
from retint.settings import Settings

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

NO_ENTRY = {
    "api.open_upload": "a place for bytes that are to come; what they become is recorded when they are whole",
    "api.send_upload": "bytes of an upload in the middle; the last ones make a photo, which is recorded",
    "api.end_upload": "bytes that never became a photo",
    "sending.open_upload": "as api.open_upload",
    "sending.send_upload": "as api.send_upload",
    "sending.end_upload": "as api.end_upload",
}
"""Changes without an entry, and why."""
NO_CHANGE = {
    "accounts.forgot": "no e-mail leaves this portal, and so no link does",
    "api.check_provider": "it only asks",
    "api.known": "it only asks",
    "api.check_catalogue": "as catalogue.check",
    "catalogue.check": "it only says what would become of a catalogue",
    "catalogues.would_be_unmatched": "as catalogue.check",
    "provider_sign_in.connect": "it only sends the browser to the provider, which cannot be reached here",
    "provider_sign_in.try_out": "as provider_sign_in.connect",
    "deposit.fetch": "the address cannot be fetched here; what it deposits is as in api.upload",
}
"""Requests that change nothing, and why."""
BEFORE = "6d1b8e42c9a3"
"""The schema before the chain."""
COMMANDS_WITHOUT_CHANGE = {
    "audit verify", "audit export", "backup", "institution list", "people", "provider check", "provider list",
    "verify-store",
}  # fmt: skip
NEEDS_AN_EMPTY_DATABASE = {"restore"}
"""It has a test of its own."""
FAILING = {"provider check": 2}
"""Exit statuses of those that find here what is not right: a provider that is inside the network."""
WITHOUT_MEANING = {"audit_entries", "audit_chains", "audit_addresses", "tallies", "totals", "search_entries", "leaders"}
"""Tables that follow from others, or are the record itself. Beside them `tokens.used_at`, which is no change."""
PROVIDER_FORM = {"name": "House", "issuer": "https://127.0.0.1:9", "client_id": "retint", "scopes": "openid email"}
PROVIDER_FORM |= {"groups_claim": "groups", "roles": "it = admin"}
JPEG = b"\xff\xd8\xff\xe0 another picture"


@pytest.fixture
def app(app: Flask) -> Flask:
    app.config["WTF_CSRF_ENABLED"] = False
    return app


@pytest.fixture
def ids(
    admin: Person, services: Services, restore: Callable[..., None], put_zoom: Callable[..., str]
) -> dict[str, Any]:
    """What requests are about: batches in several states, and their photos; else one of everything."""
    ids = make_ids(admin, services, restore, put_zoom) | {"batch_id": admin.open_batch("Box 7")}
    job = admin.deposit(ids["batch_id"])
    restore(job["id"], result=b"the result")
    ids |= {"job_id": job["id"], "sha256": job["sha256"], "name": "gpu", "secret": "nobody-knows"}
    waiting = admin.open_batch("waiting")
    ids["waiting"], ids["waiting_job"] = waiting, admin.deposit(waiting, "w.jpg")["id"]
    failed = admin.open_batch("failed")
    ids["failed"], ids["failed_job"] = failed, admin.deposit(failed, "f.jpg")["id"]
    ids["refused_job"] = admin.deposit(failed, "r.jpg")["id"]
    for name in ("paused", "proved"):
        ids[name] = admin.open_batch(name, paused=True)
        admin.deposit(ids[name], f"{name}.jpg")
    trial = admin.api("POST", "/trials", json={"sha256": job["sha256"], "name": "t.jpg"})
    ids["trial_id"] = trial.json["id"]
    ids["upload_id"] = uploads.open(services, admin.identity.tenant_id, 5, created_by=admin.identity.user_id).id
    with services.begin() as session:
        recipe = Recipe.model_validate({})
        proofs.open(session, admin.identity.tenant_id, UUID(ids["proved"]), [recipe])
        ids["recipe_hash"] = recipe.hash
        for about, state, reason in (
            ("failed_job", "quarantined", "worker_lost"),
            ("refused_job", "refused", "damaged"),
        ):
            change = "UPDATE jobs SET state = :state, reason_code = :reason, started_at = created_at WHERE id = :id"
            session.execute(text(change), {"state": state, "reason": reason, "id": UUID(ids[about]).hex})
        ids["token_id"] = accounts.list_tokens(session, admin.identity)[0].id
        ids["link"] = accounts.invite(session, accounts.find_user(session, admin.email))
    return ids | add_people(admin, services)


def add_people(admin: Person, services: Services) -> dict[str, Any]:
    """Add a person and an institution that are disabled, a service account, a paused webhook."""
    tenant_id, settings = admin.identity.tenant_id, services.settings
    with services.begin() as session:
        gone = accounts.create_user(session, tenant_id, "gone@museum.example", password=PASSWORD)
        accounts.disable(session, admin.identity, gone.id)
        closed = accounts.get_or_create_tenant(session, "Closed")
        institutions.set_disabled(session, closed.id, None, disabled=True)
        accounts.issue_service_token(session, admin.identity, "scanner", [Scope.DEPOSIT])
        [(service, _)] = accounts.list_service_tokens(session, tenant_id)
        webhook, _ = webhooks.add(session, settings, tenant_id, "https://paused.example.org", ["batch.ended"])
        webhooks.pause(session, webhook)
        mine = accounts.begin_session(session, admin.identity, "192.0.2.8", "Firefox on Linux")
        return {
            "gone": gone.id,
            "closed": closed.id,
            "service": service.id,
            "paused_webhook": webhook.id,
            "my_session": mine.session_id,
        }


ABOUT = {
    ("batch_id", "paused"): ("api.resume_batch", "batches.resume", "api.open_proof", "proofs.begin"),
    ("batch_id", "proved"): ("api.release_batch", "proofs.release", "api.discard_proof", "proofs.discard"),
    ("batch_id", "failed"): ("batches.retry",),
    ("job_id", "failed_job"): ("api.retry_job", "photos.retry"),
    ("job_id", "waiting_job"): ("api.cancel_job",),
    ("session_id", "my_session"): ("accounts.end_session",),
    ("tenant_id", "closed"): ("api.enable_institution", "institutions.enable"),
    ("token_id", "service"): ("api.revoke_service_account", "people.revoke_service_account"),
    ("user_id", "gone"): ("people.enable",),
    ("webhook_id", "paused_webhook"): ("api.resume_webhook", "webhooks.resume"),
}
"""Requests that are about something else than the first of its kind: parameter, what is given for it."""


def describe_request(endpoint: str, ids: dict[str, Any]) -> dict[str, Any]:
    """Return body and query of a request that changes something."""
    seen = {"seen_sha256": hashlib.sha256(b"the result").hexdigest(), "seen_verdict": "unjudged"}
    recipe = {"colorizer": "compact", "defader": "compact-defade", "strength": "1", "region": "auto"}
    rows = b"filename,title\na.jpg,A\n"
    csv = {"catalogue": (BytesIO(rows), "a.csv"), "checked": hashlib.sha256(rows).hexdigest()}
    given: dict[str, dict[str, Any]] = {
        "accounts.sign_in": {"data": {"email": "admin@museum.example", "password": PASSWORD}},
        "accounts.issue": {"data": {"name": "scanner", "scope": "read"}},
        "accounts.set_password": {"data": {"password": "another good password"}},
        "admin.scale": {"data": {"wanted": "5"}},
        "api.add_known": {"json": {"sha256": ids["sha256"], "name": "b.jpg"}},
        "api.add_known_files": {"json": {"files": [{"name": f"{n}.jpg", "sha256": ids["sha256"]} for n in range(3)]}},
        "api.add_try": {"json": {"recipe": {"colorizer": "keep", "strength": 0.5}}},
        "api.begin_trial": {"json": {"sha256": ids["sha256"], "name": "a.jpg"}},
        "api.change_person": {"json": {"role": "reviewer"}},
        "api.invite_person": {"json": {"email": "new@museum.example", "role": "member"}},
        "api.make_service_account": {"json": {"name": "another", "scopes": ["read"]}},
        "api.judge": {"json": {"verdict": "approved", **seen}},
        "api.rework": {"json": seen},
        "api.release_batch": {"json": {"recipe_hash": ids["recipe_hash"]}},
        "api.run_again": {"json": {"state": "restored"}},
        "api.keep_photo": {"data": JPEG},
        "api.upload": {"data": JPEG, "query_string": {"name": "new.jpg"}},
        "catalogue.check": {"data": csv},
        "catalogue.send": {"data": csv},
        "catalogues.would_be_unmatched": {"data": csv},
        "deposit.open_batch": {"data": {"name": "new", **recipe}},
        "deposit.fetch": {"data": {"address": "http://127.0.0.1:1/a.jpg"}},
        "deposit.send": {"data": {"name": "new", "files": (BytesIO(JPEG), "new.jpg"), **recipe}},
        "light_table.judge": {"data": {"verdict": "approved", **seen}},
        "light_table.rework": {"data": {"change": "colorizer=keep", **seen}},
        "people.invite": {"data": {"email": "new@museum.example", "role": "member"}},
        "people.make_service_account": {"data": {"name": "another", "scope": "read"}},
        "people.set_role": {"data": {"role": "reviewer"}},
        "providers.new": {"data": PROVIDER_FORM},
        "providers.show": {"data": PROVIDER_FORM},
        "photos.restore_again": {"data": {"region": "whole"}},
        "proofs.begin": {"data": {"network": ["compact", "keep"]}},
        "proofs.release": {"data": {"recipe": ids["recipe_hash"]}},
        "webhooks.add": {"data": {"url": "https://new.example.org", "kind": "batch.ended"}},
        "webhooks.change": {"data": {"url": "https://new.example.org", "kind": "photo.refused"}},
        "run_again.start": {"data": {"which": "all", "recipe": "same"}},
        "trials.begin": {"data": {"job": ids["job_id"], "leading": "1"}},
        "trials.add": {"data": {**recipe, "colorizer": "keep"}},
    }
    given["sending.add_known_files"] = given["api.add_known_files"]
    for name in ("judge", "rework"):
        given[f"light_table.{name}_here"] = given[f"light_table.{name}"]
    return given.get(endpoint) or BODIES.get(endpoint) or ({"json": {}} if endpoint.startswith("api.") else {})


def list_changing(app: Flask, ids: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield every endpoint with each method that may change something, and its path."""
    adapter = app.url_map.bind("localhost")
    for rule in app.url_map.iter_rules():
        values = {name: ids[name] for name in rule.arguments if name in ids}
        for (parameter, about), endpoints in ABOUT.items():
            if rule.endpoint in endpoints:
                values[parameter] = ids[about]
        if rule.endpoint == "accounts.redeem":
            values["secret"] = ids["link"]
        values = {name: UUID(str(each)) if name.endswith("_id") else each for name, each in values.items()}
        for method in sorted((rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}):
            yield rule.endpoint, method, adapter.build(rule.endpoint, values, method)


def send(app: Flask, person: Person, endpoint: str, method: str, path: str, ids: dict[str, Any]) -> int:
    request = describe_request(endpoint, ids)
    if endpoint.startswith("api."):
        headers = {"Authorization": f"Bearer {person.token}"}
        return app.test_client().open(path, method=method, headers=headers, buffered=True, **request).status_code
    is_public = endpoint in ("accounts.sign_in", "accounts.redeem")
    browser = make_browser(app) if is_public else person.browser()
    return browser.open(path, method=method, buffered=True, **request).status_code


def read_rows(services: Services) -> dict[str, set[tuple[Any, ...]]]:
    """Return all rows that mean something, by table."""
    with closing(sqlite3.connect(services.engine.url.database or "")) as connection:
        listed = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = {name for (name,) in listed if not name.startswith(("search_index", "sqlite_"))} - WITHOUT_MEANING
        columns = {
            table: [
                f"`{name}`" for _, name, *_ in connection.execute(f"PRAGMA table_info({table})") if name != "used_at"
            ]
            for table in tables
        }
        return {table: set(connection.execute(f"SELECT {', '.join(columns[table])} FROM {table}")) for table in tables}


def count_entries(services: Services) -> int:
    with services.read() as session:
        return len(session.scalars(select(AuditEntry.hash)).all())


class Snapshot:
    """The database as it is now; requests begin from it, one after the other."""

    def __init__(self, services: Services, folder: Path) -> None:
        self._live, self._kept = services.engine.url.database or "", str(folder / "kept.db")
        self._copy(self._live, self._kept)

    def restore(self) -> None:
        self._copy(self._kept, self._live)

    @staticmethod
    def _copy(source: str, target: str) -> None:
        with closing(sqlite3.connect(source)) as read, closing(sqlite3.connect(target)) as write:
            read.backup(write)


def test_no_route_changes_anything_without_an_entry(
    app: Flask, admin: Person, services: Services, ids: dict[str, Any], tmp_path: Path
) -> None:
    snapshot = Snapshot(services, tmp_path)
    before, entries = read_rows(services), count_entries(services)
    silent, unchanged, walked = [], {}, set()
    for endpoint, method, path in list_changing(app, ids):
        snapshot.restore()
        status = send(app, admin, endpoint, method, path, ids)
        assert status not in (500, 501), f"{endpoint}: {status}"
        has_changed, has_entry = read_rows(services) != before, count_entries(services) > entries
        walked.add(endpoint)
        if not has_changed and not has_entry:
            unchanged[endpoint] = status
        elif not has_entry and endpoint not in NO_ENTRY:
            silent.append(endpoint)
        assert not (has_entry and endpoint in NO_ENTRY), f"{endpoint} needs no exception"
    assert silent == []
    # A request that changes nothing here proves nothing: it must say why, or be given what lets it change something.
    assert {name: unchanged[name] for name in unchanged if name not in NO_CHANGE} == {}
    assert (NO_ENTRY.keys() | NO_CHANGE.keys()) <= walked


def list_commands(group: click.Group, prefix: str = "") -> Iterator[str]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from list_commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}"


PROVIDER_OPTIONS = [
    "new",
    "--name",
    "New",
    "--issuer",
    "https://127.0.0.1:9",
    "--client-id",
    "new",
    "--group",
    "it=admin",
]
ARGUMENTS = {
    "create-user": ["new@museum.example"],
    "operator": ["admin@museum.example"],
    "sign-in-link": ["admin@museum.example"],
    "create-token": ["admin@museum.example"],
    "role": ["colleague@museum.example", "reviewer"],
    "people": [],
    "disable": ["colleague@museum.example"],
    "institution add": ["New", "kim@new.example"],
    "institution list": [],
    "institution change": ["Elsewhere", "--weight", "2"],
    "institution disable": ["Elsewhere"],
    "institution enable": ["Closed"],
    "institution recount": ["--mend"],
    "provider add": PROVIDER_OPTIONS,
    "provider list": [],
    "provider change": ["museum", "--name", "Other"],
    "provider check": ["museum"],
    "provider remove": ["museum"],
    "reseal": [],
    "scale": ["gpu", "7"],
    "sweep": [],
    "adopt-store": [],
    "verify-store": [],
    "backup": ["--database-only", "--to", "{folder}"],
    "audit forget-addresses": ["--days", "0"],
    "audit verify": [],
    "audit export": [],
    "migrate": [],  # the last one: the record begins anew before it
}


def test_no_command_changes_anything_without_an_entry(
    services: Services, settings: Settings, ids: dict[str, Any], tmp_path: Path
) -> None:
    assert set(list_commands(cli.admin)) == ARGUMENTS.keys() | NEEDS_AN_EMPTY_DATABASE
    with services.begin() as session:
        session.execute(text("UPDATE quotas SET photos = photos + 1"))  # `institution recount --mend` finds that wrong
    for name, arguments in ARGUMENTS.items():
        if name == "migrate":
            database.migrate(services.engine, BEFORE)
        entries = 0 if name == "migrate" else count_entries(services)
        arguments = [each.format(folder=tmp_path) for each in arguments]
        command = [sys.executable, "-m", "retint", "admin", *name.split(), *arguments]
        done = subprocess.run(command, env=settings.environment(), capture_output=True, text=True, check=False)
        assert done.returncode == FAILING.get(name, 0), f"{name}: {done.stdout}{done.stderr}"
        assert (count_entries(services) > entries) == (name not in COMMANDS_WITHOUT_CHANGE), name
    with services.read() as session:
        [migrated] = session.scalars(select(AuditEntry).where(AuditEntry.action == "schema_migrated"))
        assert " on " in migrated.actor
        assert migrated.before == {"revision": BEFORE}
        assert [each for one in chain.list_chains(session) for each in chain.verify(session, one).broken] == []


def test_every_action_that_is_recorded_is_said_in_words(
    app: Flask, admin: Person, services: Services, ids: dict[str, Any]
) -> None:
    with services.read() as session:
        actions = set(session.scalars(select(AuditEntry.action)))
    assert actions <= PHRASES.keys()
    page = admin.browser().get("/audit/").text
    assert "Box 7" in page
    assert "nothing → " not in page

"""A portal, persons who use it by browser and by API, and jobs restored without workers."""

import hashlib
import io
import re
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from jsonschema import Draft202012Validator
from werkzeug.exceptions import HTTPException
from werkzeug.test import TestResponse

from retint import accounts, fleets, zooms
from retint.accounts import Identity
from retint.jobs.leases import AttemptEnd, Done, claim, settle
from retint.lifecycle import STAGES, Stage
from retint.pages import list_photographs
from retint.roles import Role, Scope
from retint.services import Services
from retint_web.api import document as openapi
from retint_web.api.blueprint import api
from retint_web.api.openapi import PATH_PARAMETER
from retint_web.app import create_app

PASSWORD = "a good long password"
JPEG = b"\xff\xd8\xff\xe0 not really a picture"


def assert_documented(app: Flask, method: str, path: str, answer: TestResponse) -> None:
    """Validate an API answer against its schema in the OpenAPI document; every API request of the tests is checked."""
    document = openapi.build(api.operations, "Retint", "0", "/")
    try:
        rule, _ = app.url_map.bind("localhost").match(f"/api/v1{path}", method=method, return_rule=True)
    except HTTPException:  # no operation
        assert answer.mimetype == "application/problem+json"
        return
    described = document["paths"][PATH_PARAMETER.sub(r"{\2}", rule.rule.removeprefix("/api/v1"))][method.lower()]
    assert str(answer.status_code) in described["responses"], (
        f"{method} {path} answers {answer.status}, which is not documented: declare it in the operation's `errors`"
    )
    stated = described["responses"][str(answer.status_code)]
    if "$ref" in stated:
        stated = document["components"]["responses"][stated["$ref"].rpartition("/")[2]]
    for media, content in stated.get("content", {}).items():
        if not media.endswith("json"):
            continue
        schema = content["schema"]
        assert answer.mimetype == media
        checker = Draft202012Validator.FORMAT_CHECKER
        Draft202012Validator(schema | {"components": document["components"]}, format_checker=checker).validate(
            answer.json
        )


def make_browser(app: Flask) -> FlaskClient:
    """Return a browser that opens pages and sends forms, in which nobody is signed in."""
    browser = app.test_client()
    browser.environ_base["HTTP_ACCEPT"] = "text/html,application/xhtml+xml,*/*;q=0.8"
    return browser


@dataclass(frozen=True)
class Person:
    """A user of the portal: signed in to the pages, and with a token for the API."""

    identity: Identity
    token: str
    app: Flask

    @property
    def email(self) -> str:
        return self.identity.email

    def browser(self) -> FlaskClient:
        """Return a browser in which this person is signed in."""
        browser = make_browser(self.app)
        with browser.session_transaction() as session:
            session["id"], session["stamp"] = str(self.identity.session_id), self.identity.stamp
        return browser

    def api(self, method: str, path: str, **request: Any) -> Any:
        """Send a request to the API and validate the answer against the OpenAPI document."""
        headers = {"Authorization": f"Bearer {self.token}"} | request.pop("headers", {})
        answer = self.app.test_client().open(f"/api/v1{path}", method=method, headers=headers, **request)
        assert_documented(self.app, method, path.partition("?")[0], answer)
        return answer

    def open_batch(self, name: str = "Box 7", **body: Any) -> str:
        answer = self.api("POST", "/batches", json={"name": name, **body})
        assert answer.status_code == 201, answer.text
        return str(answer.json["id"])

    def deposit(self, batch_id: str, name: str = "a.jpg", data: bytes = JPEG, **query: str) -> dict[str, Any]:
        answer = self.api("PUT", f"/batches/{batch_id}/files", data=data, query_string={"name": name, **query})
        assert answer.status_code == 201, answer.text
        return dict(answer.json)


@pytest.fixture
def app(services: Services) -> Flask:
    return create_app(services)


@pytest.fixture
def make_person(services: Services, app: Flask) -> Callable[..., Person]:
    """Make a person of a tenant, as a member or an administrator."""

    def make(
        tenant: str = "museum",
        role: Role = Role.MEMBER,
        *,
        is_operator: bool = False,
        email: str | None = None,
        scopes: Collection[Scope] | None = None,
    ) -> Person:
        with services.begin() as session:
            user = accounts.create_user(
                session,
                accounts.get_or_create_tenant(session, tenant).id,
                email or f"{'operator' if is_operator and role is Role.MEMBER else role}@{tenant}.example",
                role=role,
                is_operator=is_operator,
                password=PASSWORD,
            )
            token = accounts.issue_token(session, user, "tests", scopes=scopes)
            identity = accounts.begin_session(session, accounts.identify(user), "192.0.2.7", "Firefox on Linux")
        return Person(identity, token, app)

    return make


@pytest.fixture
def member(make_person: Callable[..., Person]) -> Person:
    return make_person()


@pytest.fixture
def reviewer(make_person: Callable[..., Person]) -> Person:
    return make_person(role=Role.REVIEWER)


@pytest.fixture
def admin(make_person: Callable[..., Person]) -> Person:
    """An administrator who is the operator, too, as on a laptop."""
    return make_person(role=Role.ADMIN, is_operator=True)


@pytest.fixture
def operator(make_person: Callable[..., Person]) -> Person:
    """An operator who has no rights in an institution but a member's."""
    return make_person("house", is_operator=True)


@pytest.fixture
def stranger(make_person: Callable[..., Person]) -> Person:
    """An administrator of another tenant."""
    return make_person("archive", Role.ADMIN)


def make_deep_zoom(prefix: str = "") -> bytes:
    """Make a small deep zoom file as libvips writes it: DeepZoom tiles in an uncompressed zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        files = {"zoom.dzi": "<Image TileSize='254'/>"}
        for level, column, row in ((0, 0, 0), (1, 0, 0), (1, 1, 0)):
            files[f"zoom_files/{level}/{column}_{row}.jpeg"] = f"{prefix}tile {level} {column} {row}"
        files["scan-properties.xml"] = "<image/>"
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(f"zoom/{name}"), data)  # without the time, so that it is always the same
    return buffer.getvalue()


@pytest.fixture
def put_zoom(services: Services) -> Callable[..., str]:
    """Store the zoom of a restored job as a worker would, or other bytes in its place; return its key."""

    def put(person: Person, job_id: str, page: int | None = None, data: bytes | None = None) -> str:
        with services.read() as session:
            key = zooms.find(session, person.identity.tenant_id, UUID(job_id), page).key
        services.store.put(key, data or make_deep_zoom())
        return key

    return put


@pytest.fixture
def restore(services: Services) -> Callable[..., None]:
    """Run jobs through all stages as workers would, with files of the given bytes."""

    def restore_jobs(
        *job_ids: str,
        result: bytes = b"the result",
        suffix: str = "jpg",
        pages: Sequence[Any] = (),
        size: tuple[int, int] = (40, 30),
        found: Mapping[str, Any] | None = None,
        color: bytes | None = None,
        made_with: str | None = None,
        **render_facts: Any,
    ) -> None:
        for stage in STAGES:
            with services.begin() as session:
                leases = claim(session, stage, [UUID(job_id) for job_id in job_ids], None, 60)
            assert len(leases) == len(job_ids), f"{stage}: not all could be claimed"
            ended: list[AttemptEnd] = []
            for lease in leases:
                written = _files(stage, result, suffix)
                if stage is Stage.INGEST:
                    written = {list_photographs(found or {})[0].proxy_name: written["proxy"]}
                if stage is Stage.COLORIZE and color is not None:
                    written = {"color": ("color.safetensors", color)}
                for page in [page for page in pages if page["role"] == "photograph"][1:]:
                    names = [
                        name for name in written if name in ("proxy", "crop", "color", "preview", "before", "thumb")
                    ]
                    written |= {f"{name}-{page['number']}": _name_page(page, *written[name]) for name in names}
                files = {name: lease.file_key(file) for name, (file, _) in written.items()}
                for name, (_, data) in written.items():
                    services.store.put(files[name], data)
                sha256 = hashlib.sha256(result).hexdigest()
                facts = {"sha256": sha256, **render_facts} if stage is Stage.RENDER else {"kind": "neutral"}
                facts |= {"width": size[0], "height": size[1]} if stage is Stage.INGEST else {}
                facts |= {"pages": list(pages)} if stage is Stage.INGEST and pages else {}
                known = {**facts, **(found or {})} if stage is Stage.INGEST else facts
                making = made_with if stage is Stage.RENDER else None
                ended.append((lease, Done(files, known, {"work": 0.5}, making)))
            with services.begin() as session:
                assert len(settle(session, ended, backoff_s=1, requeue_s=60)) == len(job_ids)

    return restore_jobs


def _name_page(page: dict[str, Any], name: str, data: bytes) -> tuple[str, bytes]:
    stem, _, suffix = name.partition(".")
    return f"{stem}-{page['number']}.{suffix}", data


def _files(stage: Stage, result: bytes, suffix: str) -> dict[str, tuple[str, bytes]]:
    if stage is Stage.INGEST:
        return {"proxy": ("proxy.png", b"a proxy")}
    if stage is not Stage.RENDER:
        return {}
    return {
        "result": (f"result.{suffix}", result),
        "preview": ("preview.jpg", b"a preview"),
        "before": ("before.jpg", b"before"),
        "thumb": ("thumb.jpg", b"a thumbnail"),
        "provenance": ("provenance.json", b'{"recipe": {}}'),
    }


@pytest.fixture
def worker(services: Services) -> Iterator[UUID]:
    """A registered worker."""
    with services.begin() as session:
        worker_id = fleets.register_worker(session, "gpu", "host", 4711, "cpu (1 thread)", "0.1.0")
    yield worker_id
    with services.begin() as session:
        fleets.end_worker(session, worker_id)


def csrf_token(browser: FlaskClient, path: str) -> str:
    """Return the CSRF token in a page's form."""
    match = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', browser.get(path).text)
    assert match, f"{path} has no token"
    return match[1]

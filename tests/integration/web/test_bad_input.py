import io
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from tests.integration.web.conftest import JPEG, Person

from retint import photos
from retint.errors import StoreUnavailable
from retint.jobs.leases import claim, settle
from retint.lifecycle import Stage
from retint.services import Services
from retint.settings import Settings
from retint.stores.directory import DirectoryWriter

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

BATCH = {"name": "Box"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe\x00",
        b'{"name": 7}',
        b'{"name": null}',
        b'{"name": ""}',
        b'{"name": "\\u0000"}',
        b'{"name": "\\ud800"}',
        b'{"name": "  \\n "}',
        b'{"name": "x", "name2": 1}',
        b'{"name": "x", "priority": 10}',
        b'{"name": "x", "priority": -1}',
        b'{"name": "x", "priority": "1e999"}',
        b'{"name": "x", "recipe": {"colorizer": "../../x"}}',
        b'{"name": "x", "recipe": {"strength": 1e400}}',
        b'{"name": "x", "recipe": {"strength": NaN}}',
        b'{"name": "x", "recipe": {"colorizer": "crayons"}}',
        b'{"name": "x", "recipe": {"defader": "compact"}}',
        b'{"name": "x", "recipe": []}',
        b'{"name": "x", "recipe": {"colorizer_settings": {"gain": Infinity}}}',
        b'{"name": "x", "recipe": {"colorizer_settings": {"\\u0000": 1}}}',
        b"[" * 100_000,
        b'{"name": "' + b"x" * 500_000 + b'"}',
    ],
)
def test_a_body_that_is_no_batch_is_refused_with_a_sentence(member: Person, body: bytes) -> None:
    answer = member.api("POST", "/batches", data=body, content_type="application/json")
    assert answer.status_code in (400, 422), answer.text
    assert answer.json["detail"].endswith(".")
    assert len(answer.json["detail"]) < 500
    assert member.api("GET", "/batches").json["items"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "limit=1e3", "after=x", "after=%00", "limit=", "after=%ff"]
)
def test_a_page_that_is_none_is_refused(member: Person, query: str) -> None:
    assert member.api("GET", f"/batches?{query}").status_code == 400


@pytest.mark.parametrize("state", ["", "done", "READY", "%00", "ready%20"])
def test_a_state_that_is_none_is_refused(member: Person, state: str) -> None:
    assert member.api("GET", f"/batches/{member.open_batch()}/jobs?state={state}").status_code == 400


@pytest.mark.parametrize("key", ["", "x" * 101, "é", "\x7f", " "])
def test_an_odd_idempotency_key_is_refused_or_harmless(member: Person, key: str) -> None:
    answer = member.api("POST", "/batches", json=BATCH, headers={"Idempotency-Key": key})
    assert answer.status_code in (201, 400)


def test_a_header_that_does_not_fit_its_pattern_is_refused_with_its_name(member: Person) -> None:
    answer = member.api("POST", "/batches", json=BATCH, headers={"Idempotency-Key": "x" * 101})
    assert answer.status_code == 400
    assert answer.json["detail"].startswith("Idempotency-Key: ")
    assert member.api("GET", "/batches").json["items"] == []


@pytest.mark.parametrize("sha256", [["x"], ["A" * 64], ["0" * 63], [None], ["0" * 64] * 5001, "0" * 64, [["0" * 64]]])
def test_hashes_that_are_none_are_refused(member: Person, sha256: Any) -> None:
    assert member.api("POST", "/photos/known", json={"sha256": sha256}).status_code == 400


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../../etc/passwd", "../../../etc/passwd"),
        ("C:\\temp\\a.jpg", "C:\\temp\\a.jpg"),
        ("line\nbreak.jpg", "line<U+000A>break.jpg"),
        ("nul\0.jpg", "nul<U+0000>.jpg"),
        ("\u202egpj.exe", "<U+202E>gpj.exe"),
        ("👨‍👩‍👧 Oma.jpg", "👨‍👩‍👧 Oma.jpg"),
        ("<script>alert(1)</script>.jpg", "<script>alert(1)</script>.jpg"),
        ("{{ 7 * 7 }}'\"--.jpg", "{{ 7 * 7 }}'\"--.jpg"),
        ("x" * 1024, "x" * 1024),
    ],
)
def test_any_name_is_kept_and_shown_safely(member: Person, services: Services, name: str, kept: str) -> None:
    batch_id = member.open_batch()
    job = member.deposit(batch_id, name)
    assert job["name"] == kept
    [blob] = services.store.list("tenants/")
    assert blob.key == f"tenants/{member.identity.tenant_id}/photos/{job['photo_id']}/original"
    for path in (f"/batches/{batch_id}", f"/jobs/{job['id']}"):
        page = member.browser().get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "{{ 7" in page.text or "{{ 7" not in name, "a name is no template"


@pytest.mark.parametrize("name", ["", "   ", "x" * 1025, "\u200b" * 1024, None])
def test_a_name_that_is_none_is_refused(member: Person, name: str | None) -> None:
    query = {} if name is None else {"name": name}
    answer = member.api("PUT", f"/batches/{member.open_batch()}/files", data=JPEG, query_string=query)
    assert answer.status_code in (400, 422), answer.text


def test_bad_utf8_in_a_name_is_no_bug(member: Person) -> None:
    batch_id = member.open_batch()
    raw = {"QUERY_STRING": "name=%ff%fe.jpg"}
    answer = member.api("PUT", f"/batches/{batch_id}/files", data=JPEG, environ_overrides=raw)
    assert (answer.status_code, answer.json["name"]) == (201, "%FF%FE.jpg")
    surrogate = b'{"sha256": "' + b"0" * 64 + b'", "name": "\\ud83d"}'
    assert (
        member.api("POST", f"/batches/{batch_id}/jobs", data=surrogate, content_type="application/json").status_code
        == 400
    )


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("\\ud83d.jpg", 400),
        ("\\udcf1.jpg", 400),
        ("a\\u0000b.jpg", 201),
        ("\\u202e.jpg", 201),
        ("", 400),
        ("\\u3000", 400),
        ("x" * 1025, 400),
        ("\\u200b" * 1000, 422),
    ],
    ids=["half a pair", "stray byte", "nul", "direction", "empty", "space", "too long", "too long written out"],
)
def test_an_odd_name_of_a_known_photo_is_kept_or_refused_in_a_sentence(member: Person, name: str, status: int) -> None:
    batch_id = member.open_batch()
    sha256 = member.deposit(batch_id)["sha256"]
    for path, body in {
        f"/batches/{batch_id}/jobs": f'{{"sha256": "{sha256}", "name": "{name}"}}',
        "/trials": f'{{"sha256": "{sha256}", "name": "{name}", "recipes": [{{}}]}}',
    }.items():
        answer = member.api("POST", path, data=body.encode(), content_type="application/json")
        assert answer.status_code == status, answer.text
        assert status == 201 or answer.json["detail"].endswith(".")


def test_an_empty_file_is_refused_with_its_reason(member: Person) -> None:
    answer = member.api("PUT", f"/batches/{member.open_batch()}/files", data=b"", query_string={"name": "a.jpg"})
    assert (answer.status_code, answer.json["code"], answer.json["detail"]) == (422, "empty", "The file is empty.")


@pytest.mark.parametrize("wanted", [-1, 1001, 1.5, "many", None, True, 10**30])
def test_a_fleet_has_a_sensible_size(admin: Person, wanted: Any) -> None:
    answer = admin.api("PUT", "/fleets/gpu", json={"wanted": wanted})
    assert answer.status_code in (400, 422)


def test_an_unknown_address_is_a_problem_and_not_a_page(member: Person) -> None:
    answer = member.api("GET", "/nothing")
    assert (answer.status_code, answer.mimetype, answer.json["code"]) == (404, "application/problem+json", "not_found")
    answer = member.api("DELETE", "/batches")
    assert (answer.status_code, answer.json["code"]) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) >= {"GET", "POST"}


def test_people_get_a_page_and_htmx_a_fragment(member: Person) -> None:
    page = member.browser().get("/nothing")
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "<html" in page.text
    fragment = member.browser().get("/nothing", headers={"HX-Request": "true"})
    assert fragment.status_code == 404
    assert "<html" not in fragment.text


def test_a_store_that_is_down_is_said_to_be(
    member: Person, services: Services, monkeypatch: pytest.MonkeyPatch, restore: Callable[..., None]
) -> None:
    batch_id = member.open_batch()

    def down(*_: object, **__: object) -> None:
        raise StoreUnavailable("The store did not answer.")

    monkeypatch.setattr(type(services.store), "write", down)
    answer = member.api("PUT", f"/batches/{batch_id}/files", data=JPEG, query_string={"name": "a.jpg"})
    assert (answer.status_code, answer.json["code"]) == (503, "store_unavailable")
    assert answer.headers["Retry-After"] == "5"
    assert member.api("GET", f"/batches/{batch_id}").json["counts"]["total"] == 0, "no row without its bytes"
    monkeypatch.undo()
    assert member.deposit(batch_id)["state"] == "ready"


def test_a_lost_race_for_the_same_bytes_leaves_one_photo(
    member: Person, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another upload of the same bytes ends while this one is being stored."""
    batch_id = member.open_batch()
    real = DirectoryWriter.commit
    others: list[dict[str, Any]] = []

    def slow(writer: DirectoryWriter) -> None:
        monkeypatch.undo()
        others.append(member.deposit(batch_id, "other.jpg"))
        real(writer)

    monkeypatch.setattr(DirectoryWriter, "commit", slow)
    mine = member.deposit(batch_id, "mine.jpg")
    assert mine["photo_id"] == others[0]["photo_id"]
    assert len(list(services.store.list("tenants/"))) == 1
    assert member.api("GET", f"/jobs/{mine['id']}/files/original").data == JPEG


def test_a_job_added_to_a_batch_while_it_is_cancelled_does_not_stay(
    member: Person, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = member.open_batch()
    real = DirectoryWriter.commit

    def slow(writer: DirectoryWriter) -> None:
        monkeypatch.undo()
        member.api("POST", f"/batches/{batch_id}/cancel")
        real(writer)

    monkeypatch.setattr(DirectoryWriter, "commit", slow)
    answer = member.api("PUT", f"/batches/{batch_id}/files", data=JPEG, query_string={"name": "a.jpg"})
    assert (answer.status_code, answer.json["code"]) == (409, "batch_cancelled")
    assert member.api("GET", f"/batches/{batch_id}").json["counts"]["total"] == 0


def test_details_of_a_fault_are_for_administrators(admin: Person, member: Person, services: Services) -> None:
    job_id = member.deposit(member.open_batch())["id"]
    problem = StoreUnavailable("The store did not answer.")
    problem.__cause__ = ConnectionError("no route to secret.example")
    with services.begin() as session:
        leases = claim(session, Stage.INGEST, [UUID(job_id)], None, 60)
        settle(session, [(lease, problem) for lease in leases], backoff_s=60, requeue_s=60)
    said = member.api("GET", f"/jobs/{job_id}").json["attempts"][0]["error"]
    assert said == "The store did not answer."
    assert "secret.example" in admin.api("GET", f"/jobs/{job_id}").json["attempts"][0]["error"]
    pages = [person.browser().get(f"/jobs/{job_id}").text for person in (member, admin)]
    assert all("The store did not answer." in page for page in pages)
    assert ["secret.example" in page for page in pages] == [False, True]


def test_the_core_refuses_what_is_too_large_by_itself(member: Person, services: Services, settings: Settings) -> None:
    strict = Services(settings.model_copy(update={"upload_limit_mib": 1}), services.engine, services.store)
    with pytest.raises(photos.TooLarge):
        photos.store_original(strict, member.identity.tenant_id, photos.Stream(io.BytesIO(bytes((1 << 20) + 1))))
    assert not list(services.store.list("tenants/"))
    assert not list((settings.data / "store/.incoming").iterdir())


def test_a_whole_number_is_one_however_it_is_written(member: Person) -> None:
    body = b'{"name": "8.0", "priority": 8.0, "recipe": {"strength": 5e-1}}'
    answer = member.api("POST", "/batches", data=body, content_type="application/json")
    assert (answer.status_code, answer.json["name"], answer.json["priority"]) == (201, "8.0", 8)
    assert answer.json["recipe"]["strength"] == 0.5
    for wrong in (b'{"name": "x", "priority": 8.5}', b'{"name": "x", "priority": "8"}'):
        answer = member.api("POST", "/batches", data=wrong, content_type="application/json")
        assert answer.status_code == 400

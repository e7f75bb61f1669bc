"""The deposit page without JavaScript, and the requests that its script sends."""

import base64
import hashlib
import io
import re

import pytest
from flask.testing import FlaskClient
from tests.integration.web.conftest import JPEG, Person, csrf_token

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


def test_hundreds_of_refused_files_are_counted_and_the_session_survives(member: Person) -> None:
    browser = member.browser()
    files = [(io.BytesIO(b""), f"{'a long name ' * 20}{n}.jpg") for n in range(300)]
    form = {
        "name": "Box",
        "csrf_token": csrf_token(browser, "/deposit"),
        "files": [*files, (io.BytesIO(JPEG), "b.jpg")],
    }
    answer = browser.post("/deposit", data=form)
    assert answer.status_code == 303
    assert all(len(cookie) < 4093 for cookie in answer.headers.getlist("Set-Cookie"))
    page = browser.get(answer.headers["Location"])
    assert page.status_code == 200
    assert "295 more files could not be taken." in page.text, page.text
    assert len(re.findall("The file is empty|a long name", page.text)) >= 5
    assert member.api("GET", f"/batches/{answer.headers['Location'].rpartition('/')[2]}").json["counts"]["total"] == 1


def test_a_program_is_told_that_it_is_signed_out_and_a_person_is_led_to_the_sign_in(member: Person) -> None:
    """A page's script sends a file after the session has ended; it must not take the sign-in page for an answer."""
    nobody = member.app.test_client()
    path = "/deposit/uploads/00000000-0000-0000-0000-000000000000"
    for method, headers in (
        ("PATCH", {}),
        ("PATCH", {"Accept": "text/html"}),
        ("PATCH", {"Sec-Fetch-Mode": "cors", "Accept": "*/*"}),
    ):
        answer = nobody.open(path, method=method, data=JPEG, headers=headers)
        assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
        assert '"code": "unauthorized"' in answer.text
    for headers in ({"Sec-Fetch-Mode": "same-origin", "Accept": "*/*"}, {"Accept": "*/*"}, {}):
        answer = nobody.post("/deposit/batches", headers=headers)
        assert (answer.status_code, answer.mimetype) == (401, "application/problem+json")
    for headers in ({"Sec-Fetch-Mode": "navigate"}, {"Accept": "text/html,*/*;q=.8"}):
        assert nobody.post("/deposit", headers=headers).status_code == 303
    fragment = nobody.get("/admin/live", headers={"HX-Request": "true", "Sec-Fetch-Mode": "cors"})
    assert (fragment.status_code, fragment.headers["HX-Redirect"]) == (401, "/sign-in")


def test_a_program_with_a_wrong_form_token_is_told_so(member: Person) -> None:
    answer = member.browser().post("/deposit/uploads", data=JPEG, headers={"X-CSRFToken": "wrong", "Accept": "*/*"})
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert '"code": "csrf"' in answer.text


def script_headers(browser: FlaskClient) -> dict[str, str]:
    """Return what the page's script sends with each request."""
    return {"X-CSRFToken": csrf_token(browser, "/deposit"), "Tus-Resumable": "1.0.0", "Accept": "*/*"}


def test_a_script_sends_a_file_by_tus_with_the_session_alone(member: Person) -> None:
    browser, batch_id = member.browser(), member.open_batch()
    pairs = {"filename": "a.jpg", "batch": batch_id, "sha256": hashlib.sha256(JPEG).hexdigest()}
    metadata = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
    headers = script_headers(browser)
    opened = browser.post(
        "/deposit/uploads", headers=headers | {"Upload-Length": str(len(JPEG)), "Upload-Metadata": metadata}
    )
    assert opened.status_code == 201
    address = opened.headers["Location"]
    assert address.startswith("/deposit/uploads/"), "an address that the session opens, not the API's"
    body = {"content_type": "application/offset+octet-stream"}
    first = browser.patch(address, headers=headers | {"Upload-Offset": "0"}, data=JPEG[:5], **body)
    assert (first.status_code, first.headers["Upload-Offset"]) == (204, "5")
    assert browser.head(address, headers=headers).headers["Upload-Offset"] == "5"
    rest = browser.patch(address, headers=headers | {"Upload-Offset": "5"}, data=JPEG[5:], **body)
    assert rest.status_code == 204
    assert [job["name"] for job in member.api("GET", f"/batches/{batch_id}/jobs").json["items"]] == ["a.jpg"]
    assert browser.delete(address, headers=headers).status_code == 204


def test_a_script_asks_what_is_there_and_adds_it(member: Person) -> None:
    browser = member.browser()
    member.deposit(member.open_batch())
    batch_id = member.open_batch()
    files = [
        {"name": "b.jpg", "sha256": hashlib.sha256(JPEG).hexdigest()},
        {"name": "c.jpg", "sha256": "0" * 64},
    ]
    path = f"/deposit/batches/{batch_id}/known"
    answer = browser.post(path, json={"files": files}, headers=script_headers(browser))
    assert [job is not None for job in answer.get_json()["jobs"]] == [True, False]
    many = browser.post(path, json={"files": files * 501}, headers=script_headers(browser))
    assert (many.status_code, many.mimetype) == (400, "application/problem+json")


def test_photos_are_added_to_a_batch_that_is_there(member: Person, stranger: Person) -> None:
    batch_id = member.open_batch("Box 9")
    browser = member.browser()
    page = browser.get(f"/deposit?batch={batch_id}").text
    assert "Box 9" in page
    assert 'name="colorizer"' not in page, "the batch has its recipe"
    form = {"csrf_token": csrf_token(browser, "/deposit"), "batch": batch_id, "files": [(io.BytesIO(JPEG), "b.jpg")]}
    assert browser.post("/deposit", data=form).headers["Location"] == f"/batches/{batch_id}"
    assert member.api("GET", f"/batches/{batch_id}").json["counts"]["total"] == 1
    shown = browser.get(f"/batches/{batch_id}").text
    assert f'href="/deposit?batch={batch_id}"' in shown
    assert f'href="/batches/{batch_id}/receipt.csv"' in shown
    assert stranger.browser().get(f"/deposit?batch={batch_id}").status_code == 404


def test_a_cancelled_batch_takes_no_photos(member: Person) -> None:
    batch_id = member.open_batch()
    member.api("POST", f"/batches/{batch_id}/cancel")
    browser = member.browser()
    answer = browser.get(f"/deposit?batch={batch_id}")
    assert answer.status_code == 409
    assert "Open a new one" in answer.text
    assert f"/deposit?batch={batch_id}" not in browser.get(f"/batches/{batch_id}").text
    assert browser.get("/deposit?batch=none").status_code == 400


def test_modules_of_a_script_are_asked_for_again_and_addresses_with_a_version_are_not(member: Person) -> None:
    """A module that another one imports has no version in its address; a year-old one would not fit the page."""
    browser = member.browser()
    with browser.get("/static/js/deposit/rows.js") as imported:
        assert imported.headers["Cache-Control"] == "no-cache"
        known = {"If-None-Match": imported.headers["ETag"]}
    with browser.get("/static/js/deposit/rows.js", headers=known) as again:
        assert again.status_code == 304
    with browser.get("/static/js/deposit.js?v=1") as versioned:
        assert "max-age=31536000" in versioned.headers["Cache-Control"]

"""The deposit page without JavaScript."""

import io
import re

import pytest
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
    path = "/deposit/batches/00000000-0000-0000-0000-000000000000/files?name=a.jpg"
    for method, headers in (
        ("PUT", {}),
        ("PUT", {"Accept": "text/html"}),
        ("PUT", {"Sec-Fetch-Mode": "cors", "Accept": "*/*"}),
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
    path = f"/deposit/batches/{member.open_batch()}/files?name=a.jpg"
    answer = member.browser().put(path, data=JPEG, headers={"X-CSRFToken": "wrong"})
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert '"code": "csrf"' in answer.text

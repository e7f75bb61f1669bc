"""The catalogue and the search, as people and programs use them."""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient
from tests.integration.web.conftest import Person, csrf_token
from werkzeug.test import TestResponse

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)

CSV = (
    "filename;dc.title;identifier;rights;do_not_colorize;dc.subject;dc.subject;note\r\n"
    "a.jpg;Straße nach Köln;NM 1;CC0;;Straße;Regen;=1+1\r\n"
    "gone.jpg;Fort;NM 2;;;;;\r\n"
)
FORBIDDING = CSV.replace("CC0;;", "CC0;yes;")


def send(person: Person, batch_id: str, text: str = CSV, **query: str) -> Any:
    return person.api("PUT", f"/batches/{batch_id}/catalogue", data=text.encode(), query_string=query)


def post(browser: FlaskClient, path: str, text: str | bytes, **fields: str) -> TestResponse:
    page = path.removesuffix("/check").removesuffix("/unmatched.csv")
    data = text.encode() if isinstance(text, str) else text
    form = {"csrf_token": csrf_token(browser, page), "catalogue": (io.BytesIO(data), "metadata.csv"), **fields}
    return browser.post(path, data=form, content_type="multipart/form-data", buffered=True)


def test_a_catalogue_is_tried_imported_and_told_in_both_directions(member: Person) -> None:
    batch_id = member.open_batch()
    for name in ("a.jpg", "b.jpg"):
        member.deposit(batch_id, name, name.encode())
    told = send(member, batch_id, dry_run="true").json
    assert send(member, batch_id, dry_run="true").json == told
    done = send(member, batch_id).json
    assert done == told | {"dry_run": False}
    assert {name: done[name] for name in ("records", "replaced", "matched", "no_file", "no_record", "ambiguous")} == {
        "records": 2,
        "replaced": 0,
        "matched": 1,
        "no_file": 1,
        "no_record": 1,
        "ambiguous": 0,
    }
    lost = {"problem": "no file", "row": 3, "file": "gone.jpg", "identifier": "NM 2"}
    unknown = {"problem": "no record", "row": None, "file": "b.jpg", "identifier": None}
    assert done["examples"] == [lost, unknown]
    sheet = member.api("GET", f"/batches/{batch_id}/catalogue/unmatched.csv").text
    assert list(csv.reader(io.StringIO(sheet)))[1:] == [
        ["no file", "3", "gone.jpg", "NM 2"],
        ["no record", "", "b.jpg", ""],
    ]
    assert send(member, batch_id).json["replaced"] == 2


def test_the_report_hands_the_catalogue_back_word_for_word_and_without_formulas(member: Person) -> None:
    batch_id = member.open_batch()
    send(member, batch_id)
    for name in ("a.jpg", "b.jpg"):
        member.deposit(batch_id, name, name.encode())
    header, *rows = csv.reader(io.StringIO(member.api("GET", f"/batches/{batch_id}/report.csv").text))
    known = header.index("title")
    assert header[known:] == ["title", "identifier", "rights"] + [
        f"catalogue:{name}"
        for name in [
            "filename",
            "dc.title",
            "identifier",
            "rights",
            "do_not_colorize",
            "dc.subject",
            "dc.subject",
            "note",
        ]
    ]
    said = {row[0]: row[known:] for row in rows}
    of_a = ["a.jpg", "Straße nach Köln", "NM 1", "CC0", "", "Straße", "Regen", "'=1+1"]
    assert said["a.jpg"] == ["Straße nach Köln", "NM 1", "CC0", *of_a]
    assert said["b.jpg"] == [""] * 11


def test_a_photos_page_and_job_say_what_the_catalogue_says(member: Person) -> None:
    batch_id = member.open_batch()
    send(member, batch_id, FORBIDDING)
    job = member.deposit(batch_id, "a.jpg")
    page = member.browser().get(f"/jobs/{job['id']}").text
    for text in (
        "From the catalogue",
        "Straße nach Köln",
        "NM 1",
        "not to be colorized",
        "dc.subject",
        "Regen",
        "=1+1",
    ):
        assert text in page, text
    record = member.api("GET", f"/jobs/{job['id']}").json["catalogue"]
    assert (record["title"], record["do_not_colorize"]) == ("Straße nach Köln", True)
    assert record["columns"][-1] == ["note", "=1+1"]
    other = member.deposit(batch_id, "b.jpg", b"other")
    assert member.api("GET", f"/jobs/{other['id']}").json["catalogue"] is None
    assert "From the catalogue" not in member.browser().get(f"/jobs/{other['id']}").text


def test_colors_that_are_forbidden_later_are_given_out_nowhere(
    member: Person, restore: Callable[..., None], put_zoom: Callable[..., str]
) -> None:
    batch_id = member.open_batch()
    job_id = str(member.deposit(batch_id, "a.jpg")["id"])
    restore(job_id, color=b"colors", size=(3000, 2000))
    put_zoom(member, job_id)
    assert send(member, batch_id, FORBIDDING).json["withheld"] == 1
    job = member.api("GET", f"/jobs/{job_id}").json
    assert job["withheld"]
    assert sorted(job["files"]) == ["before", "original", "provenance", "proxy"]
    for name in ("result", "preview", "thumb", "color"):
        answer = member.api("GET", f"/jobs/{job_id}/files/{name}")
        assert (answer.status_code, answer.json["code"]) == (403, "withheld")
        assert answer.json["detail"].startswith("The catalogue says that this photo is not to be colorized.")
    assert member.api("GET", f"/jobs/{job_id}/zoom").status_code == 403
    assert member.browser().get(f"/jobs/{job_id}/zoom.dzi").status_code in (403, 404)
    assert member.api("GET", f"/jobs/{job_id}/files/original").status_code == 200
    page = member.browser().get(f"/jobs/{job_id}").text
    assert "Its colored result is not given out." in page
    assert "No color was added" not in page
    [row] = csv.DictReader(io.StringIO(member.api("GET", f"/batches/{batch_id}/report.csv").text))
    assert (row["outcome"], row["result"], row["catalogue:do_not_colorize"]) == ("ready", "", "yes")
    archive = member.api("GET", f"/batches/{batch_id}/results.zip").data
    assert b"the result" not in archive
    restore(row["job"])
    assert "No color was added, as the catalogue says." in member.browser().get(f"/jobs/{row['job']}").text


def test_a_bad_catalogue_is_refused_with_all_that_is_wrong(member: Person) -> None:
    batch_id = member.open_batch()
    answer = send(member, batch_id, "filename,do_not_colorize\na.jpg,maybe\nb.jpg\na.jpg,\n")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid_catalogue")
    assert answer.json["detail"] == (
        "Row 2: do_not_colorize is “maybe”; it must be yes or no. Row 3 has 1 cells, the header has 2."
    )
    assert send(member, batch_id, "").status_code == 422


def test_a_page_checks_first_and_imports_what_was_checked(member: Person) -> None:
    batch_id = member.open_batch()
    member.deposit(batch_id, "a.jpg")
    browser, path = member.browser(), f"/batches/{batch_id}/catalogue"
    checked = post(browser, f"{path}/check", CSV).text
    assert "2 records, 1 photo matched." in checked
    assert "gone.jpg · NM 2 (row 3)" in checked
    [digest] = re.findall(r'name="checked" value="(\w+)"', checked)
    unchecked = post(browser, path, CSV)
    assert (unchecked.status_code, "2 records, 1 photo matched." in unchecked.text) == (200, True)
    changed = post(browser, path, FORBIDDING, checked=digest)
    assert (changed.status_code, "1 photo is not to be colorized" in changed.text) == (200, True)
    assert "2 records" not in browser.get(path).text
    assert post(browser, path, CSV, checked=digest).status_code == 303
    shown = browser.get(path).text
    assert "Imported 2 records." in shown
    assert "2 records; 1 photo has one." in shown
    assert "gone.jpg" in browser.get(f"/batches/{batch_id}/unmatched.csv").text
    listed = post(browser, f"{path}/unmatched.csv", CSV.replace("gone", "lost"))
    assert (listed.mimetype, "lost.jpg" in listed.text) == ("text/csv", True)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 a workbook", b"filename,title\n1,2,3\n", b"\x81\x8d"])
def test_a_page_says_what_is_wrong_and_imports_nothing(member: Person, data: bytes) -> None:
    batch_id = member.open_batch()
    browser, path = member.browser(), f"/batches/{batch_id}/catalogue"
    answer = post(browser, path, data)
    assert answer.status_code == 422
    assert "Nothing was imported." in answer.text
    no_file = browser.post(f"{path}/check", data={"csrf_token": csrf_token(browser, path)})
    assert "Choose the catalogue first" in no_file.text


def test_photos_are_found_sorted_and_filtered(member: Person, stranger: Person) -> None:
    first, second = member.open_batch("Box 7"), member.open_batch("Box 8")
    send(member, first)
    ids = {name: member.deposit(first, name, name.encode())["id"] for name in ("a.jpg", "IMG_0010.jpg", "IMG_9.jpg")}
    ids["x/IMG_0010.jpg"] = member.deposit(second, "x/IMG_0010.jpg")["id"]

    def found(**query: str) -> list[str]:
        return [item["id"] for item in member.api("GET", "/photos", query_string=query).json["items"]]

    assert found(q="straße NM") == [ids["a.jpg"]]
    assert found(q="img 0010", sort="deposited") == [ids["IMG_0010.jpg"], ids["x/IMG_0010.jpg"]]
    assert found(q="img 0010", batch=first) == [ids["IMG_0010.jpg"]]
    assert found(batch=first, sort="name") == [ids["a.jpg"], ids["IMG_9.jpg"], ids["IMG_0010.jpg"]]
    assert found(state="restored") == found(reason_code="empty") == []
    page = member.api("GET", "/photos", query_string={"limit": "3", "sort": "name"}).json
    rest = member.api("GET", "/photos", query_string={"limit": "3", "sort": "name", "after": page["next"]}).json
    assert [item["id"] for item in page["items"] + rest["items"]] == [
        ids[name] for name in ("a.jpg", "IMG_9.jpg", "IMG_0010.jpg", "x/IMG_0010.jpg")
    ]
    assert page["items"][0]["title"] == "Straße nach Köln"
    assert stranger.api("GET", "/photos", query_string={"q": "img"}).json["items"] == []
    assert stranger.api("GET", "/photos", query_string={"batch": first}).status_code == 404
    assert member.api("GET", "/photos", query_string={"sort": "color"}).status_code == 400


def test_pages_search_one_batch_or_all(member: Person) -> None:
    first, second = member.open_batch("Box 7"), member.open_batch("Box 8")
    send(member, first)
    for batch_id, name in ((first, "a.jpg"), (first, "b.jpg"), (second, "koeln.jpg")):
        member.deposit(batch_id, name, name.encode())
    browser = member.browser()
    everywhere = browser.get("/search?q=KOLN").text
    assert ("a.jpg" in everywhere, "Box 7" in everywhere, "koeln.jpg" in everywhere) == (True, True, False)
    here = browser.get(f"/batches/{first}?q=köln&sort=name&state=ready").text
    assert (here.count('class="card"'), "a.jpg" in here) == (1, True)
    assert "No photo found" in browser.get(f"/batches/{first}?q=nothing").text
    assert "No photo found" in browser.get("/search?q=%22%00<script>").text
    assert browser.get("/search?sort=color").status_code == browser.get("/search?state=x").status_code == 400
    assert browser.get("/search").status_code == 200

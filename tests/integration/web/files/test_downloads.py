import csv
import hashlib
import io
import zipfile
from collections.abc import Callable
from uuid import UUID

import pytest
from tests.integration.web.conftest import Person
from werkzeug.test import TestResponse

from retint.errors import NotFound
from retint.jobs import changes
from retint.services import Services

RESULT = bytes(range(256)) * 40


@pytest.fixture
def job_id(member: Person, restore: Callable[..., None]) -> str:
    job_id = str(member.deposit(member.open_batch(), "album/a.jpg")["id"])
    restore(job_id, result=RESULT)
    return job_id


def _result(member: Person, job_id: str, **headers: str) -> TestResponse:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return member.browser().get(f"/jobs/{job_id}/files/result", headers=headers, buffered=True)


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=100-199", 100, 200),
        ("bytes=10000-", 10_000, len(RESULT)),
        ("bytes=-5", len(RESULT) - 5, len(RESULT)),
        ("bytes=5-999999", 5, len(RESULT)),
    ],
)
def test_a_range_of_a_file_is_sent(member: Person, job_id: str, wanted: str, start: int, stop: int) -> None:
    answer = _result(member, job_id, Range=wanted)
    assert answer.status_code == 206
    assert answer.data == RESULT[start:stop]
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(RESULT)}"
    assert answer.content_length == stop - start


@pytest.mark.parametrize("wanted", ["bytes=0-1,5-6", "lines=1-2", "bytes=x", "bytes=9-2", ""])
def test_a_range_that_is_none_gets_the_whole(member: Person, job_id: str, wanted: str) -> None:
    answer = _result(member, job_id, Range=wanted)
    assert answer.status_code == 200
    assert answer.data == RESULT


def test_a_range_beyond_the_end_is_refused(member: Person, job_id: str) -> None:
    answer = _result(member, job_id, Range=f"bytes={len(RESULT)}-")
    assert answer.status_code == 416
    assert answer.headers["Content-Range"] == f"bytes */{len(RESULT)}"


def test_a_file_is_kept_for_good(member: Person, job_id: str) -> None:
    answer = _result(member, job_id)
    etag = answer.headers["ETag"]
    assert "immutable" in answer.headers["Cache-Control"]
    assert "private" in answer.headers["Cache-Control"]
    assert _result(member, job_id, If_None_Match=etag).status_code == 304
    assert _result(member, job_id, If_None_Match='"other"').status_code == 200
    assert _result(member, job_id, Range="bytes=0-9", If_Range=etag).status_code == 206
    assert _result(member, job_id, Range="bytes=0-9", If_Range='"other"').data == RESULT


def test_what_comes_from_outside_is_saved_and_never_shown(member: Person, restore: Callable[..., None]) -> None:
    job_id = member.deposit(member.open_batch(), "evil.html", b"<script>alert(1)</script>")["id"]
    answer = member.browser().get(f"/jobs/{job_id}/files/original", buffered=True)
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == "attachment; filename=evil.html"
    assert "sandbox" in answer.headers["Content-Security-Policy"]


def test_pictures_are_shown_and_can_be_saved(member: Person, job_id: str) -> None:
    browser = member.browser()
    shown = browser.get(f"/jobs/{job_id}/files/preview", buffered=True)
    assert shown.headers["Content-Type"] == "image/jpeg"
    assert shown.headers["Content-Disposition"] == "inline; filename=a-preview.jpg"
    saved = browser.get(f"/jobs/{job_id}/files/result?download=1", buffered=True)
    assert saved.headers["Content-Disposition"] == "attachment; filename=a.jpg"
    assert browser.get(f"/jobs/{job_id}/files/nothing").status_code == 404


def test_accession_numbers_keep_their_name_in_a_zip_and_as_downloads(
    member: Person, restore: Callable[..., None]
) -> None:
    batch_id = member.open_batch()
    names = ["1923.45.12", "1923.45.13", "Portrait of Mr. Smith", "box.7/1923.45.12.tif", "scan.png"]
    job_ids = [str(member.deposit(batch_id, name, name.encode())["id"]) for name in names]
    restore(*job_ids, result=RESULT)
    browser = member.browser()
    packed = browser.get(f"/batches/{batch_id}/results.zip", buffered=True)
    with zipfile.ZipFile(io.BytesIO(packed.data)) as archive:
        results = [name for name in archive.namelist() if name.endswith(".jpg")]
        assert results == [
            "1923.45.12.jpg", "1923.45.13.jpg", "Portrait of Mr. Smith.jpg", "box.7/1923.45.12.jpg", "scan.jpg",
        ]  # fmt: skip
        assert {f"{name}.provenance.json" for name in results} <= set(archive.namelist())
    for file, name in {
        "result": "1923.45.12.jpg",
        "preview": "1923.45.12-preview.jpg",
        "original": "1923.45.12",
    }.items():
        sent = browser.get(f"/jobs/{job_ids[0]}/files/{file}?download=1", buffered=True)
        assert sent.headers["Content-Disposition"] == f"attachment; filename={name}"


def test_a_files_name_arrives_whole(member: Person, restore: Callable[..., None]) -> None:
    job_id = member.deposit(member.open_batch(), '../Großmutter\'s "Hochzeit" 💐.tif')["id"]
    restore(job_id, suffix="tif")
    header = member.browser().get(f"/jobs/{job_id}/files/result", buffered=True).headers["Content-Disposition"]
    assert header.startswith("attachment; filename=")
    assert "filename*=UTF-8''Gro%C3%9Fmutter" in header
    assert header.isascii()
    assert ".." not in header


def test_each_page_of_a_photo_has_its_previews(member: Person, restore: Callable[..., None]) -> None:
    job_id = member.deposit(member.open_batch(), "album.tif")["id"]
    one = {"number": 1, "role": "photograph", "kind": "neutral"}
    other = {"number": 3, "role": "photograph", "kind": "color", "width": 70, "height": 50, "bits": 16}
    restore(job_id, pages=[one, {"number": 2, "role": "mask"}, other], suffix="tif")
    browser = member.browser()
    first, third = (browser.get(f"/jobs/{job_id}{query}").text for query in ("", "?page=3"))
    assert "2 photographs, 1 mask" in first
    assert "files/preview-3" not in first
    assert "files/preview-3" in third
    assert "70 × 50 pixels" in third
    for page in ("2", "4", "x", ""):
        assert browser.get(f"/jobs/{job_id}?page={page}").status_code == 404


def test_a_list_shows_the_picture_that_networks_look_at_whatever_its_name(
    member: Person, restore: Callable[..., None]
) -> None:
    job_id = member.deposit(member.open_batch(), "a.jpg")["id"]
    region = {"rectangles": [[0.1, 0.1, 0.5, 0.5]], "confidence": 0.9, "found": "auto"}
    restore(job_id, found={"region": region})
    shown = member.api("GET", f"/jobs/{job_id}").json
    assert "crop" in shown["files"]
    assert "proxy" not in shown["files"]
    browser = member.browser()
    for name in ("proxy", "crop"):
        assert browser.get(f"/jobs/{job_id}/files/{name}").data == b"a proxy"


NAMES = [
    "a.jpg",
    "sub/a.jpg",
    "A.JPG",
    "../../etc/passwd",
    "=cmd|' /C calc'!A0.jpg",
    "b.png",
    "x\u202egpj.exe",
    "line\nbreak.jpg",
]


@pytest.fixture
def batch_id(member: Person, restore: Callable[..., None]) -> str:
    """A batch of photos with strange names, all restored but the last."""
    batch_id = member.open_batch("Box 7: Hochzeit")
    ids = [member.deposit(batch_id, name, f"bytes of {name}".encode())["id"] for name in NAMES]
    restore(*ids[:-1], result=RESULT)
    return batch_id


def _rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_the_report_has_every_file_once(member: Person, batch_id: str) -> None:
    answer = member.api("GET", f"/batches/{batch_id}/report.csv")
    assert answer.mimetype == "text/csv"
    rows = _rows(answer.text)
    assert len(rows) == len(NAMES)
    assert [row["outcome"] for row in rows] == ["restored"] * (len(NAMES) - 1) + ["ready"]
    for name, row in zip(NAMES, rows, strict=True):
        assert row["original_sha256"] == hashlib.sha256(f"bytes of {name}".encode()).hexdigest()
        assert row["original_bytes"] == str(len(f"bytes of {name}".encode()))
    assert {row["result_sha256"] for row in rows[:-1]} == {hashlib.sha256(RESULT).hexdigest()}
    assert (rows[-1]["result"], rows[-1]["result_sha256"]) == ("", "")


def test_no_cell_of_the_report_is_a_formula(member: Person, batch_id: str) -> None:
    text = member.api("GET", f"/batches/{batch_id}/report.csv").text
    cells = [cell for row in csv.reader(io.StringIO(text, newline="")) for cell in row]
    assert "'=cmd|' /C calc'!A0.jpg" in cells
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]
    assert "x<U+202E>gpj.exe" in cells
    assert "line<U+000A>break.jpg" in cells


def test_the_report_for_people_tells_spreadsheets_its_coding(member: Person, batch_id: str) -> None:
    page = member.browser().get(f"/batches/{batch_id}/report.csv")
    assert page.data.startswith(b"\xef\xbb\xbffile,")
    assert page.data[3:] == member.api("GET", f"/batches/{batch_id}/report.csv").data


def test_the_zip_has_every_result_under_a_safe_name(member: Person, batch_id: str) -> None:
    answer = member.browser().get(f"/batches/{batch_id}/results.zip", buffered=True)
    assert "attachment" in answer.headers["Content-Disposition"]
    archive = zipfile.ZipFile(io.BytesIO(answer.data))
    assert archive.testzip() is None
    names = archive.namelist()
    report = _rows(archive.read("report.csv").decode())
    results = [row["result"].removeprefix("'") for row in report if row["result"]]
    folder = "=cmd_'/C calc'!A0.jpg"
    assert results == ["a.jpg", "sub/a.jpg", "A (2).JPG", "etc/passwd.jpg", folder, "b.jpg", "x_U+202E_gpj.exe.jpg"]
    assert sorted(names) == sorted([*results, *(f"{name}.provenance.json" for name in results), "report.csv"])
    assert all(archive.read(name) == RESULT for name in results)
    assert len({name.casefold() for name in names}) == len(names)


def test_an_empty_batch_has_an_empty_report_and_zip(member: Person) -> None:
    batch_id = member.open_batch()
    assert _rows(member.api("GET", f"/batches/{batch_id}/report.csv").text) == []
    data = member.api("GET", f"/batches/{batch_id}/results.zip").data
    assert zipfile.ZipFile(io.BytesIO(data)).namelist() == ["report.csv"]


def test_a_long_report_comes_in_parts(member: Person, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retint.reports.CHUNK", 3)
    batch_id = member.open_batch()
    for n in range(8):
        member.deposit(batch_id, f"{n}.jpg")
    rows = _rows(member.api("GET", f"/batches/{batch_id}/report.csv").text)
    assert [row["file"] for row in rows] == [f"{n}.jpg" for n in range(8)]


def test_where_browsers_reach_the_store_they_are_sent_there(
    member: Person, job_id: str, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed = "https://photos.example/bucket/key?signature=1"
    monkeypatch.setattr(type(services.store), "url", lambda *_, **__: signed)
    answer = member.api("GET", f"/jobs/{job_id}/files/result", follow_redirects=False)
    assert (answer.status_code, answer.headers["Location"]) == (302, signed)
    assert "immutable" not in answer.headers["Cache-Control"]


def test_a_result_that_the_store_lost_is_not_half_a_download(member: Person, job_id: str, services: Services) -> None:
    services.store.delete(blob.key for blob in services.store.list("tenants/") if "result" in blob.key)
    answer = _result(member, job_id)
    assert answer.status_code == 404
    batch_id = member.api("GET", f"/jobs/{job_id}").json["batch_id"]
    with pytest.raises(NotFound):
        _ = member.browser().get(f"/batches/{batch_id}/results.zip", buffered=True).data


def test_a_film_is_played_in_parts(member: Person, restore: Callable[..., None]) -> None:
    job_id = str(member.deposit(member.open_batch(), "street.mp4")["id"])
    restore(job_id, result=b"0123456789", suffix="mp4")
    browser = member.browser()
    part = browser.get(f"/jobs/{job_id}/files/result", headers={"Range": "bytes=4-"})
    if part.status_code == 302:  # a store of its own sends it; its tests are in storage
        return
    assert (part.status_code, part.data, part.mimetype) == (206, b"456789", "video/mp4")
    assert part.headers["Content-Range"] == "bytes 4-9/10"
    policy = browser.get(f"/jobs/{job_id}").headers["Content-Security-Policy"]
    assert "media-src 'self'" in policy


def test_a_result_without_color_says_why_on_its_page_and_in_the_report(
    member: Person, restore: Callable[..., None]
) -> None:
    batch_id = member.open_batch()
    job_id = str(member.deposit(batch_id, "stamp.png")["id"])
    sentence = "There is no room for color in it."
    restore(job_id, colorless=sentence)
    page = member.browser().get(f"/jobs/{job_id}").text
    assert page.count(sentence) == 1
    assert "conjecture. The network" not in page
    [row] = csv.DictReader(io.StringIO(member.api("GET", f"/batches/{batch_id}/report.csv").text))
    assert (row["outcome"], row["remark"]) == ("restored", sentence)


def test_a_note_reaches_the_page_the_api_and_the_report(member: Person, restore: Callable[..., None]) -> None:
    batch_id = member.open_batch()
    job_id = str(member.deposit(batch_id, "stamp.png")["id"])
    notes = ["The profile is damaged.", "Thumbnails are left out."]
    restore(job_id, notes=notes)
    page = member.browser().get(f"/jobs/{job_id}").text
    assert [page.count(note) for note in notes] == [1, 1]
    assert "except as said above" in page
    assert member.api("GET", f"/jobs/{job_id}").json["notes"] == notes
    [row] = csv.DictReader(io.StringIO(member.api("GET", f"/batches/{batch_id}/report.csv").text))
    assert row["notes"] == "The profile is damaged. Thumbnails are left out."


def test_a_file_that_was_run_again_is_in_the_report_and_the_zip_once(
    member: Person, job_id: str, restore: Callable[..., None], services: Services
) -> None:
    batch_id = member.api("GET", f"/jobs/{job_id}").json["batch_id"]
    received = member.browser().get(f"/batches/{batch_id}/receipt.csv").text
    with services.begin() as session:
        new = str(changes.replace_job(session, member.identity.tenant_id, UUID(job_id)).id)
    restore(new, result=b"better")
    assert member.browser().get(f"/batches/{batch_id}/receipt.csv").text == received
    report = member.api("GET", f"/batches/{batch_id}/report.csv").text
    [row] = csv.DictReader(io.StringIO(report))
    assert (row["job"], row["result_sha256"]) == (new, hashlib.sha256(b"better").hexdigest())
    assert row["earlier_results"] == f"{job_id} {hashlib.sha256(RESULT).hexdigest()}"
    archive = member.api("GET", f"/batches/{batch_id}/results.zip", buffered=True).data
    with zipfile.ZipFile(io.BytesIO(archive)) as results:
        assert results.read("album/a.jpg") == b"better"
        assert len(results.namelist()) == 3
    assert _result(member, job_id).data == RESULT, "the old result stays"
    old, newest = (member.api("GET", f"/jobs/{each}").json for each in (job_id, new))
    assert (old["replaced_by"], newest["replaces"]) == (new, job_id)
    assert f'href="/jobs/{new}"' in member.browser().get(f"/jobs/{job_id}").text
    assert f'href="/jobs/{job_id}"' in member.browser().get(f"/jobs/{new}").text

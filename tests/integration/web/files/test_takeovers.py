"""A result that was taken over: shown, reported and downloaded like any other, and said to be what it is."""

import csv
import io
from collections.abc import Callable
from uuid import UUID

import pytest
from tests.integration.web.conftest import Person

from retint import recipes
from retint.jobs import takeovers
from retint.services import Services


@pytest.fixture
def taken_over(member: Person, services: Services, restore: Callable[..., None]) -> dict[str, str]:
    """A job that was restored, and one of another batch that took its result over."""
    recipe = recipes.parse({})
    source = member.deposit(member.open_batch("Box 1"), "album/a.jpg")["id"]
    weights = recipes.find_weights(recipe, services.settings.weights)
    restore(source, result=b"the result", size=(3000, 2000), made_with=recipes.hash_making(recipe, weights))
    batch_id = member.open_batch("Box 2")
    job_id = member.deposit(batch_id, "again.jpg")["id"]
    with services.begin() as session:
        tenant_id, imported = member.identity.tenant_id, services.settings.weights
        assert takeovers.take_over(session, tenant_id, UUID(batch_id), recipe, 9, imported) == 1
    return {"source": source, "job": job_id, "batch": batch_id}


def test_the_report_says_from_which_job_a_result_was_taken_over(member: Person, taken_over: dict[str, str]) -> None:
    text = member.api("GET", f"/batches/{taken_over['batch']}/report.csv").text
    [row] = csv.DictReader(io.StringIO(text))
    assert (row["file"], row["outcome"], row["job"]) == ("again.jpg", "restored", taken_over["job"])
    assert row["taken_over_from"] == taken_over["source"]
    assert row["result_sha256"]


def test_the_page_says_so_with_a_link_and_offers_the_same_files(member: Person, taken_over: dict[str, str]) -> None:
    page = member.browser().get(f"/jobs/{taken_over['job']}").text
    assert f'href="/jobs/{taken_over["source"]}">made of this photo before' in page
    assert "of work" not in page
    assert "0 s" not in page
    files = [member.browser().get(f"/jobs/{taken_over[which]}/files/result").data for which in ("job", "source")]
    assert files == [b"the result", b"the result"]
    assert "taken over" not in member.browser().get(f"/jobs/{taken_over['source']}").text


def test_the_api_names_the_source(member: Person, stranger: Person, taken_over: dict[str, str]) -> None:
    job = member.api("GET", f"/jobs/{taken_over['job']}").json
    assert job["taken_over_from"] == taken_over["source"]
    assert job["seconds"] == 0
    assert {attempt["source"] for attempt in job["attempts"]} == {taken_over["source"]}
    source = member.api("GET", f"/jobs/{taken_over['source']}").json
    assert source["taken_over_from"] is None
    assert stranger.api("GET", f"/jobs/{taken_over['job']}/files/result").status_code == 404


def test_both_have_the_same_zoom(
    member: Person, services: Services, taken_over: dict[str, str], put_zoom: Callable[..., str]
) -> None:
    put_zoom(member, taken_over["source"])
    answers = [member.api("GET", f"/jobs/{taken_over[which]}/zoom") for which in ("source", "job")]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].data == answers[1].data

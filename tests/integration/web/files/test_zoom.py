"""Deep zoom: asked of a worker when somebody first looks, then sent tile by tile out of one blob."""

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest
from tests.integration.web.conftest import Person, make_deep_zoom

from retint.broker import MOST_URGENT, ZOOM_PRIORITY
from retint.jobs import changes
from retint.lifecycle import Stage
from retint.services import Services
from retint_web.app import create_app

LARGE = (3000, 2000)
EMBEDDED = pytest.mark.parametrize("backends", ["embedded"], indirect=True)
TILE = "zoom_files/1/1_0.jpg"


@pytest.fixture
def job_id(member: Person, restore: Callable[..., None]) -> str:
    job_id = str(member.deposit(member.open_batch(), "album/a.jpg")["id"])
    restore(job_id, size=LARGE)
    return job_id


def count_asked(services: Services) -> int:
    return services.connect_broker().count_messages()["cpu"]


def test_a_zoom_is_asked_for_once_and_sent_when_it_is_made(
    member: Person, services: Services, job_id: str, put_zoom: Callable[..., str]
) -> None:
    browser = member.browser()
    assert f'data-tiles="/jobs/{job_id}/zoom.dzi"' in browser.get(f"/jobs/{job_id}").text
    assert count_asked(services) == 0, "it is asked for by who looks closer, not by who opens the page"
    for _ in range(3):
        answer = browser.get(f"/jobs/{job_id}/zoom.dzi")
        assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.json == {"detail": "The zoom is being prepared: ask again."}
    assert browser.get(f"/jobs/{job_id}/{TILE}").status_code == 404
    assert count_asked(services) == 1
    put_zoom(member, job_id)
    dzi = browser.get(f"/jobs/{job_id}/zoom.dzi")
    assert (dzi.status_code, dzi.text, dzi.mimetype) == (200, "<Image TileSize='254'/>", "application/xml")
    assert dzi.headers["Cache-Control"] == "private, no-cache"
    for path in ("zoom/1/1_0.jpg", TILE, "zoom_files/1/1_0.jpeg"):
        tile = browser.get(f"/jobs/{job_id}/{path}")
        assert (tile.text, tile.mimetype) == ("tile 1 1 0", "image/jpeg")
        assert "immutable" in tile.headers["Cache-Control"]
    assert browser.get(f"/jobs/{job_id}/zoom/0/0_0.jpg").text == "tile 0 0 0"
    for path in ("zoom/2/0_0.jpg", "zoom/1/9_9.jpg", "zoom/99999999999999999999/0_0.jpg"):
        assert browser.get(f"/jobs/{job_id}/{path}").status_code == 404
    assert count_asked(services) == 1


@EMBEDDED
def test_each_page_has_a_zoom_of_its_own(
    member: Person, services: Services, restore: Callable[..., None], put_zoom: Callable[..., str]
) -> None:
    job_id = member.deposit(member.open_batch(), "album.tif")["id"]
    page = {"role": "photograph", "kind": "neutral", "width": LARGE[0], "height": LARGE[1]}
    small = page | {"number": 4, "width": 70, "height": 50}
    restore(
        job_id, pages=[page | {"number": 1}, {"number": 2, "role": "mask"}, page | {"number": 3}, small], size=LARGE
    )
    browser = member.browser()
    assert f"/jobs/{job_id}/pages/3/zoom.dzi" in browser.get(f"/jobs/{job_id}?page=3").text
    assert "data-tiles" not in browser.get(f"/jobs/{job_id}?page=4").text
    for path, status in {"": 202, "pages/1/": 202, "pages/3/": 202, "pages/2/": 404, "pages/4/": 404}.items():
        assert browser.get(f"/jobs/{job_id}/{path}zoom.dzi").status_code == status, path
    assert count_asked(services) == 2
    keys = {put_zoom(member, job_id, 1), put_zoom(member, job_id, 3, make_deep_zoom("third "))}
    assert sorted(key.rpartition("/")[2] for key in keys) == ["zoom-3.szi", "zoom.szi"]
    assert browser.get(f"/jobs/{job_id}/{TILE}").text == "tile 1 1 0"
    assert browser.get(f"/jobs/{job_id}/pages/3/{TILE}").text == "third tile 1 1 0"


@EMBEDDED
def test_what_cannot_be_zoomed_into_is_not_asked_for(
    member: Person, stranger: Person, services: Services, restore: Callable[..., None], job_id: str
) -> None:
    batch_id = member.open_batch()
    small, waiting, cancelled = (str(member.deposit(batch_id, name)["id"]) for name in ("s.jpg", "w.jpg", "c.jpg"))
    restore(small)
    with services.begin() as session:
        changes.cancel_job(session, member.identity.tenant_id, UUID(cancelled))
    for number in (small, waiting, cancelled, str(uuid4())):
        assert member.browser().get(f"/jobs/{number}/zoom.dzi").status_code == 404
    assert stranger.browser().get(f"/jobs/{job_id}/zoom.dzi").status_code == 404
    assert "data-tiles" not in member.browser().get(f"/jobs/{small}").text
    assert count_asked(services) == 0


def test_the_api_gives_the_zoom_as_a_file(
    member: Person, services: Services, job_id: str, put_zoom: Callable[..., str]
) -> None:
    answer = member.api("GET", f"/jobs/{job_id}/zoom")
    assert (answer.status_code, answer.headers["Retry-After"]) == (202, "1")
    assert member.api("GET", f"/jobs/{job_id}/zoom?page=2").status_code == 404
    put_zoom(member, job_id)
    answer = member.api("GET", f"/jobs/{job_id}/zoom?page=1", buffered=True)
    assert (answer.status_code, answer.data) == (200, make_deep_zoom())
    assert "zoom" not in member.api("GET", f"/jobs/{job_id}").json["files"]


@EMBEDDED
def test_who_asks_hears_that_nobody_can_be_asked(member: Person, services: Services, job_id: str) -> None:
    lonely = create_app(services.connect(services.settings.model_copy(update={"broker_url": "redis://127.0.0.1:9/0"})))
    answer = Person(member.identity, member.token, lonely).browser().get(f"/jobs/{job_id}/zoom.dzi")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers


@EMBEDDED
def test_no_more_is_asked_for_while_much_that_is_urgent_waits(member: Person, services: Services, job_id: str) -> None:
    link = services.connect_broker()
    for _ in range(MOST_URGENT):
        link.send(Stage.INGEST, [uuid4()], ZOOM_PRIORITY)
    assert member.browser().get(f"/jobs/{job_id}/zoom.dzi").status_code == 202
    assert count_asked(services) == MOST_URGENT
    link.redis.flushdb()
    assert member.browser().get(f"/jobs/{job_id}/zoom.dzi").status_code == 202
    assert count_asked(services) == 1


def test_a_zoom_that_is_lost_is_asked_for_again_and_one_made_anew_is_read_anew(
    member: Person, services: Services, job_id: str, put_zoom: Callable[..., str]
) -> None:
    browser, key = member.browser(), put_zoom(member, job_id)
    assert browser.get(f"/jobs/{job_id}/{TILE}").text == "tile 1 1 0"
    services.store.delete([key])
    assert browser.get(f"/jobs/{job_id}/zoom.dzi").status_code == 202
    assert browser.get(f"/jobs/{job_id}/{TILE}").status_code == 404
    put_zoom(member, job_id, data=make_deep_zoom("longer "))
    assert browser.get(f"/jobs/{job_id}/{TILE}").text == "longer tile 1 1 0"
    assert browser.get(f"/jobs/{job_id}/zoom.dzi").status_code == 200

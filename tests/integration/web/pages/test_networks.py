"""The networks' cards in pages and API, and the recipe form that is made of them."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from markupsafe import escape
from tests.integration.web.conftest import JPEG, Person, csrf_token

from retint import remote
from retint.settings import Settings
from retint_models.weights.cards import read_cards
from retint_web.pages.networks import SCORES

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Settings with weights of `artistic`, which nobody runs."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "artistic.safetensors").write_bytes(b"weights")
    (folder / "artistic.toml").write_text(f'sha256 = "{"ab" * 32}"\n')
    return settings.model_copy(update={"weights": folder})


@pytest.fixture
def photo_url(app: Flask) -> Iterator[str]:
    """Address of a photo on a local web server that the portal may ask."""

    class Server(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_there = self.path == "/album/aunt.jpg"
            self.send_response(200 if is_there else 404)
            self.end_headers()
            if is_there:
                self.wfile.write(JPEG)

        def log_message(self, *_: object) -> None:
            pass

    app.config["ACCESS_POLICY"] = remote.AccessPolicy(is_allowed=lambda address, port: True)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/album/aunt.jpg"
        server.shutdown()


def test_every_network_has_a_card_whether_its_weights_are_here_or_not(member: Person) -> None:
    cards = {card["name"]: card for card in member.api("GET", "/networks").json["items"]}
    assert {"compact", "artistic", "stable", "video", "ddcolor", "yuv-gan", "compact-defade"} <= cards.keys()
    assert cards["artistic"]["is_here"]
    assert cards["artistic"]["sha256"] == "ab" * 32
    assert not cards["stable"]["is_here"]
    assert cards["stable"]["sha256"] == ""
    assert cards["compact"]["official"] == cards["defade-deoldify"]["official"] == []
    (tiny,) = cards["ddcolor-tiny"]["published_scores"]
    assert tiny["scores"]["FID"] == 4.38
    assert [file["file"] for file in cards["ddcolor"]["official"]] == ["pytorch_model.bin", "ddcolor_modelscope.pth"]
    for name, card in cards.items():
        assert card["good_at"].endswith("."), name
        assert card["weaknesses"], name
        assert card["license"], name
        assert member.api("GET", f"/networks/{name}").json == card
    assert member.api("GET", "/networks/nobody").status_code == 404


def test_a_card_tells_a_curator_and_a_researcher(member: Person, admin: Person) -> None:
    page = member.browser().get("/networks/stable").text
    card = read_cards()["stable"]
    for said in (
        str(escape(card.good_at)),
        *(str(escape(weakness)) for weakness in card.weaknesses),
        "218,222,197",
        "MIT",
        "ImageNet",
        "render_factor",
    ):
        assert said in page
    assert "An operator of this installation can install them." in page
    assert "retint weights fetch" not in page
    assert "retint weights fetch stable" in admin.browser().get("/networks/stable").text
    ours = member.browser().get("/networks/compact").text
    assert str(read_cards()["compact"].scores["delta_e2000"]) in ours
    assert "not installed" not in ours
    both = admin.browser().get("/networks").text
    assert "retint weights fetch stable" in both
    assert "retint weights fetch artistic" not in both


def test_a_page_says_which_weights_have_which_scores_where_they_are_and_what_must_be_accepted(
    member: Person, admin: Person
) -> None:
    page = member.browser().get("/networks/ddcolor").text
    for said in (
        "Not measured by us.",
        '<dt>FID</dt><dd class="number">3.92</dd>',
        "ddcolor_paper, which are not these",
        "Whether ImageNet&#39;s terms",
        'href="https://huggingface.co/piddnad/ddcolor_modelscope/resolve/060f67494e31883a4b13cb27f889f3154847ada4/pytorch_model.bin"',
        "17c460d7e55b32a598370621d77173be59e03c24b0823f06821db23a50c263ce",
    ):
        assert said in page
    opted_in = admin.browser().get("/networks/ddcolor-artistic").text
    assert "trained on private pictures" in opted_in
    assert "retint weights fetch ddcolor-artistic --accept-undisclosed-data" in opted_in


def test_every_score_is_told_in_words(member: Person) -> None:
    for card in read_cards().values():
        assert card.scores.keys() <= SCORES.keys(), card.name
    assert "Without photographs that the encoder may have been trained on: Color difference" in (
        member.browser().get("/networks/compact-defade").text
    )


def test_the_form_offers_only_networks_that_are_here_with_what_they_are_good_at(member: Person) -> None:
    form = member.browser().get("/deposit").text
    assert 'value="artistic"' in form
    assert 'value="stable"' not in form
    assert str(escape(read_cards()["artistic"].good_at)) in form
    assert 'href="/networks/artistic"' in form
    assert 'name="artistic.render_factor" min="7" max="45" step="1" value="35"' in form


@pytest.mark.parametrize(
    ("fields", "colorizer", "kept"),
    [
        ({}, "compact", {}),
        (
            {"colorizer": "artistic", "artistic.render_factor": "28", "compact.gain": "3"},
            "artistic",
            {"render_factor": 28},
        ),
        ({"colorizer": "artistic", "artistic.render_factor": "35"}, "artistic", {}),
        ({"colorizer": "keep", "compact.gain": "3"}, "keep", {}),
    ],
)
def test_only_the_chosen_networks_settings_count(
    member: Person, fields: dict[str, str], colorizer: str, kept: dict[str, float]
) -> None:
    browser = member.browser()
    form = {"csrf_token": csrf_token(browser, "/deposit"), "name": "Box", "watermark": "1", **fields}
    opened = browser.post("/deposit/batches", data=form)
    assert opened.status_code == 201, opened.text
    batch = member.api("GET", "/batches").json["items"][0]
    assert batch["recipe"]["colorizer"] == colorizer
    assert batch["recipe"]["colorizer_settings"] == kept
    assert batch["recipe"]["watermark"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"colorizer": "artistic", "artistic.render_factor": "46"}, "between 7 and 45"),
        ({"colorizer": "artistic", "artistic.render_factor": "20.5"}, "whole number"),
        ({"colorizer": "artistic", "artistic.render_factor": "large"}, "must be a number"),
        ({"colorizer": "artistic", "artistic.render_factor": "nan"}, "finite"),
        ({"colorizer": "stable"}, "weights of stable are not installed"),
        ({"strength": "2"}, "strength"),
    ],
)
def test_a_setting_out_of_range_is_said(member: Person, fields: dict[str, str], said: str) -> None:
    browser = member.browser()
    form = {"csrf_token": csrf_token(browser, "/deposit"), "name": "Box", **fields}
    answer = browser.post("/deposit/batches", data=form)
    assert answer.status_code in (400, 422)
    assert said in answer.text


def test_a_photo_is_deposited_from_an_address(member: Person, photo_url: str, tmp_path: Path) -> None:
    batch_id = member.open_batch()
    job = member.api("POST", f"/batches/{batch_id}/jobs", json={"url": photo_url})
    assert job.status_code == 201, job.text
    assert (job.json["name"], job.json["sha256"]) == ("aunt.jpg", hashlib.sha256(JPEG).hexdigest())
    named = member.api("POST", f"/batches/{batch_id}/jobs", json={"url": photo_url, "name": "1912/aunt.jpg"})
    assert named.json["name"] == "1912/aunt.jpg"
    assert named.json["photo_id"] == job.json["photo_id"]

    browser = member.browser()
    token = csrf_token(browser, "/deposit")
    path = f"/deposit/batches/{batch_id}/addresses"
    assert browser.post(path, data={"csrf_token": token, "address": photo_url}).status_code == 201
    missing = browser.post(path, data={"csrf_token": token, "address": photo_url.replace("aunt", "uncle")})
    assert missing.status_code == 422
    assert "404" in missing.text
    plain = browser.post("/deposit", data={"csrf_token": token, "name": "From the web", "address": photo_url})
    shown = browser.get(plain.headers["Location"]).text
    assert "aunt.jpg" in shown
    trial = member.api("POST", "/trials", json={"url": photo_url, "recipes": [{}]})
    assert (trial.json["name"], trial.json["sha256"]) == ("aunt.jpg", job.json["sha256"])
    assert list((tmp_path / "data" / "spool").glob("*")) == []


@pytest.mark.parametrize("url", ["http://127.0.0.1/a.jpg", "file:///etc/passwd", "http://169.254.169.254/", "nothing"])
def test_an_address_that_is_not_public_is_refused(member: Person, services: object, url: str, tmp_path: Path) -> None:
    batch_id = member.open_batch()
    answer = member.api("POST", f"/batches/{batch_id}/jobs", json={"url": url})
    assert answer.status_code == 422
    assert answer.json["detail"].endswith(".")
    assert list((tmp_path / "data" / "spool").glob("*")) == []


@pytest.mark.parametrize(
    "body", [{}, {"sha256": "0" * 64}, {"sha256": "0" * 64, "name": "a", "url": "https://a.example"}]
)
def test_a_job_has_one_source(member: Person, body: dict[str, str]) -> None:
    assert member.api("POST", f"/batches/{member.open_batch()}/jobs", json=body).status_code == 422

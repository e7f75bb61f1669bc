"""`retint push` where the portal, the network or a proxy fails, or files change meanwhile."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.core.command.files import list_names, make_files
from tests.integration.core.command.relays import Answer, Relay, name_in, run_relay
from tests.platforms import PlatformUnderTest

Ask = Callable[[], Answer]
Push = Callable[..., dict[str, Any]]


def test_a_file_that_the_portal_fails_at_stops_no_other(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = make_files(tmp_path / "cjk", "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    problems = {
        "a.jpg": (503, b'{"title": "Unavailable", "detail": "The database did not answer."}'),
        "b.jpg": (500, b"<h1>Internal Server Error</h1>"),
        "c.jpg": (403, b'{"title": "Forbidden", "detail": "Blocked by a firewall."}'),
    }

    def fault(relay: Relay, method: str, address: str, ask: Ask) -> Answer | None:
        if name_in(address) in problems:
            status, body = problems[name_in(address)]
            return status, {"Content-Type": "application/problem+json"}, body
        return ask()

    with run_relay(platform.url, fault) as relay:
        pushed = push(folder, "--server", relay.url, status=1)
    assert pushed["sent"] == 1
    assert pushed["not_sent"] == {"a.jpg": "The database did not answer."}
    assert pushed["refused"] == {
        "b.jpg": "The portal answered 500 Internal Server Error.",
        "c.jpg": "Blocked by a firewall.",
    }
    assert pushed["error"] is None


def test_a_portal_that_goes_away_in_the_middle_is_told_with_what_was_sent(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = make_files(tmp_path / "cut", *(f"{number}.jpg" for number in range(12)))

    def fault(relay: Relay, method: str, address: str, ask: Ask) -> Answer | None:
        answer = ask()
        relay.is_gone = relay.count("PUT", "/files") >= 4
        return answer

    with run_relay(platform.url, fault) as relay:
        pushed = push(folder, "--server", relay.url, status=3)
    assert pushed["sent"] + len(pushed["not_sent"]) == pushed["total"] == 12
    assert 1 <= pushed["sent"] <= 4
    assert "does not answer" in pushed["error"]
    assert set(pushed["not_sent"].values()) == {pushed["error"]}
    assert pushed["refused"] == {}
    again = push(folder)
    assert again["batch"].rsplit("/", 1)[1] == pushed["batch"].rsplit("/", 1)[1]
    assert again["sent"] + again["known"] == 12
    assert len(list_names(platform, again["batch"])) == 12


@pytest.mark.parametrize(
    "answer",
    [
        (200, {"Content-Type": "text/html"}, b"<h1>Sign in to the guest network</h1>"),
        (200, {"Content-Type": "application/json"}, b'{"id": "1"}'),
        (201, {"Content-Type": "application/json"}, b'{"id": null}'),
        (201, {"Content-Type": "application/json"}, b"[]"),
    ],
    ids=["page", "200", "no id", "list"],
)
def test_only_201_with_an_id_counts_as_sent(
    platform: PlatformUnderTest, push: Push, tmp_path: Path, answer: Answer
) -> None:
    folder = make_files(tmp_path / f"proxy {len(answer[2])}", "a.jpg")

    def fault(relay: Relay, method: str, address: str, ask: Ask) -> Answer | None:
        return answer if method == "PUT" else ask()

    with run_relay(platform.url, fault) as relay:
        pushed = push(folder, "--server", relay.url, status=1)
    assert pushed["sent"] == 0
    assert "did not answer as a portal of Retint does" in pushed["not_sent"]["a.jpg"]


def test_a_redirection_names_the_right_address(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    folder = make_files(tmp_path / "moved", "a.jpg")

    def fault(relay: Relay, method: str, address: str, ask: Ask) -> Answer | None:
        return 301, {"Location": "https://retint.museum.example/"}, b""

    with run_relay(platform.url, fault) as relay:
        pushed = push(folder, "--server", relay.url, status=2)
    assert "redirects to https://retint.museum.example/" in pushed["error"]


def test_a_lost_answer_does_not_send_the_file_again(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    """The portal has the file, the answer is lost: for example by a proxy that waits for a minute only."""
    folder = make_files(tmp_path / "lost", "a.jpg", "b.jpg")

    def fault(relay: Relay, method: str, address: str, ask: Ask) -> Answer | None:
        answer = ask()
        if method == "PUT":
            return None if name_in(address) == "a.jpg" else (504, {"Content-Type": "text/html"}, b"Gateway Time-out")
        return answer

    with run_relay(platform.url, fault) as relay:
        pushed = push(folder, "--server", relay.url)
        assert relay.count("PUT", "/files") == 2
    assert (pushed["sent"], len(list_names(platform, pushed["batch"]))) == (2, 2)


def test_a_file_that_is_still_being_stored_is_waited_for(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = tmp_path / "slow store"
    folder.mkdir()
    (folder / "large.tif").write_bytes(b"slow store" + bytes(12 << 20))

    def fault(relay: Relay, method: str, address: str, ask: Ask) -> Answer | None:
        if method == "PUT":
            threading.Timer(3, ask).start()
            return 504, {"Content-Type": "text/html"}, b"Gateway Time-out"
        return ask()

    with run_relay(platform.url, fault) as relay:
        assert push(folder, "--server", relay.url)["sent"] == 1
        assert relay.count("PUT", "/files") == 1


def test_a_token_that_ends_in_the_middle_ends_the_whole(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = make_files(tmp_path / "revoked", *(f"{number}.jpg" for number in range(12)))
    problem = b'{"title": "Unauthorized", "detail": "This token is not valid."}'

    def fault(relay: Relay, method: str, address: str, ask: Ask) -> Answer | None:
        if relay.count("PUT", "/files") > 2:
            return 401, {"Content-Type": "application/problem+json"}, problem
        return ask()

    with run_relay(platform.url, fault) as relay:
        pushed = push(folder, "--server", relay.url, status=2)
        assert relay.count("PUT", "/files") <= 6
    assert pushed["error"] == "This token is not valid."
    assert pushed["sent"] + len(pushed["not_sent"]) == 12


def test_a_file_that_changes_while_it_is_sent_says_so(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    folder = make_files(tmp_path / "scanning", "a.jpg", "growing.tif")

    def fault(relay: Relay, method: str, address: str, ask: Ask) -> Answer | None:
        if address == "/api/v1/batches":  # the files are read, and not yet sent
            with (folder / "growing.tif").open("ab") as scan:
                scan.write(b"the next strip")
        return ask()

    with run_relay(platform.url, fault) as relay:
        pushed = push(folder, "--server", relay.url, status=1)
    assert pushed["sent"] == 1
    assert pushed["refused"] == {"growing.tif": "The file changed while it was read or sent. Send it again."}


def test_a_file_that_vanishes_before_it_is_sent_says_so(
    platform: PlatformUnderTest, push: Push, tmp_path: Path
) -> None:
    folder = make_files(tmp_path / "tidied", "a.jpg", "gone.jpg")

    def fault(relay: Relay, method: str, address: str, ask: Ask) -> Answer | None:
        if address == "/api/v1/batches":
            (folder / "gone.jpg").unlink()
        return ask()

    with run_relay(platform.url, fault) as relay:
        pushed = push(folder, "--server", relay.url, status=1)
    assert pushed["refused"] == {"gone.jpg": f"No such file or directory: {folder}/gone.jpg."}


def test_json_comes_whatever_is_wrong(platform: PlatformUnderTest, push: Push, tmp_path: Path) -> None:
    folder = make_files(tmp_path / "fine", "a.jpg")
    started = time.monotonic()
    away = push(folder, "--server", "http://127.0.0.1:9", status=3)
    assert time.monotonic() - started < 60
    assert "127.0.0.1:9 does not answer" in away["error"]
    assert away["not_sent"] == {"a.jpg": away["error"]}
    for wrong, words in {
        ("--server", "museum.example"): "begins with https:// or http://",
        ("--server", "http://[::1"): "no address of a portal",
        ("--token", "retint_ñ"): "token is not valid",
    }.items():
        assert words in push(folder, *wrong, status=2)["error"]

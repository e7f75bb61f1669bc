"""The portal's server without a socket."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from werkzeug.exceptions import RequestTimeout

from retint_web.server import bridge
from retint_web.server.bridge import Bridge, Exchange

MESSAGE = {"type": "http.request", "more_body": True}


def exchange(messages: Iterator[dict[str, Any]]) -> Exchange:
    async def receive() -> dict[str, Any]:
        for message in messages:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(_: Any) -> None:
        raise AssertionError

    return Exchange(Bridge(Flask("x"), threads=1), {"CONTENT_LENGTH": "1000000"}, receive, send)


@pytest.mark.parametrize("pieces", [0, 1, 32, 33, 262, 263, 264, 300])
def test_a_body_that_stops_anywhere_is_given_up(pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "WINDOW_S", 0.1)
    taken = bytearray()
    client = exchange(MESSAGE | {"body": bytes(1000)} for _ in range(pieces))

    async def pour() -> None:
        async with asyncio.timeout(5):
            await client.pour(taken.extend)

    with pytest.raises(RequestTimeout):
        asyncio.run(pour())


def test_a_body_is_handed_on_whole_and_never_an_empty_piece_of_it() -> None:
    pieces: list[bytes] = []
    bodies = [b"a" * 300_000, b"b", b""]
    client = exchange(MESSAGE | {"body": body, "more_body": bool(body)} for body in bodies)
    asyncio.run(client.pour(pieces.append))
    assert b"".join(pieces) == b"".join(bodies)
    assert all(pieces)

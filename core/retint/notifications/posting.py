"""Webhooks by Standard Webhooks: which addresses may be told, signatures, and the request itself."""

import asyncio
import ssl
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from ipaddress import ip_address
from uuid import UUID

import httpx
from standardwebhooks import Webhook as Signer

from retint import remote
from retint.errors import InvalidRequest, Refused
from retint.remote import INTERNET, AccessPolicy
from retint.settings import Settings

TIMEOUT_S = 15.0
URL_LENGTH = 500
GONE = 410


@dataclass(frozen=True)
class PostAnswer:
    """What came of one request."""

    status: int | None
    problem: str | None = None
    """Why it failed, in a sentence; None where the receiver took it."""
    retry_after: str | None = None


def check_url(settings: Settings, url: str) -> str:
    """Return a webhook's address, if it can be told at all. Its host is not resolved here, but with each delivery.

    Raises:
        InvalidRequest: not an address, with a password, or without TLS; the message says what to do.
    """
    url = url.strip()
    try:
        parsed = httpx.URL(url)
        is_address = parsed.scheme in ("https", "http") and bool(parsed.host) and len(url) <= URL_LENGTH
    except (httpx.InvalidURL, ValueError):
        is_address = False
    if not is_address or not url.isprintable():
        raise InvalidRequest("A webhook needs an address such as https://dams.example.org/retint.", code="no_address")
    if parsed.userinfo:
        raise InvalidRequest("An address with a name or a password in it is not kept.", code="no_address")
    if parsed.scheme == "http" and not is_listed(settings, parsed):
        sentence = "A webhook needs https, unless the operator of Retint lists its host in RETINT_WEBHOOK_HOSTS."
        raise InvalidRequest(sentence, code="no_tls")
    return url


def is_listed(settings: Settings, url: httpx.URL) -> bool:
    """Whether the operator lists this host and port as a receiver."""
    port = url.port or (443 if url.scheme == "https" else 80)
    return f"{url.netloc.decode().rpartition('@')[2].removesuffix(f':{port}')}:{port}" in settings.private_receivers


def post(settings: Settings, url: str, message_id: UUID, body: str, secrets: list[str]) -> PostAnswer:
    """Send one request; whatever goes wrong is in the answer, and nothing of what the receiver wrote.

    Args:
        settings: say which receivers inside may be told.
        url: the webhook's.
        message_id: the same for each try.
        body: word for word.
        secrets: those that sign; the newest first.
    """
    headers = {"Content-Type": "application/json", **sign(message_id, body, secrets)}
    try:
        check_url(settings, url)
        policy = _choose_policy(settings, url)
        answer = asyncio.run(remote.post(url, body.encode(), headers, TIMEOUT_S, policy))
    except Refused as error:
        return PostAnswer(None, error.message)
    if 200 <= answer.status < 300:
        return PostAnswer(answer.status)
    problem = f"It answered {answer.status} {httpx.codes.get_reason_phrase(answer.status)}".strip() + "."
    if 300 <= answer.status < 400:
        problem = f"It answered {answer.status}: redirections are not followed. Set the address that it redirects to."
    return PostAnswer(answer.status, problem, answer.retry_after)


def sign(message_id: UUID, body: str, secrets: list[str]) -> dict[str, str]:
    """Return the headers that name and sign a message, with a signature for each secret."""
    name, at = name_message(message_id), datetime.now(UTC)
    signatures = [Signer(secret).sign(name, at, body) for secret in secrets]
    return {
        "webhook-id": name,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def name_message(message_id: UUID) -> str:
    """Return the `webhook-id`, by which a receiver tells that it has had a message already."""
    return f"msg_{message_id.hex}"


@cache
def _trust() -> ssl.SSLContext:
    """The certificates that are trusted; read once a process."""
    return httpx.create_ssl_context()


def _choose_policy(settings: Settings, url: str) -> AccessPolicy:
    """Return which addresses a host may have: public ones, or where the operator lists it almost any."""
    if is_listed(settings, httpx.URL(url)):
        return replace(INTERNET, is_allowed=_is_machine, trust=_trust())
    return replace(INTERNET, trust=_trust())


def _is_machine(address: str, port: int) -> bool:
    """Whether an address is one that a receiver can have; that of a cloud's metadata service is not."""
    ip = ip_address(address)
    return not (ip.is_link_local or ip.is_multicast or ip.is_unspecified)

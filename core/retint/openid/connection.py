"""The way to a provider: to servers that may be asked only, over TLS, within a time limit."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from retint import __version__
from retint.errors import NotAllowed, Refused
from retint.remote import AccessPolicy, NotFetched, find_addresses, port_of

TIMEOUT_S: Final = 10.0
"""How long all that a provider is asked at one step may take."""
ANSWER_BYTES: Final = 1 << 20


class ProviderFailed(Refused):
    """The provider did not answer, or its answer cannot be used."""

    code = "provider_failed"
    status = 502


class ProviderLied(NotAllowed):
    """What came in the provider's name cannot be trusted."""

    code = "provider_not_trusted"


class ProviderDeclined(NotAllowed):
    """The provider did not sign the person in."""

    code = "provider_declined"


@dataclass(frozen=True)
class Client:
    """How this installation is known to a provider."""

    provider: str
    """The provider's name in sentences."""
    issuer: str
    client_id: str
    client_secret: str | None = field(repr=False)
    scopes: str
    redirect_uri: str


class _GuardedTransport(httpx.AsyncBaseTransport):
    """Sends requests only to servers that may be asked (see `retint.remote`), to an address that was looked at."""

    def __init__(self, policy: AccessPolicy) -> None:
        self._policy = policy
        self._resolver = ThreadPoolExecutor(1, "retint-resolver")
        self._inner = httpx.AsyncHTTPTransport(verify=policy.trust, trust_env=False)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        addresses = await find_addresses(url, self._policy, self._resolver)
        request.extensions = {**request.extensions, "sni_hostname": url.raw_host.decode()}
        for left, address in zip(reversed(range(len(addresses))), addresses, strict=True):
            request.url = url.copy_with(host=address)
            try:
                return await self._inner.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout):
                if not left:
                    raise
        raise httpx.ConnectError("There is no address.")

    async def aclose(self) -> None:
        self._resolver.shutdown(wait=False)  # the system's timeout for name servers is longer than ours
        await self._inner.aclose()


@dataclass(frozen=True)
class Connection:
    """A way to providers, for one step of a sign-in."""

    http: httpx.AsyncClient
    policy: AccessPolicy

    async def read_json(self, method: str, url: str, client: Client, **request: Any) -> dict[str, Any]:
        """Ask a provider for a JSON object. A redirection is not followed.

        Raises:
            ProviderFailed: it did not answer, or with something else.
            ProviderDeclined: it answered with an error of OAuth.
        """
        self.check_address(url, client)
        body = bytearray()
        async with self.http.stream(method, url, **request) as answer:
            async for chunk in answer.aiter_bytes():
                body += chunk
                if len(body) > ANSWER_BYTES:
                    raise failed(client, "its answer is too long")
        if answer.has_redirect_location:
            raise failed(client, f"{answer.url.path} leads elsewhere, which is not followed")
        try:
            found = json.loads(body)
        except ValueError:
            found = None
        if isinstance(found, dict) and "error" in found and answer.is_error:
            raise ProviderDeclined(declined(client, found))
        if answer.is_error:
            raise failed(client, f"{url} answers {answer.status_code}")
        if not isinstance(found, dict):
            raise failed(client, f"{url} does not answer with JSON")
        return found

    def check_address(self, url: str, client: Client) -> None:
        """Check that an address is of the kind that a provider has.

        Raises:
            ProviderFailed: it is none, or not encrypted although the operator did not allow that.
        """
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, TypeError) as error:
            raise failed(client, "one of its addresses is none") from error
        is_ours = f"{parsed.host}:{port_of(parsed)}" in self.policy.inside
        if not parsed.host or parsed.userinfo or parsed.scheme not in (("https", "http") if is_ours else ("https",)):
            raise failed(client, f"{url[:200]} does not begin with https://")


@asynccontextmanager
async def connect(client: Client, policy: AccessPolicy) -> AsyncIterator[Connection]:
    """Open a way to a provider, on which everything together takes `TIMEOUT_S` at most.

    Raises:
        ProviderFailed: the provider is not reached, or may not be asked.
    """
    headers = {"User-Agent": f"Retint/{__version__}", "Accept": "application/json"}
    transport = _GuardedTransport(policy)
    try:
        async with (
            asyncio.timeout(TIMEOUT_S),
            httpx.AsyncClient(transport=transport, headers=headers, timeout=TIMEOUT_S, trust_env=False) as http,
        ):
            yield Connection(http, policy)
    except NotFetched as error:
        if error.code != "not_public":
            raise failed(client, error.message.rstrip(".")) from error
        sentence = f"{error.message.partition(':')[0]}, since it is inside the network and not in RETINT_PROVIDER_HOSTS"
        raise failed(client, sentence) from error
    except (TimeoutError, httpx.TimeoutException) as error:
        raise failed(client, f"it did not answer within {TIMEOUT_S:g} seconds") from error
    except httpx.HTTPError as error:
        if "CERTIFICATE_VERIFY_FAILED" in str(error):
            reason = "has expired" if "expired" in str(error) else "is not valid"
            raise failed(client, f"its certificate {reason}") from error
        raise failed(client, f"the connection failed ({type(error).__name__})") from error


def failed(client: Client, reason: str) -> ProviderFailed:
    """Return the error of a provider that cannot be used for a reason."""
    return ProviderFailed(f"{client.provider} cannot be used: {reason}.")


def not_trusted(client: Client, reason: str) -> ProviderLied:
    """Return the error of an answer that cannot be trusted for a reason."""
    return ProviderLied(f"The answer of {client.provider} cannot be trusted: {reason}.")


def declined(client: Client, given: Mapping[str, Any]) -> str:
    """Return a sentence about an error of OAuth; what the provider says of it is shown as its words."""
    if given["error"] == "access_denied":
        return f"{client.provider} did not let you in, or you cancelled there."
    words = " ".join(str(given.get("error_description") or given["error"]).split())[:200]
    words = "".join(character for character in words if character.isprintable()).rstrip(".")
    return f"{client.provider} did not sign you in. It says: {words}."

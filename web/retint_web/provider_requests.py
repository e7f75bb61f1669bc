"""What the portal asks sign-in providers, for pages and API alike, without holding a thread meanwhile."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from flask import current_app

from retint import openid, providers
from retint.openid import Answer, Client, Endpoints, Pending
from retint.provider_tables import Provider
from retint_web import services
from retint_web.links import portal_url
from retint_web.waiting import Connection, Work, wait_for

T = TypeVar("T")


def client_of(provider: Provider) -> Client:
    """Return how this installation is known to a provider.

    Raises:
        sealing.SealBroken: the client secret was sealed with a secret that is not known any more.
    """
    return providers.client_of(services().settings, provider, portal_url())


def discover(client: Client) -> Endpoints:
    """Ask a provider where it is asked what. To be called before anything is changed (see `retint_web.waiting`).

    Raises:
        openid.ProviderFailed: it did not answer, or is not who it should be.
    """
    return _ask(client, lambda way: openid.discover(way, client))


def finish(client: Client, pending: Pending, given: Mapping[str, str], claim: str) -> Answer:
    """Finish a sign-in (see `openid.finish`). To be called before anything is changed.

    Raises:
        openid.ProviderDeclined: the person is not signed in there.
        openid.ProviderLied: the answer cannot be trusted.
        openid.ProviderFailed: the provider did not answer.
    """
    return _ask(client, lambda way: openid.finish(way, client, pending, given, claim))


def _ask(client: Client, question: Callable[[openid.Connection], Awaitable[T]]) -> T:
    return wait_for("provider", lambda: _Question(client, question))


class _Question(Work[T]):
    """What a provider is asked."""

    def __init__(self, client: Client, question: Callable[[openid.Connection], Awaitable[T]]) -> None:
        self._client, self._question = client, question
        self._policy = providers.access_policy(services().settings, current_app.config["ACCESS_POLICY"])

    async def run(self, connection: Connection) -> T:
        async with openid.connect(self._client, self._policy) as way:
            return await self._question(way)

    def end(self) -> None:
        pass  # nothing is left open

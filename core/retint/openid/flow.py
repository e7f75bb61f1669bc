"""The authorization code flow with PKCE: discover, send the person there, finish when they come back."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus

import httpx
from authlib.common.urls import add_params_to_uri
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from retint.openid.connection import Client, Connection, ProviderDeclined, ProviderLied, declined, failed, not_trusted
from retint.openid.tokens import find_claim, read_token

HINT_BYTES: Final = 4096
"""Longest token that an address for signing out carries: servers refuse long addresses."""


@dataclass(frozen=True)
class Endpoints:
    """Where a provider is asked what; from its discovery document."""

    authorization: str
    token: str
    keys: str
    userinfo: str | None
    sign_out: str | None
    names_itself: bool
    """Whether its answers say whose they are (RFC 9207)."""
    token_auth: tuple[str, ...]


@dataclass(frozen=True)
class Pending:
    """What was sent with a request for a sign-in, for comparison with the answer. The person's browser keeps it."""

    state: str
    nonce: str
    verifier: str

    @classmethod
    def new(cls) -> "Pending":
        """Make values that nobody can guess."""
        return cls(secrets.token_urlsafe(24), secrets.token_urlsafe(24), secrets.token_urlsafe(48))


@dataclass(frozen=True)
class Answer:
    """A sign-in that the provider vouches for."""

    claims: Mapping[str, Any]
    sign_out_url: str | None
    """Where the person is signed out at the provider; None where it knows no such thing."""


async def discover(connection: Connection, client: Client) -> Endpoints:
    """Read where a provider is asked what.

    Raises:
        ProviderFailed: it did not answer, or is not who it should be.
    """
    url = f"{client.issuer.rstrip('/')}/.well-known/openid-configuration"
    found = await connection.read_json("GET", url, client)
    if found.get("issuer") != client.issuer:
        name = str(found.get("issuer"))[:200]
        raise failed(client, f"it calls itself {name}, not {client.issuer}. The issuer is to be entered as it says")
    required = {name: found.get(name) for name in ("authorization_endpoint", "token_endpoint", "jwks_uri")}
    optional = {name: found.get(name) for name in ("userinfo_endpoint", "end_session_endpoint") if found.get(name)}
    for name, address in (required | optional).items():
        if not isinstance(address, str):
            raise failed(client, f"it does not say where its {name} is")
        connection.check_address(address, client)
    methods = found.get("token_endpoint_auth_methods_supported")
    return Endpoints(
        authorization=str(required["authorization_endpoint"]),
        token=str(required["token_endpoint"]),
        keys=str(required["jwks_uri"]),
        userinfo=optional.get("userinfo_endpoint"),
        sign_out=optional.get("end_session_endpoint"),
        names_itself=found.get("authorization_response_iss_parameter_supported") is True,
        token_auth=tuple(methods) if isinstance(methods, list) else (),
    )


def authorization_url(endpoints: Endpoints, client: Client, pending: Pending, **more: str) -> str:
    """Return the address at which the provider signs the person in and sends them back."""
    return str(
        prepare_grant_uri(
            endpoints.authorization,
            client.client_id,
            "code",
            redirect_uri=client.redirect_uri,
            scope=client.scopes,
            state=pending.state,
            nonce=pending.nonce,
            code_challenge=create_s256_code_challenge(pending.verifier),
            code_challenge_method="S256",
            **more,
        )
    )


async def finish(
    connection: Connection, client: Client, pending: Pending, given: Mapping[str, str], claim: str
) -> Answer:
    """Exchange what the person brought back from the provider for what the provider says of them.

    Args:
        connection: see `connect`.
        client: the one that the sign-in was begun with.
        pending: as it was sent.
        given: the parameters with which the person came back.
        claim: the name of the claim with groups, which is asked for if the token lacks it; see `find_claim`.

    Raises:
        ProviderDeclined: the person is not signed in there.
        ProviderLied: the answer cannot be trusted.
        ProviderFailed: the provider did not answer.
    """
    endpoints = await discover(connection, client)
    _check_return(client, pending, given, endpoints)
    tokens = await _exchange(connection, client, endpoints, pending, given["code"])
    id_token = tokens.get("id_token")
    if not isinstance(id_token, str):
        raise ProviderLied(f"The answer of {client.provider} does not say who you are: it has no ID token.")
    keys = await connection.read_json("GET", endpoints.keys, client)
    claims = dict(read_token(client, pending.nonce, id_token, keys, tokens.get("access_token")))
    if endpoints.userinfo and not ("email" in claims and find_claim(claims, claim) is not None):
        claims = await _ask_userinfo(connection, client, endpoints.userinfo, tokens, claims)
    hint = {"id_token_hint": id_token} if len(id_token) <= HINT_BYTES else {}
    sign_out = endpoints.sign_out and add_params_to_uri(endpoints.sign_out, {"client_id": client.client_id, **hint})
    return Answer(claims, sign_out)


def _check_return(client: Client, pending: Pending, given: Mapping[str, str], endpoints: Endpoints) -> None:
    if not secrets.compare_digest(given.get("state", "").encode(), pending.state.encode()):
        raise ProviderLied("This answer belongs to another sign-in. Begin again.", code="wrong_state")
    issuer = given.get("iss")
    if issuer != client.issuer and (issuer is not None or endpoints.names_itself):
        raise ProviderLied(f"This answer does not come from {client.provider}. Begin again.")
    if "error" in given:
        raise ProviderDeclined(declined(client, given))
    if not given.get("code"):
        raise ProviderLied(f"{client.provider} sent you back without an answer. Begin again.")


async def _exchange(
    connection: Connection, client: Client, endpoints: Endpoints, pending: Pending, code: str
) -> dict[str, Any]:
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": client.redirect_uri,
        "code_verifier": pending.verifier,
    }
    auth = None
    if client.client_secret is None:
        form["client_id"] = client.client_id
    elif "client_secret_post" in endpoints.token_auth:
        form |= {"client_id": client.client_id, "client_secret": client.client_secret}
    else:  # RFC 6749 section 2.3.1 encodes both, and not every library does
        auth = httpx.BasicAuth(quote_plus(client.client_id), quote_plus(client.client_secret))
    return await connection.read_json("POST", endpoints.token, client, data=form, auth=auth)


async def _ask_userinfo(
    connection: Connection, client: Client, url: str, tokens: dict[str, Any], claims: dict[str, Any]
) -> dict[str, Any]:
    """Add what the provider says on request. What stands in the signed token goes before it."""
    authorization = {"Authorization": f"Bearer {tokens.get('access_token')}"}
    more = await connection.read_json("GET", url, client, headers=authorization)
    if more.get("sub") != claims["sub"]:
        raise not_trusted(client, "it speaks of somebody else")
    return more | claims

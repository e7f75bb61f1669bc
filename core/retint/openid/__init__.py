"""OpenID Connect, the client's side: the authorization code flow with PKCE.

What a provider sends is believed only as far as its signature and its claims say. Authlib and joserfc check those; here
stands what is asked, in which order, and each refusal as a sentence. Who gets in is not decided here. Sources: OpenID
Connect Core 1.0 sections 3.1 and 5.3, Discovery 1.0 section 4, RP-Initiated Logout 1.0; RFC 7636 (PKCE), RFC 9207 (who
answered), RFC 9700 (what goes wrong).

    connection  the way to a provider, its errors, and how it knows this installation
    tokens      what it says of a person, and whether that can be trusted
    flow        discovery, sending the person there, and finishing when they come back
"""

from retint.openid.connection import (
    Client,
    Connection,
    ProviderDeclined,
    ProviderFailed,
    ProviderLied,
    connect,
)
from retint.openid.flow import Answer, Endpoints, Pending, authorization_url, discover, finish
from retint.openid.tokens import find_claim

__all__ = [
    "Answer",
    "Client",
    "Connection",
    "Endpoints",
    "Pending",
    "ProviderDeclined",
    "ProviderFailed",
    "ProviderLied",
    "authorization_url",
    "connect",
    "discover",
    "find_claim",
    "finish",
]

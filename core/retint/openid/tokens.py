"""What a provider says of a person, and whether it can be trusted."""

from collections.abc import Mapping
from typing import Any, Final

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ClaimError, ExpiredTokenError, JoseError, UnsupportedAlgorithmError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from retint.openid.connection import Client, failed, not_trusted

LEEWAY_S: Final = 120
"""How far a provider's clock may be from ours."""
ALGORITHMS: Final = [
    f"{family}{bits}" for family in ("RS", "PS", "ES") for bits in (256, 384, 512)
] + ["EdDSA", "Ed25519"]  # fmt: skip
"""Signatures that are accepted: by a key that only the provider has, so neither `none` nor one by the secret."""

CLAIMS: Final = {
    "iss": "it comes from another provider",
    "aud": "it is meant for another program",
    "azp": "it was given to another program",
    "nonce": "it belongs to another sign-in",
    "exp": "its time is over, or one of the two clocks is wrong",
    "iat": "it comes from the future, so one of the two clocks is wrong",
    "nbf": "it is not valid yet, so one of the two clocks is wrong",
    "sub": "it does not say who you are",
    "at_hash": "it does not belong to what came with it",
}
"""What is wrong with a token, by the claim that is."""


def read_token(
    client: Client, nonce: str, id_token: str, keys: dict[str, Any], access_token: object
) -> Mapping[str, Any]:
    """Check an ID token and return its claims.

    Raises:
        ProviderLied: it cannot be trusted.
        ProviderFailed: the provider's keys cannot be read.
    """
    try:
        key_set = KeySet.import_key_set(keys)  # type: ignore[arg-type]
    except (JoseError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise failed(client, "its keys cannot be read") from error
    expected = {
        "iss": {"essential": True, "value": client.issuer},
        "aud": {"essential": True, "value": client.client_id},
    }
    known = {"nonce": nonce, "client_id": client.client_id, "access_token": access_token}
    try:
        registry = JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        token = jwt.decode(id_token, key_set, registry=registry)
        claims = CodeIDToken(token.claims, token.header, expected, known)
        claims.validate(leeway=LEEWAY_S)
    except ExpiredTokenError as error:
        raise not_trusted(client, CLAIMS["exp"]) from error
    except ClaimError as error:
        raise not_trusted(client, CLAIMS.get(error.claim, f"its {error.claim} is not valid")) from error
    except UnsupportedAlgorithmError as error:
        raise not_trusted(client, "it is not signed in a way that proves who made it") from error
    except (JoseError, ValueError, TypeError) as error:
        raise not_trusted(client, "its signature is wrong") from error
    if not 0 < len(claims["sub"]) <= 255:
        raise not_trusted(client, CLAIMS["sub"])
    return dict(claims)


def find_claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, in which dots lead into objects, such as `realm_access.roles`; None if it is missing.

    A claim whose own name has dots, such as `https://museum.example/groups`, is found, too.
    """
    if name in claims:
        return claims[name]
    ends = [at for at, character in enumerate(name) if character == "."]
    for end in reversed(ends):
        inner = claims.get(name[:end])
        if isinstance(inner, Mapping):
            return find_claim(inner, name[end + 1 :])
    return None

"""Secrets in the database, sealed: encrypted and authenticated with keys that are derived from RETINT_SECRET.

Fernet (AES-CBC with HMAC-SHA256) from `cryptography`, a key for each purpose by HKDF (RFC 5869): what was sealed for
one purpose cannot be opened for another. The newest secret seals; the former ones still open, so that it can change.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from retint.errors import RetintError
from retint.settings import Settings


class SealBroken(RetintError):
    """A sealed secret cannot be opened: RETINT_SECRET is another one now, or somebody changed the text."""

    code = "seal_broken"


def seal(settings: Settings, purpose: str, secret: str) -> str:
    """Seal a secret for the database.

    Args:
        settings: their `secret` seals.
        purpose: what it is for, such as `webhook`; opened only for the same one.
        secret: any text.

    Returns:
        Printable ASCII, about 4/3 of the text and 100 characters long.

    Raises:
        SealBroken: RETINT_SECRET is not set.
    """
    return _keys(settings, purpose).encrypt(secret.encode()).decode()


def unseal(settings: Settings, purpose: str, sealed: str) -> str:
    """Open what `seal` made, with the present secret or a former one.

    Raises:
        SealBroken: none of them sealed it for this purpose.
    """
    try:
        return _keys(settings, purpose).decrypt(sealed.encode()).decode()
    except (InvalidToken, UnicodeEncodeError) as error:
        raise _broken() from error


def reseal(settings: Settings, purpose: str, sealed: str) -> str:
    """Seal again with the present secret, so that former ones can be forgotten.

    Raises:
        SealBroken: none of the secrets sealed it for this purpose.
    """
    try:
        return _keys(settings, purpose).rotate(sealed.encode()).decode()
    except (InvalidToken, UnicodeEncodeError) as error:
        raise _broken() from error


def _keys(settings: Settings, purpose: str) -> MultiFernet:
    """Derive the keys, the present secret's first."""
    if settings.secret is None:
        raise SealBroken("RETINT_SECRET is not set, so secrets cannot be sealed. Set it to a long random text.")
    secrets = [settings.secret.get_secret_value(), *settings.secrets_before]
    return MultiFernet([Fernet(_derive(secret, purpose)) for secret in secrets])


def _derive(secret: str, purpose: str) -> bytes:
    derived = HKDF(SHA256(), length=32, salt=None, info=f"retint sealing {purpose}".encode()).derive(secret.encode())
    return base64.urlsafe_b64encode(derived)


def _broken() -> SealBroken:
    return SealBroken(
        "A sealed secret cannot be opened. If RETINT_SECRET was changed, name the earlier one in RETINT_FORMER_SECRETS."
    )

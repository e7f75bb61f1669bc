"""Sealed secrets: opened by the same secret and purpose only, and after a change of RETINT_SECRET by naming the old."""

import pytest
from pydantic import SecretStr

from retint import sealing
from retint.sealing import SealBroken
from retint.settings import Settings

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def make_settings(secret: str | None, former: str | None = None) -> Settings:
    return Settings(
        secret=None if secret is None else SecretStr(secret),
        former_secrets=None if former is None else SecretStr(former),
    )


def test_a_sealed_secret_is_opened_and_does_not_show_what_it_is() -> None:
    settings = make_settings("first")
    sealed = sealing.seal(settings, "webhook", SECRET)
    assert SECRET not in sealed
    assert sealed.isascii()
    assert sealing.unseal(settings, "webhook", sealed) == SECRET
    assert sealing.seal(settings, "webhook", SECRET) != sealed


def test_a_changed_character_breaks_the_seal() -> None:
    settings = make_settings("first")
    sealed = sealing.seal(settings, "webhook", SECRET)
    for position in (0, 20, len(sealed) // 2, len(sealed) - 4):
        changed = sealed[:position] + ("A" if sealed[position] != "A" else "B") + sealed[position + 1 :]
        with pytest.raises(SealBroken):
            sealing.unseal(settings, "webhook", changed)
    with pytest.raises(SealBroken):
        sealing.unseal(settings, "webhook", "€")


def test_what_was_sealed_for_one_purpose_opens_for_no_other() -> None:
    settings = make_settings("first")
    with pytest.raises(SealBroken):
        sealing.unseal(settings, "sign_in", sealing.seal(settings, "webhook", SECRET))


def test_the_secret_is_changed_by_naming_the_old_one() -> None:
    sealed = sealing.seal(make_settings("first"), "webhook", SECRET)
    with pytest.raises(SealBroken, match="RETINT_FORMER_SECRETS"):
        sealing.unseal(make_settings("second"), "webhook", sealed)
    both = make_settings("third", "second, first")
    assert sealing.unseal(both, "webhook", sealed) == SECRET
    again = sealing.reseal(both, "webhook", sealed)
    assert sealing.unseal(make_settings("third"), "webhook", again) == SECRET
    with pytest.raises(SealBroken):
        sealing.reseal(make_settings("fourth"), "webhook", again)


def test_without_a_secret_nothing_is_sealed() -> None:
    with pytest.raises(SealBroken, match="RETINT_SECRET is not set"):
        sealing.seal(make_settings(None), "webhook", SECRET)

"""What a provider may lie about, of which each is refused with a sentence; no session begins."""

import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from flask import Flask
from tests.integration.web.conftest import Person, make_browser
from tests.integration.web.pages.conftest import BACK, ROLES, assert_refused, find_user
from tests.lying_provider import OTHER_KEY, REMOVE, RSA_KEY, SECRET, LyingProvider, run_lying_provider
from werkzeug.test import TestResponse

from retint import providers
from retint.roles import Role
from retint.services import Services
from retint_web.app import create_app

pytestmark = pytest.mark.parametrize("backends", ["embedded"], indirect=True)


# ── Lies ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def tell_time(after_now: timedelta) -> int:
    """Tell a time as claims do. Tests are collected long before they run, so their times are told when they run."""
    return int(time.time() + after_now.total_seconds())


@pytest.mark.parametrize(
    ("claims", "sentence"),
    [
        ({"iss": "https://evil.example"}, "it comes from another provider"),
        ({"iss": REMOVE}, "it comes from another provider"),
        ({"aud": "another-program"}, "it is meant for another program"),
        ({"aud": "another-program", "azp": "retint"}, "it is meant for another program"),
        ({"aud": REMOVE}, "it is meant for another program"),
        ({"aud": ["retint", "other"], "azp": "other"}, "it was given to another program"),
        ({"aud": ["retint", "other"]}, "it was given to another program"),
        ({"nonce": "of another sign-in"}, "it belongs to another sign-in"),
        ({"nonce": REMOVE}, "it belongs to another sign-in"),
        ({"exp": timedelta(hours=-1)}, "its time is over"),
        ({"exp": REMOVE}, "its time is over"),
        ({"exp": "never"}, "its time is over"),
        ({"iat": timedelta(hours=1)}, "it comes from the future"),
        ({"nbf": timedelta(hours=1)}, "it is not valid yet"),
        ({"sub": REMOVE}, "it does not say who you are"),
        ({"sub": ""}, "it does not say who you are"),
        ({"sub": "x" * 256}, "it does not say who you are"),
        ({"at_hash": "wrong"}, "it does not belong to what came with it"),
    ],
)
def test_a_lie_in_a_claim_is_refused(
    sign_in: Callable[..., TestResponse],
    provider: LyingProvider,
    services: Services,
    claims: dict[str, Any],
    sentence: str,
) -> None:
    provider.claims = {name: tell_time(each) if isinstance(each, timedelta) else each for name, each in claims.items()}
    assert_refused(sign_in(), services, f"The answer of Museum account cannot be trusted: {sentence}")


def test_a_clock_that_is_a_minute_off_is_no_lie(sign_in: Callable[..., TestResponse], provider: LyingProvider) -> None:
    provider.claims = {"iat": tell_time(timedelta(minutes=1)), "exp": tell_time(timedelta(seconds=-29))}
    assert sign_in().status_code == 303


def test_a_signature_by_anothers_key_is_refused(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services
) -> None:
    provider.key = OTHER_KEY
    assert_refused(sign_in(), services, "its signature is wrong")


def test_a_token_without_a_signature_is_refused(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services
) -> None:
    provider.algorithm = "none"
    assert_refused(sign_in(), services, "it is not signed in a way that proves who made it")


def test_a_token_signed_by_the_secret_is_refused(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services
) -> None:
    from joserfc.jwk import OctKey

    provider.key, provider.algorithm = OctKey.import_key(SECRET * 2), "HS256"
    assert_refused(sign_in(), services, "it is not signed in a way that proves who made it")


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"state": "another"}, "begun in another browser"),
        ({"iss": "https://evil.example"}, "This answer does not come from Museum account"),
        ({"error": "access_denied"}, "did not let you in, or you cancelled there"),
        ({"error": "server_error", "error_description": "<b>Call\n 0190</b>"}, "It says: &lt;b&gt;Call 0190"),
        ({"code": ""}, "sent you back without an answer"),
    ],
)
def test_a_false_return_is_refused(
    sign_in: Callable[..., TestResponse], services: Services, more: dict[str, str], sentence: str
) -> None:
    assert_refused(sign_in(**more), services, sentence)


def test_a_provider_that_names_itself_in_answers_must_do_so(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services
) -> None:
    provider.metadata = {"authorization_response_iss_parameter_supported": True}
    assert_refused(sign_in(), services, "This answer does not come from Museum account")
    assert sign_in(iss=provider.issuer).status_code == 303


def test_an_answer_is_good_for_one_browser_and_once(
    app: Flask, provider: LyingProvider, services: Services, set_up: Callable[..., None]
) -> None:
    mine, other = make_browser(app), make_browser(app)
    given = provider.returns(mine.get("/sign-in/with/museum").location)
    assert_refused(other.get(BACK, query_string=given), services, "begun in another browser")
    assert mine.get(BACK, query_string=given).status_code == 303
    assert mine.get(BACK, query_string=given).status_code == 403


@pytest.mark.parametrize(
    ("metadata", "sentence"),
    [
        ({"issuer": "https://evil.example"}, "it calls itself https://evil.example, not"),
        ({"issuer": REMOVE}, "it calls itself None"),
        ({"token_endpoint": REMOVE}, "it does not say where its token_endpoint is"),
        ({"authorization_endpoint": "javascript:alert(1)"}, "does not begin with https://"),
        ({"authorization_endpoint": "http://login.example/"}, "does not begin with https://"),
        ({"jwks_uri": 7}, "it does not say where its jwks_uri is"),
    ],
)
def test_a_false_discovery_is_refused(
    sign_in: Callable[..., TestResponse],
    provider: LyingProvider,
    services: Services,
    metadata: dict[str, Any],
    sentence: str,
) -> None:
    provider.metadata = metadata
    assert_refused(sign_in(), services, sentence)


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ((302, {"Location": "http://169.254.169.254/latest/"}, b""), "leads elsewhere, which is not followed"),
        ((500, {}, b"<h1>Oops</h1>"), "answers 500"),
        ((200, {}, b"<h1>Welcome</h1>"), "does not answer with JSON"),
        ((200, {}, b"[]"), "does not answer with JSON"),
        ((200, {}, b" " * (2 << 20)), "its answer is too long"),
    ],
)
def test_an_answer_that_is_none_is_told(
    sign_in: Callable[..., TestResponse],
    provider: LyingProvider,
    services: Services,
    path: str,
    answer: Any,
    sentence: str,
) -> None:
    provider.answers[path] = answer
    assert_refused(sign_in(), services, sentence)


@pytest.mark.parametrize("name", ["token_endpoint", "jwks_uri"])
def test_what_points_inside_is_not_asked(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services, name: str
) -> None:
    with run_lying_provider() as inside:
        provider.metadata = {name: f"https://localhost:{inside.port}/keys"}
        assert_refused(sign_in(), services, "not in RETINT_PROVIDER_HOSTS")
        assert inside.asked == []


@pytest.mark.parametrize("path", ["/.well-known/openid-configuration", "/token", "/keys"])
def test_a_provider_that_does_not_answer_is_told(
    sign_in: Callable[..., TestResponse],
    provider: LyingProvider,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
) -> None:
    monkeypatch.setattr("retint.openid.connection.TIMEOUT_S", 0.5)
    provider.silent.add(path)
    assert_refused(sign_in(), services, "did not answer within 0.5 seconds")


def test_a_refusal_of_the_token_is_told_in_the_providers_words(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services
) -> None:
    provider.answers["/token"] = (400, {}, b'{"error": "invalid_client", "error_description": "Unknown client."}')
    assert_refused(sign_in(), services, "Museum account did not sign you in. It says: Unknown client.")


def test_userinfo_of_somebody_else_is_refused(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services
) -> None:
    provider.claims = {"email": REMOVE}
    provider.userinfo = {"sub": "another", "email": "new@museum.example"}
    assert_refused(sign_in(), services, "it speaks of somebody else")


def test_what_the_token_lacks_is_asked_for(
    sign_in: Callable[..., TestResponse], provider: LyingProvider, services: Services
) -> None:
    provider.claims = {"email": REMOVE, "email_verified": REMOVE, "groups": REMOVE}
    provider.userinfo = {"email": "New@Museum.example", "email_verified": True, "groups": ["it"]}
    assert sign_in().status_code == 303
    user = find_user(services, "new@museum.example")
    assert user
    assert user.role is Role.ADMIN


def test_the_secret_and_the_verifier_reach_the_provider(
    sign_in: Callable[..., TestResponse], provider: LyingProvider
) -> None:
    import base64

    sign_in()
    [sent] = [body for path, body in provider.asked if path == "/token"]
    assert len(sent["code_verifier"]) >= 43
    # Both are encoded before: RFC 6749 section 2.3.1.
    assert base64.b64decode(sent["Authorization"].split()[1]) == b"retint:a+secret%2B%2F%25+of+the+tests+only"
    provider.metadata = {"token_endpoint_auth_methods_supported": ["client_secret_post"]}
    provider.asked.clear()
    sign_in()
    [sent] = [body for path, body in provider.asked if path == "/token"]
    assert (sent["client_secret"], sent["Authorization"]) == (SECRET, "")


def test_a_key_of_another_kind_signs_as_well(sign_in: Callable[..., TestResponse], provider: LyingProvider) -> None:
    provider.key, provider.algorithm = RSA_KEY, "RS256"
    provider.claims = {}
    provider.kid = "rsa"
    assert sign_in().status_code == 303


# ── Certificates ─────────────────────────────────────────────────────────────────────────────────────────────────────


def make_certificate(folder: Path, *, days: int) -> Path:
    """Make a certificate for 127.0.0.1, signed by itself, that ends in so many days."""
    from ipaddress import ip_address

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "provider of the tests")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.mark.parametrize(
    ("days", "is_trusted", "sentence"),
    [(1, True, ""), (-1, True, "its certificate has expired"), (1, False, "its certificate is not valid")],
)
def test_a_certificate_must_be_valid(
    services: Services, admin: Person, tmp_path: Path, days: int, is_trusted: bool, sentence: str
) -> None:
    certificate = make_certificate(tmp_path, days=days)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with run_lying_provider(tls) as provider:
        own = {"provider_hosts": provider.host, "provider_ca": certificate if is_trusted else None}
        behind = Services(services.settings.model_copy(update=own), services.engine, services.store)
        values = {"name": "Museum account", "issuer": provider.issuer, "client_id": "retint", "roles": ROLES}
        with services.begin() as session:
            wanted = providers.parse(providers.NewProvider, values | {"slug": "museum"})
            providers.add(session, services.settings, admin.identity.tenant_id, wanted)
        browser = make_browser(create_app(behind))
        sent = browser.get("/sign-in/with/museum")
        if not sentence:
            answer = browser.get(BACK, query_string=provider.returns(sent.location))
            assert answer.status_code == 303
        else:
            assert_refused(sent, services, sentence)
            assert provider.asked == []

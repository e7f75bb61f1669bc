"""A small OpenID Connect provider that says whatever a test wants: the truth by default, and any lie.

It serves discovery, keys, token and userinfo; the page where people sign in is left out, since a test knows who comes.
"""

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ssl import SSLContext
from threading import Event, Thread
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey
from joserfc.jws import JWSRegistry

CLIENT_ID = "retint"
SECRET = "a secret+/% of the tests only"
KEY = ECKey.generate_key("P-256", {"kid": "true"})
OTHER_KEY = ECKey.generate_key("P-256", {"kid": "true"})
RSA_KEY = RSAKey.generate_key(2048, {"kid": "rsa"})
REMOVE = object()
"""As a lie about a value: it is missing."""


@dataclass
class LyingProvider:
    """A provider, and what it says."""

    port: int
    scheme: str = "http"
    claims: dict[str, Any] = field(default_factory=dict)
    """Of the ID token, beside or instead of the true ones; `REMOVE` takes one away."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Of the discovery document, likewise."""
    userinfo: dict[str, Any] = field(default_factory=dict)
    key: Any = field(default_factory=lambda: KEY)
    """Signs ID tokens."""
    algorithm: str = "ES256"
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    """Instead of the true answer, by path: status, headers, body."""
    silent: set[str] = field(default_factory=set)
    """Paths at which nothing is answered until the end."""
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    """Paths that were asked, with what was sent in the body and the `Authorization` header."""
    nonce: str = ""
    kid: str = "true"
    over: Event = field(default_factory=Event)

    @property
    def issuer(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def describe(self) -> dict[str, Any]:
        truth = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "end_session_endpoint": f"{self.issuer}/end",
        }
        return _replace(truth, self.metadata)

    def sign(self) -> str:
        now = int(time.time())
        truth = {
            "iss": self.issuer,
            "sub": "248289",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": self.nonce,
            "email": "new@museum.example",
            "email_verified": True,
            "groups": ["conservation"],
        }
        claims, header = _replace(truth, self.claims), {"alg": self.algorithm, "kid": self.kid}
        if self.algorithm == "none":  # which no library writes any more
            parts = (urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
            return ".".join(parts) + "."
        return jwt.encode(header, claims, self.key, registry=JWSRegistry(algorithms=[self.algorithm]))

    def answer(self, path: str) -> tuple[int, dict[str, str], bytes]:
        if path in self.answers:
            return self.answers[path]
        content: Any = {
            "/.well-known/openid-configuration": self.describe,
            "/keys": lambda: KeySet([KEY, RSA_KEY]).as_dict(private=False),
            "/token": lambda: {"access_token": "access", "token_type": "Bearer", "id_token": self.sign()},
            "/userinfo": lambda: {"sub": "248289"} | self.userinfo,
        }.get(path)
        if content is None:
            return 404, {}, b"{}"
        return 200, {"Content-Type": "application/json"}, json.dumps(content()).encode()

    def returns(self, location: str, **more: str) -> dict[str, str]:
        """Return the parameters with which a person comes back who was sent to this address."""
        sent = dict(parse_qsl(urlsplit(location).query))
        assert sent["code_challenge_method"] == "S256"
        self.nonce = sent["nonce"]
        return {"code": "a-code", "state": sent["state"]} | more


def _replace(truth: dict[str, Any], lies: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (truth | lies).items() if value is not REMOVE}


class _Handler(BaseHTTPRequestHandler):
    provider: LyingProvider

    def do_GET(self) -> None:
        self._serve({})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        self._serve({name: values[0] for name, values in parse_qs(body).items()})

    def _serve(self, body: dict[str, str]) -> None:
        path = urlsplit(self.path).path
        self.provider.asked.append((path, body | {"Authorization": self.headers.get("Authorization", "")}))
        if path in self.provider.silent:
            self.provider.over.wait(30)
            return
        status, headers, content = self.provider.answer(path)
        with suppress(OSError):  # who asks may have gone
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(content))}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def run_lying_provider(tls: SSLContext | None = None) -> Iterator[LyingProvider]:
    """Run a provider until the block ends."""
    handler: Callable[..., BaseHTTPRequestHandler] = type("Handler", (_Handler,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        provider = LyingProvider(server.server_address[1], "https" if tls else "http")
        handler.provider = provider  # type: ignore[attr-defined]
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        try:
            yield provider
        finally:
            provider.over.set()
            server.shutdown()

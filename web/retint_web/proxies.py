"""Requests that come through reverse proxies."""

from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

FORWARDED: Final = {"HTTP_X_FORWARDED_PROTO": "wsgi.url_scheme", "HTTP_X_FORWARDED_HOST": "HTTP_HOST"}
"""What a proxy says of the request that it received, and which variable takes it."""


class TrustedProxies:
    """Believe the X-Forwarded headers of trusted proxies, and of nobody else: anybody can write them."""

    def __init__(self, app: "WSGIApplication", networks: "Sequence[IPv4Network | IPv6Network]") -> None:
        self._app, self._networks = app, networks

    def __call__(self, environ: "WSGIEnvironment", start_response: "StartResponse") -> "Iterable[bytes]":
        """Replace what the proxy changed, then call the application."""
        if self._is_trusted(environ.get("REMOTE_ADDR", "")):
            # Each proxy adds the address it was asked from. The last one that is no proxy is the client; what stands
            # before it was sent by the client itself.
            addresses = [address.strip() for address in environ.get("HTTP_X_FORWARDED_FOR", "").split(",")]
            foreign = [address for address in addresses if address and not self._is_trusted(address)]
            environ["REMOTE_ADDR"] = (foreign or [environ["REMOTE_ADDR"]])[-1]
            for header, variable in FORWARDED.items():
                if last := environ.get(header, "").rpartition(",")[2].strip():
                    environ[variable] = last
        return self._app(environ, start_response)

    def _is_trusted(self, address: str) -> bool:
        try:
            ip = ip_address(address)
        except ValueError:
            return False
        return any(ip in network for network in self._networks)

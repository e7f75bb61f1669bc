from ipaddress import ip_network

import pytest
from werkzeug.test import EnvironBuilder, run_wsgi_app
from werkzeug.wrappers import Request, Response

from retint_web.proxies import TrustedProxies

PROXIES = [ip_network("172.29.77.2"), ip_network("fd00:1::/64")]


def seen(peer: str, **headers: str) -> tuple[str | None, str]:
    """The client's address, and the portal's own, as the application sees them."""
    wanted = {name.replace("_", "-"): value for name, value in headers.items()}
    environ = EnvironBuilder(headers=wanted.items(), environ_base={"REMOTE_ADDR": peer}).get_environ()

    @Request.application
    def app(request: Request) -> Response:
        return Response(f"{request.remote_addr} {request.host_url}")

    body, *_ = run_wsgi_app(TrustedProxies(app, PROXIES), environ)
    address, _, url = b"".join(body).decode().partition(" ")
    return address, url


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.9", "198.51.100.1", "192.0.2.9"),
        ("172.29.77.1", "198.51.100.1", "172.29.77.1"),
        ("172.29.77.2", "198.51.100.1", "198.51.100.1"),
        ("172.29.77.2", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("172.29.77.2", "6.6.6.6, 198.51.100.1, fd00:1::5", "198.51.100.1"),
        ("172.29.77.2", "fd00:1::5", "172.29.77.2"),
        ("172.29.77.2", "", "172.29.77.2"),
        ("172.29.77.2", "nonsense", "nonsense"),
        ("", "6.6.6.6", ""),
    ],
)
def test_only_what_a_trusted_proxy_adds_is_believed(peer: str, forwarded: str, client: str) -> None:
    assert seen(peer, X_Forwarded_For=forwarded)[0] == client


def test_the_portals_address_comes_from_a_trusted_proxy_only() -> None:
    headers = {"X_Forwarded_Host": "photos.example", "X_Forwarded_Proto": "https"}
    assert seen("172.29.77.2", **headers)[1] == "https://photos.example/"
    assert seen("192.0.2.9", **headers)[1] == "http://localhost/"

"""The proxy of compose, run as it is but for ports and folders: with TLS and without."""

import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from ruamel.yaml import YAML
from tests.paths import ROOT
from tests.servers import find_free_ports

INFRA = ROOT / "infra"
SERVICE: dict[str, Any] = YAML(typ="safe").load(INFRA / "compose.yml")["services"]["proxy"]
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
"""Folders that nginx makes when it starts."""
RunNginx = Callable[[str, dict[str, int], Path], None]


@pytest.fixture
def run_nginx(tmp_path: Path) -> Iterator[RunNginx]:
    """A function that runs nginx as compose does, with one of its ways to listen, and certificates of a folder."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        pytest.skip("nginx is not installed (Debian: apt-get install nginx-light)")
    running: list[subprocess.Popen[bytes]] = []

    def run(name: str, ports: dict[str, int], certificates: Path) -> None:
        listen = (INFRA / f"listen/{name}.conf").read_text().replace("/etc/nginx/certificates", str(certificates))
        for usual in ("8080", "8443"):
            listen = listen.replace(f"listen {usual}", f"listen 127.0.0.1:{ports[usual]}")
        (tmp_path / "listen.conf").write_text(listen)
        text = (INFRA / "nginx.conf").read_text().replace("server portal:8000", f"server 127.0.0.1:{ports['portal']}")
        for usual in ("/tmp/listen.conf", "/tmp/nginx.pid"):
            assert usual in text
            text = text.replace(usual, str(tmp_path / Path(usual).name))
        temporary = "".join(f"{kind}_temp_path {tmp_path}/{kind};" for kind in TEMPORARY)
        (tmp_path / "nginx.conf").write_text(text.replace("http {", f"http {{ {temporary}"))
        command = [nginx, "-c", str(tmp_path / "nginx.conf")]
        done = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        running.append(subprocess.Popen([*command, "-g", "daemon off;"], stderr=subprocess.DEVNULL))

    yield run
    for process in running:
        process.terminate()
        process.wait()


class Portal(BaseHTTPRequestHandler):
    """Stands for the portal, and says with which scheme it was asked."""

    def do_GET(self) -> None:
        body = f"{self.headers['X-Forwarded-Proto']} {self.path}".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def ports() -> Iterator[dict[str, int]]:
    """Ports to listen on, and that of a portal that runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Portal)
    Thread(target=server.serve_forever, daemon=True).start()
    plain, tls = find_free_ports(2)
    yield {"8080": plain, "8443": tls, "portal": server.server_port}
    server.shutdown()
    server.server_close()


def ask(url: str, certificate: Path | None = None) -> httpx.Response:
    context = ssl.create_default_context(cafile=certificate) if certificate else True
    for _ in range(200):
        with suppress(httpx.ConnectError):
            return httpx.get(url, verify=context)
        time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


def test_the_proxy_hands_requests_on(run_nginx: RunNginx, ports: dict[str, int], tmp_path: Path) -> None:
    run_nginx("http", ports, tmp_path)
    assert ask(f"http://127.0.0.1:{ports['8080']}/batches").text == "http /batches"


def test_the_proxy_ends_tls_with_the_museums_certificate(
    run_nginx: RunNginx, ports: dict[str, int], tmp_path: Path
) -> None:
    made = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=museum")
    files = ("-keyout", tmp_path / "key.pem", "-out", tmp_path / "certificate.pem")
    address = ("-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(["openssl", "req", *made, *address, *files], capture_output=True, check=True)
    run_nginx("tls", ports, tmp_path)
    plain, tls = f"http://127.0.0.1:{ports['8080']}", f"https://127.0.0.1:{ports['8443']}"
    assert ask(f"{tls}/batches?page=2", tmp_path / "certificate.pem").text == "https /batches?page=2"
    sent = ask(f"{plain}/batches?page=2")
    assert (sent.status_code, sent.headers["location"]) == (308, "https://127.0.0.1/batches?page=2")
    assert ask(f"{plain}/healthz").text == "http /healthz"


def test_a_way_to_listen_that_does_not_exist_is_none_of_the_choices() -> None:
    [script] = [word for word in SERVICE["command"] if "listen" in word]
    assert "/etc/nginx/listen/$$RETINT_LISTEN.conf /tmp/listen.conf" in script
    assert {path.stem for path in (INFRA / "listen").iterdir()} == {"http", "tls"}
    assert SERVICE["environment"] == {"RETINT_LISTEN": "${RETINT_LISTEN:-http}"}

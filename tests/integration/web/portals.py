"""The command `retint portal` as a process on a free port."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from tests.servers import find_free_ports

from retint.settings import Settings


@dataclass(frozen=True)
class Portal:
    url: str
    port: int
    process: "subprocess.Popen[bytes]"
    http: httpx.Client

    def memory_bytes(self) -> int:
        """Return the memory of all its processes, in bytes."""
        parent = psutil.Process(self.process.pid)
        return sum(process.memory_info().rss for process in [parent, *parent.children(recursive=True)])

    def connect(self, head: str, body: bytes = b"", token: str | None = None) -> socket.socket:
        """Open a connection, and send a request's head and the beginning of its body."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lines = [head, "Host: x", *([f"Authorization: Bearer {token}"] if token else [])]
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
        return connection

    def open_batch(self) -> str:
        return str(self.http.post("/api/v1/batches", json={"name": "Box"}).json()["id"])

    def put(self, batch_id: str, name: str, body: Any) -> httpx.Response:
        return self.http.put(f"/api/v1/batches/{batch_id}/files", params={"name": name}, content=body)


@contextmanager
def run_portal(settings: Settings, token: str, folder: Path, patch: str = "") -> Iterator[Portal]:
    """Run a portal until the block ends; `patch` is code that changes it before it starts."""
    [port] = find_free_ports(1)
    code = f"{patch}\nfrom retint.command.cli import main\nmain()"
    command = [sys.executable, "-c", code, "portal", "--port", str(port)]
    with (folder / "portal.log").open("ab") as sink:
        process = subprocess.Popen(command, env=settings.environment(), stdout=sink, stderr=sink)
    url = f"http://127.0.0.1:{port}"
    try:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=60) as http:
            _wait_until_live(http, process, folder / "portal.log")
            yield Portal(url, port, process, http)
    finally:
        process.terminate()
        process.wait(timeout=40)


def _wait_until_live(http: httpx.Client, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if http.get("/healthz").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"the portal did not start:\n{log.read_text()[-3000:]}")

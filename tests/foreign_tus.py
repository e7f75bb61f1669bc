"""Sends a large file by foreign tus clients, each broken off five times: `python -m tests.foreign_tus [--mib N]`.

The clients are tuspy, and tus-js-client in Node; both are installed into a temporary folder. A forwarder between client
and portal cuts the connection when so many bytes have passed. It ends with 1 unless the portal has the files.
"""

import argparse
import csv
import hashlib
import io
import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tests import platforms
from tests.platforms import PlatformUnderTest

from retint.settings import Settings

BREAKS: Final = 5
PIECE: Final = 1 << 16
LIMIT_S: Final = 3600
CHUNK_BYTES: Final = 32 << 20

TUSPY: Final = """
import json, sys
from tusclient.client import TusClient
given = json.loads(sys.argv[1])
client = TusClient(given["endpoint"], headers=given["headers"])
uploader = client.uploader(
    given["path"], chunk_size=given["chunk"], metadata=given["metadata"], retries=20, retry_delay=1
)
uploader.upload()
"""
TUS_JS: Final = """
const { Upload } = require("tus-js-client");
const given = JSON.parse(process.argv[2]);
const upload = new Upload(require("fs").createReadStream(given.path), {
  endpoint: given.endpoint, headers: given.headers, chunkSize: given.chunk, metadata: given.metadata,
  uploadSize: given.size, retryDelays: Array(20).fill(1000),
  onError: (error) => { console.error(String(error)); process.exit(1); },
});
upload.start();
"""


class Forwarder:
    """Forwards connections to the portal, and cuts them at given numbers of bytes."""

    def __init__(self, port: int, cuts: list[int]) -> None:
        self._port, self._cuts, self._passed = port, cuts, 0
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.broken = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                portal = socket.create_connection(("127.0.0.1", self._port))
                threading.Thread(target=self._pump, args=(client, portal, self._is_cut), daemon=True).start()
                threading.Thread(target=self._pump, args=(portal, client, lambda _: False), daemon=True).start()

    def _is_cut(self, count: int) -> bool:
        with self._lock:
            self._passed += count
            if not self._cuts or self._passed < self._cuts[0]:
                return False
            self._cuts.pop(0)
            self.broken += 1
            return True

    @staticmethod
    def _pump(source: socket.socket, target: socket.socket, is_cut: Callable[[int], bool]) -> None:
        with suppress(OSError):
            while data := source.recv(PIECE):
                if is_cut(len(data)):
                    break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)  # wakes the other thread
            end.close()  # a client that still writes hears of it


def write_sparse(path: Path, size: int) -> str:
    """Write a file of so many bytes, nearly all of them zero. Returns its SHA-256."""
    with path.open("wb") as file:
        file.write(b"II*\0 no photograph")
        file.truncate(size)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def install_clients(folder: Path) -> dict[str, list[str]]:
    """Install the clients. Returns the command of each, without what it sends."""
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "--target", str(folder / "python"), "tuspy==1.1.0"],
        check=True,
        capture_output=True,
    )
    (folder / "send.py").write_text(f"import sys\nsys.path.insert(0, {str(folder / 'python')!r})\n{TUSPY}")
    commands = {"tuspy 1.1.0": [sys.executable, str(folder / "send.py")]}
    node = shutil.which("node")
    if node is None:
        print("tus-js-client is not tried: there is no Node here")
        return commands
    subprocess.run(["npm", "install", "--silent", "--prefix", str(folder), "tus-js-client@4.3.1"], check=True)
    (folder / "send.cjs").write_text(TUS_JS)
    return commands | {"tus-js-client 4.3.1": [node, str(folder / "send.cjs")]}


@contextmanager
def forwarded(platform: PlatformUnderTest, size: int) -> Iterator[Forwarder]:
    """Run a forwarder that breaks five times while so many bytes pass."""
    port = int(platform.url.rsplit(":", 1)[1])
    forwarder = Forwarder(port, [size * number // (BREAKS + 1) for number in range(1, BREAKS + 1)])
    try:
        yield forwarder
    finally:
        forwarder.close()


def send(platform: PlatformUnderTest, command: list[str], path: Path, batch_id: str) -> int:
    """Send the file by a client. Returns how often it was broken off."""
    size = path.stat().st_size
    with forwarded(platform, size) as forwarder:
        given = {
            "endpoint": f"http://127.0.0.1:{forwarder.port}/api/v1/uploads",
            "headers": {"Authorization": f"Bearer {platform.token}"},
            "path": str(path),
            "size": size,
            "chunk": CHUNK_BYTES,
            "metadata": {"filename": path.name, "batch": batch_id},
        }
        subprocess.run([*command, json.dumps(given)], check=True, timeout=LIMIT_S)
        return forwarder.broken


def main(size: int) -> int:
    """Send a file of so many bytes by each client; compare what has arrived."""
    is_whole = True
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        commands = install_clients(folder)
        with platforms.run_platform(Settings(data=folder / "platform")) as platform, platform.client() as client:
            platform.scale(cpu=0, gpu=0)
            for number, (name, command) in enumerate(commands.items()):
                path = folder / f"large-{number}.tif"
                sha256 = write_sparse(path, size + number)
                batch_id = str(client.open_batch(name, key=name)["id"])
                started = time.monotonic()
                broken = send(platform, command, path, batch_id)
                table = platform.get(f"/api/v1/batches/{batch_id}/receipt.csv").text
                [row] = csv.DictReader(io.StringIO(table))
                is_same = (row["path"], row["bytes"], row["sha256"]) == (path.name, str(size + number), sha256)
                is_whole = is_whole and is_same and broken == BREAKS
                outcome = "the portal has it" if is_same else f"the portal has something else: {row}"
                seconds = time.monotonic() - started
                print(f"{name}: {size >> 20} MiB, broken off {broken} times, {seconds:.0f} s, {outcome}", flush=True)
    return 0 if is_whole else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=3 << 10, help="size of the file")
    sys.exit(main(parser.parse_args().mib << 20))

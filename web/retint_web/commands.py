"""What the portal's part adds to the command `retint`."""

import sys

import click

from retint.settings import Settings


@click.group()
def commands() -> None:
    """Commands of the portal."""


@commands.command(epilog="\b\nExample:\n  retint portal --host 0.0.0.0 --port 8000")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Its port.")
@click.option("--threads", type=click.IntRange(1, 128), default=16, show_default=True, help="Requests served at once.")
def portal(host: str, port: int, threads: int) -> None:
    """Serve pages and API with gunicorn."""
    from gunicorn.app.wsgiapp import WSGIApplication

    settings = Settings()
    sys.argv = [
        "gunicorn",
        f"--bind={host}:{port}",
        "--worker-class=gthread",
        f"--threads={threads}",
        "--timeout=120",
        # A file's name is part of an upload's address.
        "--limit-request-line=8190",
        "--graceful-timeout=30",
        "--keep-alive=20",
        "--no-control-socket",
        # Its heartbeat file on a slow disk would make gunicorn take a busy worker for a dead one.
        *(["--worker-tmp-dir=/dev/shm"] if sys.platform == "linux" else []),
        f"--forwarded-allow-ips={'*' if settings.behind_proxy else '127.0.0.1'}",
        "retint_web.wsgi:app",
    ]
    WSGIApplication("%(prog)s [OPTIONS] [APP_MODULE]").run()

"""Parameter types of the networks' commands, and how their errors reach the user."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from retint_models.weights.cards import IMPORTED

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
IMPORTED_FOLDER = click.option(
    "--folder",
    envvar="RETINT_WEIGHTS",
    type=click.Path(file_okay=False, path_type=Path),
    default=IMPORTED,
    help="Folder of imported weights [env: RETINT_WEIGHTS; default: weights in the user's data folder].",
)


class Unavailable(click.ClickException):
    """A server did not answer; another attempt may succeed."""

    exit_code = 3


@contextmanager
def translate_errors() -> Iterator[None]:
    """Turn errors of the networks' code into a message and an exit status.

    Status 3 means that a server did not answer and another attempt may succeed; status 2 is every other error.
    """
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise Unavailable(str(error)) from error
    except (ValueError, OSError, ArithmeticError) as error:
        raise click.UsageError(str(error)) from error

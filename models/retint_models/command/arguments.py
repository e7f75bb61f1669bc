"""What the commands of the networks take, and how they refuse it."""

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


class Unanswered(click.ClickException):
    """Something around did not answer; another try may help."""

    exit_code = 3


@contextmanager
def refusing() -> Iterator[None]:
    """Turn what the networks' part refuses into a sentence and exit status 2, or 3 where another try may help."""
    try:
        yield
    except (ConnectionError, TimeoutError) as error:
        raise Unanswered(str(error)) from error
    except (ValueError, OSError, ArithmeticError) as error:
        raise click.UsageError(str(error)) from error

"""What is given out of a job whose colors the catalogue forbids: everything but what shows them, which stays stored."""

from typing import Final

from retint.errors import NotAllowed
from retint.tables import Job

SENTENCE: Final = "The catalogue says that this photo is not to be colorized. Its colored result is not given out."
_COLORED: Final = frozenset({"result", "preview", "thumb", "color"})
"""Files that show colors; those of further pages end with a number."""


class Withheld(NotAllowed):
    """The catalogue forbids the colors of this photo."""

    code = "withheld"

    def __init__(self) -> None:
        super().__init__(SENTENCE)

    def __reduce__(self) -> tuple[object, ...]:
        return Withheld, ()


def leave_out(job: Job, files: dict[str, str]) -> dict[str, str]:
    """Return those of a job's files, by name, that may be given out."""
    return {name: key for name, key in files.items() if not is_withheld(job, name)}


def is_withheld(job: Job, name: str) -> bool:
    """Whether a file of a job is not given out."""
    return job.withheld and name.partition("-")[0] in _COLORED


def check(job: Job, name: str) -> None:
    """Refuse a file that is not given out.

    Raises:
        Withheld: it shows colors that the catalogue forbids.
    """
    if is_withheld(job, name):
        raise Withheld

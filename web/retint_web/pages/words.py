"""Words for what templates show: times, sizes, numbers, recipes, states."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final
from uuid import UUID

from flask import Flask, g, url_for

from retint import __version__
from retint.batches import Card, Progress
from retint.errors import InvalidRequest
from retint.jobs.tallies import Counts
from retint.lifecycle import ACTIVE, State
from retint.recipes import Recipe
from retint.tables import Batch

SHOWN: Final = (
    State.RESTORED,
    State.RUNNING,
    State.QUEUED,
    State.READY,
    State.REFUSED,
    State.QUARANTINED,
    State.CANCELLED,
)
"""The states in the order in which a person asks for them: a phone shows the first few."""

SIZES: Final = ("B", "kB", "MB", "GB", "TB")


def configure(app: Flask) -> None:
    """Teach the templates these words."""
    filters = (
        moment, ago, since, duration, size, mib, number, count, recipe, by_state, active, file_name, ending,
        picture_url, card_words,
    )  # fmt: skip
    app.jinja_env.filters.update({each.__name__: each for each in filters})
    app.context_processor(lambda: {"version": __version__, "identity": g.get("identity")})


def moment(at: datetime) -> str:
    """Tell a time in full, in UTC: `21 November 2026, 07:40`."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%B %Y, %H:%M}"


def ago(at: datetime) -> str:
    """Tell how long something is past."""
    return f"{since(at)} ago"


def since(at: datetime) -> str:
    """Tell for how long something has been, in whole seconds at least."""
    return duration(round((datetime.now(UTC) - at).total_seconds()))


def duration(seconds: float) -> str:
    """Tell a span in its two largest units at most: `0.4 s`, `12 s`, `3 min`, `2 h 5 min`, `4 d 2 h`."""
    seconds = max(0.0, seconds)
    if seconds < 9.95 and seconds != round(seconds):
        return f"{seconds:.1f} s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def size(n: float) -> str:
    """Tell an amount of bytes: `3.2 MB`."""
    unit = 0
    while n >= 999.5 and unit < len(SIZES) - 1:
        n, unit = n / 1000, unit + 1
    return f"{n:.1f} {SIZES[unit]}" if unit and n < 99.95 else f"{n:.0f} {SIZES[unit]}"


def number(n: int) -> str:
    """Group a number's thousands."""
    return f"{n:,}"


def mib(n: int) -> str:
    """Tell an amount given in MiB: `4 GiB`."""
    return f"{n / 1024:g} GiB" if n >= 1024 else f"{n} MiB"


def count(n: int, word: str, words: str | None = None) -> str:
    """Say how many of what: `1 photo`, `2,000 photos`."""
    return f"{n:,} {word if n == 1 else words or word + 's'}"


def recipe(values: Mapping[str, Any]) -> str:
    """Tell in a line what a recipe does."""
    wanted = Recipe.model_validate(values)
    color = "colors kept" if wanted.colorizer == "keep" else f"colorized by {wanted.colorizer}"
    if wanted.colorizer_settings and wanted.colorizer != "keep":
        color += f" ({settings(wanted.colorizer_settings)})"
    if wanted.defader == "keep" or wanted.strength == 0:
        return f"{color}, fading kept"
    strength = "" if wanted.strength == 1 else f" at {wanted.strength:.0%}"
    return f"{color}, defaded by {wanted.defader}{strength}"


def listed(value: object) -> str:
    """Tell a value of a card: a list's parts with commas."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def row_id(text: str) -> UUID:
    """Read a row's id from an address or a form.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidRequest("The address names no such thing.") from error


def settings(values: Mapping[str, float]) -> str:
    """Tell the settings of a network: `render factor 35`."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items())


def by_state(counts: Counts) -> Iterator[tuple[State, int]]:
    """Go through the states with their counts; each is there, also with none, so that nothing moves."""
    return ((state, counts.of(state)) for state in SHOWN)


def active(counts: Counts) -> int:
    """Count what still waits or runs."""
    return counts.of(*ACTIVE)


def file_name(name: str) -> str:
    """Give the last part of a deposited name."""
    return PurePosixPath(name).name or name


def ending(key: str) -> str:
    """Say what kind of file a key of the store names: `JPEG`; nothing where the key does not tell."""
    suffix = PurePosixPath(key).suffix[1:].upper()
    return {"JPG": "JPEG", "TIF": "TIFF", "SAFETENSORS": "safetensors"}.get(suffix, suffix)


def picture_url(card: Card) -> str | None:
    """Give the address of the picture that shows a job best so far."""
    return url_for("downloads.file", job_id=card.id, name=card.picture) if card.picture else None


def card_words(card: Card) -> str:
    """Say what a card's state leaves open: why, or at which stage."""
    if card.state in (State.REFUSED, State.QUARANTINED):
        return card.reason or "No reason was noted."
    return card.stage if card.state in ACTIVE else ""


def standing(batch: Batch, progress: Progress) -> str:
    """Say in a line how a batch goes on: how fast, how long still, or why not."""
    counts = progress.counts
    left = active(counts)
    if batch.cancelled_at:
        return f"Cancelled, {ago(batch.cancelled_at)}"
    if batch.paused_at and left:
        return f"Paused, {number(left)} waiting"
    if not counts.total:
        return "Waiting for photos"
    if left and progress.eta_s is not None:
        return f"About {duration(progress.eta_s)} left, {progress.rate_per_minute:,.0f} a minute"
    if left:
        return f"{number(left)} to go"
    lost = counts.refused + counts.quarantined
    return f"Finished; {number(lost)} could not be restored" if lost else "Finished"

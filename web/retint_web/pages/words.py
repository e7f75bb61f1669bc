"""Texts that pages show for times, sizes, numbers, recipes and states."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any, Final

from flask import Flask, g, url_for

from retint import __version__
from retint.batches import JobSummary, Progress
from retint.jobs.tallies import Counts
from retint.lifecycle import ACTIVE, State, Verdict
from retint.proofs import Proof
from retint.recipes import Recipe
from retint.roles import Scope
from retint.tables import Batch
from retint.verdicts import Result

STATE_ORDER: Final = (
    State.RESTORED,
    State.RUNNING,
    State.QUEUED,
    State.READY,
    State.REFUSED,
    State.QUARANTINED,
    State.CANCELLED,
)
"""The states in the order of the page's filters. A phone shows only the first few, which people want most."""

SIZES: Final = ("B", "kB", "MB", "GB", "TB")


def configure(app: Flask) -> None:
    """Register the functions of this module as filters of the templates."""
    filters = (
        format_time, format_ago, format_elapsed, format_duration, format_hours, format_size, format_mib, format_number,
        pluralize, describe_recipe, counts_by_state, count_unfinished, file_name, file_type, picture_url,
        describe_state, describe_said, list_scopes, format_end,
    )  # fmt: skip
    app.jinja_env.filters.update({each.__name__: each for each in filters})
    app.context_processor(lambda: {"version": __version__, "identity": g.get("identity")})


def format_time(at: datetime) -> str:
    """Format a time in UTC: `21 November 2026, 07:40`."""
    at = at.astimezone(UTC)
    return f"{at.day} {at:%B %Y, %H:%M}"


def format_end(at: datetime | None) -> str:
    """Format when something ends: a day, `ended`, or that it never does."""
    if at is None:
        return "never"
    return "ended" if at <= datetime.now(UTC) else f"{at.astimezone(UTC).day} {at.astimezone(UTC):%B %Y}"


def list_scopes(allowed: Collection[Scope]) -> str:
    """List what a token is for, in the order of the scopes."""
    return "everything" if set(allowed) == set(Scope) else ", ".join(scope for scope in Scope if scope in allowed)


def format_ago(at: datetime) -> str:
    """Format how long ago a time was: `3 min ago`."""
    return f"{format_elapsed(at)} ago"


def format_elapsed(at: datetime) -> str:
    """Format the time since a moment, without fractions of a second: `3 min`."""
    return format_duration(round((datetime.now(UTC) - at).total_seconds()))


def format_duration(seconds: float) -> str:
    """Format a time span in at most two units: `0.4 s`, `12 s`, `3 min`, `2 h 5 min`, `4 d 2 h`."""
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


def format_hours(seconds: float) -> str:
    """Format the work of a fleet, in hours from one on: `6.4 s`, `12 min`, `1.5 h`, `1,250 h`."""
    hours = seconds / 3600
    if hours < 0.995:
        return format_duration(seconds)
    return f"{hours:,.0f} h" if hours >= 9.95 else f"{hours:.1f} h"


def format_size(n: float) -> str:
    """Format a number of bytes: `3.2 MB`."""
    unit = 0
    while n >= 999.5 and unit < len(SIZES) - 1:
        n, unit = n / 1000, unit + 1
    return f"{n:.1f} {SIZES[unit]}" if unit and n < 99.95 else f"{n:.0f} {SIZES[unit]}"


def format_number(n: int) -> str:
    """Format a number with thousands separators: `2,000`."""
    return f"{n:,}"


def format_mib(n: int) -> str:
    """Format a number of MiB: `200 MiB`, `4 GiB`."""
    return f"{n / 1024:g} GiB" if n >= 1024 else f"{n} MiB"


def pluralize(n: int, singular: str, plural: str | None = None) -> str:
    """Format a number with its noun: `1 photo`, `2,000 photos`."""
    return f"{n:,} {singular if n == 1 else plural or singular + 's'}"


def describe_recipe(values: Mapping[str, Any]) -> str:
    """Describe in one line what a recipe does."""
    recipe = Recipe.model_validate(values)
    return ", ".join([_describe_networks(recipe), *describe_region(recipe)])


def describe_region(recipe: Recipe) -> list[str]:
    """Describe what of a scan a recipe restores, where that is not what is found in it, and whether it is inverted."""
    words = ["inverted"] if recipe.invert else []
    if recipe.region != "auto":
        words.append("the whole page" if recipe.region == "whole" else "a stated region")
    return words


def _describe_networks(recipe: Recipe) -> str:
    color = "colors kept" if recipe.colorizer == "keep" else f"colorized by {recipe.colorizer}"
    if recipe.colorizer_settings and recipe.colorizer != "keep":
        color += f" ({format_settings(recipe.colorizer_settings)})"
    if recipe.defader == "keep" or recipe.strength == 0:
        return f"{color}, fading kept"
    strength = "" if recipe.strength == 1 else f" at {recipe.strength:.0%}"
    return f"{color}, defaded by {recipe.defader}{strength}"


def format_value(value: object) -> str:
    """Format a value of a network's card; the items of a list are separated by commas."""
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def format_settings(values: Mapping[str, float]) -> str:
    """Format the settings of a network: `render factor 35`."""
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items())


def counts_by_state(counts: Counts) -> Iterator[tuple[State, int]]:
    """Yield every state with its count, also those with none, so that the page's filters do not move."""
    return ((state, counts.of(state)) for state in STATE_ORDER)


def describe_retry(moved: int, is_complete: bool) -> str:
    """Say how many photos are retried, and that more follow where that takes longer than a moment."""
    photos = pluralize(moved, "photo")
    return f"{photos} will be retried." if is_complete else f"{photos} will be retried; the rest follows."


def describe_run_again(moved: int, is_complete: bool) -> str:
    """Say how many photos are run again, and that more follow where that takes longer than a moment."""
    photos = pluralize(moved, "photo is", "photos are")
    return f"{photos} run again." if is_complete else f"{photos} run again; the rest follows."


def count_unfinished(counts: Counts) -> int:
    """Count the photos that wait or run."""
    return counts.of(*ACTIVE)


def file_name(name: str) -> str:
    """Return the last part of a deposited name."""
    return PurePosixPath(name).name or name


def file_type(key: str) -> str:
    """Return the type of the file that a key of the store names: `JPEG`; empty if the key has no suffix."""
    suffix = PurePosixPath(key).suffix[1:].upper()
    return {"JPG": "JPEG", "TIF": "TIFF", "SAFETENSORS": "safetensors"}.get(suffix, suffix)


def picture_url(card: JobSummary) -> str | None:
    """Return the address of the best picture of a job so far; None if there is none yet."""
    return url_for("downloads.file", job_id=card.id, name=card.picture) if card.picture else None


def describe_state(card: JobSummary) -> str:
    """Return what a card shows beside its state: the reason of a failure, or the current stage."""
    if card.state in (State.REFUSED, State.QUARANTINED):
        return card.reason or "No reason was recorded."
    return card.stage if card.state in ACTIVE else ""


def describe_proof(proof: Proof) -> str:
    """Describe in one line how a proof is going, and what can be done with it."""
    if proof.batch.cancelled_at:
        return "The batch was cancelled."
    if proof.batch.paused_at is None:
        return "The batch goes on."
    if not proof.can_begin:
        return "The restoration of the batch has begun."
    return "" if proof.is_over else "Pictures appear when they are ready."


def describe_said(result: Result) -> str:
    """Say who judged a result, how and when; else how sure one may be of it."""
    if result.said and result.verdict is not Verdict.UNJUDGED:
        return f"{result.verdict.capitalize()} by {result.said.by or 'somebody'}, {format_time(result.said.at)}"
    if result.risk is None:
        return ""
    return f"Risk {result.risk:.0%}"


def describe_progress(batch: Batch, progress: Progress) -> str:
    """Describe in one line how a batch is going: its speed and remaining time, or that it is paused or finished."""
    counts = progress.counts
    unfinished = count_unfinished(counts)
    if batch.cancelled_at:
        return f"Cancelled, {format_ago(batch.cancelled_at)}"
    if batch.paused_at and unfinished:
        return f"Paused, {format_number(unfinished)} waiting"
    if not counts.total:
        return "Waiting for photos"
    if unfinished and progress.eta_s is not None:
        return f"About {format_duration(progress.eta_s)} left, {progress.rate_per_minute:,.0f} photos a minute"
    if unfinished:
        return f"{format_number(unfinished)} to go"
    failed = counts.refused + counts.quarantined
    return f"Finished; {format_number(failed)} could not be restored" if failed else "Finished"

"""The faults that are made, and the document that says what was seen of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest
from tests.faults.installation import Recovery

T = TypeVar("T", bound=Callable[..., Any])

BACKENDS: Final = {"service": "PostgreSQL, S3, Redis", "embedded": "SQLite, directory, embedded broker"}
SUBJECTS: Final = (
    "processes",
    "messages",
    "broker",
    "database",
    "store",
    "machine",
    "portal",
    "operations",
    "upgrade",
)


@dataclass(frozen=True)
class Fault:
    """A kind of fault.

    Attributes:
        name: what it is, in a few words.
        made: how it is made; where the backends differ, one sentence for each.
        promise: what holds all the same.
        missing: backends that cannot have it, and why.
    """

    name: str
    made: str | dict[str, str]
    promise: str
    missing: dict[str, str]

    def made_on(self, backends: str) -> str:
        return self.made if isinstance(self.made, str) else self.made[backends]


def fault(
    name: str,
    *,
    made: str | dict[str, str],
    promise: str,
    missing: dict[str, str] | None = None,
    is_short: bool = False,
) -> Callable[[T], T]:
    """Mark a test as the one that makes a fault; only a short one runs without being asked for."""
    described = Fault(name, made, promise, missing or {})

    def mark(test: T) -> T:
        pytest.mark.fault(described)(test)
        here = [name for name in BACKENDS if name not in described.missing]
        pytest.mark.parametrize("backends", here, indirect=True)(test)
        return test if is_short else pytest.mark.long(test)

    return mark


@dataclass(frozen=True)
class Row:
    """What one test saw."""

    subject: str
    fault: Fault
    backends: str
    recovery: Recovery | None
    outcome: str
    """`passed`, or why there is nothing to see."""


HEAD: Final = """# Faults
What Retint promises holds when its surroundings fail. `make faults` makes each of these faults against real processes
on real servers, on both sets of backends, and writes this page from what it sees. After each fault it checks:

- every deposited file is one job with one final outcome, and has one result for its recipe;
- every file that a row names is in the store, and after a sweep nothing else is;
- no process that died left temporary files that nobody deletes;
- every original has the bytes that were deposited;
- the counts that pages show are those of the rows.

*Next stage* is the time from the end of the fault until the next stage of a photo was done, *all* until every photo had
ended, in seconds on {cores} cores. Leases last {lease_s:g} s here, {real_lease_s:g} s where networks run; an operator
has {default_lease_s:g} s unless they set others.
"""


def write(path: Path, rows: Sequence[Row], sentences: dict[str, str], **figures: Any) -> None:
    """Write the document.

    Args:
        path: where.
        rows: in the order of the tests.
        sentences: of each subject, what it is about.
        figures: for the head.
    """
    parts = [HEAD.format(**figures)]
    for subject in SUBJECTS:
        chosen = [row for row in rows if row.subject == subject]
        if chosen:
            parts.append("\n".join([f"## {sentences[subject]}", *_make_table(chosen)]) + "\n")
    path.write_text("\n".join(parts))


def _make_table(rows: Sequence[Row]) -> list[str]:
    lines = [
        "| fault | how it is made | promise | backends | what was seen | next stage | all |",
        "|---|---|---|---|---|---|---|",
    ]
    before: Fault | None = None
    for row in rows:
        about = (
            ["", "", ""]
            if row.fault is before
            else [row.fault.name, row.fault.made_on(row.backends), row.fault.promise]
        )
        if row.fault is before and not isinstance(row.fault.made, str):
            about[1] = row.fault.made_on(row.backends)
        seen = [row.outcome, "", ""]
        if row.recovery:
            seen = [row.recovery.seen, f"{row.recovery.progress_s:.1f}", f"{row.recovery.end_s:.1f}"]
        lines.append(f"| {' | '.join([*about, BACKENDS[row.backends], *seen])} |")
        before = row.fault
    return lines

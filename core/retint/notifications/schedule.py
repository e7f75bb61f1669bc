"""When a notification is tried again, and for how long its receiver is left alone. No I/O.

Source: Standard Webhooks, specification, section "Retry schedule" (its first try is at once).
"""

import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

MINUTE_S, HOUR_S = 60.0, 3600.0
WAITS_S = (
    5.0,
    5 * MINUTE_S,
    30 * MINUTE_S,
    2 * HOUR_S,
    5 * HOUR_S,
    10 * HOUR_S,
    14 * HOUR_S,
    20 * HOUR_S,
    24 * HOUR_S,
)
"""Waits before the second to the last try."""
TRIES = len(WAITS_S) + 1
JITTER = 0.2
"""Each wait is shortened or lengthened by up to this share, so that not all come at once after an outage."""
SLOW_STATUSES = frozenset({429, 502, 503, 504})
"""Answers by which a receiver says that it is overloaded."""
FIRST_PAUSE_S, SLOW_PAUSE_S, LONGEST_PAUSE_S = 4.0, 60.0, 5 * MINUTE_S
LONGEST_RETRY_AFTER_S = 24 * HOUR_S


def wait_after(tries: int) -> float | None:
    """Return the seconds until the next try after so many; None after the last one."""
    return None if tries >= TRIES else WAITS_S[tries - 1] * _jitter()


def pause_after(failures: int, status: int | None = None, retry_after: str | None = None) -> float:
    """Return for how many seconds a receiver is left alone after so many failures in a row.

    With a thousand notifications waiting, a dead receiver is still asked no more than once in five minutes.

    Args:
        failures: at least 1.
        status: what it answered.
        retry_after: the header of that name, which is honoured for up to a day.
    """
    pause = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 20), LONGEST_PAUSE_S)
    if status in SLOW_STATUSES:
        pause = max(pause, SLOW_PAUSE_S)
    return max(pause * _jitter(), parse_retry_after(retry_after))


def parse_retry_after(text: str | None) -> float:
    """Return the seconds that a Retry-After header asks for (RFC 9110): a number or a date; 0 for anything else."""
    text = (text or "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:9]), LONGEST_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    seconds = (at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER_S)


def _jitter() -> float:
    return random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311

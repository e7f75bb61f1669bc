"""Rate limits: how many requests a token, an institution or a network address may send.

All portals count together, in the broker's Redis, by the library `limits` (sliding windows). Where Redis is away
nobody is stopped: requests pass, and the log says so. What moves an original's bytes is not counted; how much of that
may be on its way is limited by `places`. Headers: draft-ietf-httpapi-ratelimit-headers-10.
"""

import hashlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Final
from uuid import UUID

import structlog
from flask import Flask, current_app, g, request
from flask.wrappers import Response
from limits import RateLimitItem, RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from retint import metrics, quotas
from retint.errors import Refused
from retint.settings import Settings
from retint_web import house, services

TOKEN_PER_MINUTE: Final = 6000
TENANT_PER_MINUTE: Final = 30_000
TENANT_PER_SECOND: Final = 1000
"""Usual numbers of API requests; an operator may set others for an institution. A `retint push` of 50,000 files sends
some hundred requests a minute that count."""
ADDRESS_PER_MINUTE: Final = 600
"""Requests without a sign-in, or with a wrong token, of one network address: a whole museum may have one address."""
PATIENCE_S: Final = 0.25
"""How long Redis may take."""
AWAY_S: Final = 5.0
"""How long Redis is not asked again after it did not answer."""
LIMITS_S: Final = 10.0
"""How long a process remembers an institution's limits."""

log = structlog.get_logger()


class TooManyRequests(Refused):
    """Somebody sends more requests than may be sent."""

    code = "too_many_requests"
    status = 429

    def __init__(self, message: str, retry_after_s: int) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[object, ...]:
        return TooManyRequests, (self.message, self.retry_after_s)


@dataclass(frozen=True)
class Policy:
    """How many requests one of something may send."""

    name: str
    """`token`, `institution`, `burst` or `address`."""
    subject: str
    item: RateLimitItem

    @property
    def window_s(self) -> int:
        """Seconds."""
        return self.item.get_expiry()


class Rates:
    """The counts of one process's requests, which are those of all portals."""

    def __init__(self, settings: Settings) -> None:
        key = settings.secret.get_secret_value() if settings.secret else ""
        self._limiter = SlidingWindowCounterRateLimiter(
            RedisStorage(
                settings.broker_url,
                # The portals of an installation share the secret, and several installations may share one Redis.
                key_prefix=f"retint:rates:{hashlib.sha256(key.encode()).hexdigest()[:16]}",
                wrap_exceptions=True,
                socket_timeout=PATIENCE_S,
                socket_connect_timeout=PATIENCE_S,
            )
        )
        self._away_until = 0.0
        self._limits: dict[UUID, tuple[float, tuple[int, int]]] = {}
        self._lock = Lock()

    def count(self, policies: Sequence[Policy]) -> None:
        """Count the current request.

        Raises:
            TooManyRequests: it is one too many.
        """
        # A server that runs a request in several steps passes the same environ each time.
        if "retint.rates" in request.environ or time.monotonic() < self._away_until:
            g.rates = request.environ.get("retint.rates")
            return
        try:
            for policy in policies:
                if not self._limiter.hit(policy.item, policy.subject):
                    self._refuse(policy)
            # What is left of the nearest limit alone: each more is a question to Redis.
            near = next(policy for policy in policies if policy.name != "burst")
            g.rates = request.environ["retint.rates"] = [(near, *self._measure(near))]
        except StorageError as error:
            self._away_until = time.monotonic() + AWAY_S
            services().counters.count(metrics.RATES_UNKNOWN)
            log.warning("rates_not_limited", reason=type(error.storage_error).__name__, seconds=AWAY_S)

    def _refuse(self, policy: Policy) -> None:
        _, reset_s = self._measure(policy)
        services().counters.count(metrics.RATE_LIMITED, policy.name)
        g.rates = [(policy, 0, reset_s)]
        raise TooManyRequests(_describe(policy, reset_s), reset_s)

    def _measure(self, policy: Policy) -> tuple[int, int]:
        """Return how many requests are left, and in how many seconds there are more."""
        stats = self._limiter.get_window_stats(policy.item, policy.subject)
        reset_s = math.ceil(stats.reset_time - time.time())
        return stats.remaining, min(max(reset_s, 1), policy.window_s)

    def read_limits(self, tenant_id: UUID) -> tuple[int, int]:
        """Read how many requests an institution may send in a minute and in a second; remembered for `LIMITS_S`."""
        with self._lock:
            read_at, found = self._limits.get(tenant_id, (-math.inf, (0, 0)))
        if time.monotonic() < read_at + LIMITS_S:
            return found
        with house().read() as session:
            quota = quotas.read(session, tenant_id)
            found = quota.per_minute or TENANT_PER_MINUTE, quota.per_second or TENANT_PER_SECOND
        with self._lock:
            self._limits[tenant_id] = time.monotonic(), found
        return found


def configure(app: Flask, settings: Settings) -> None:
    """Let answers tell how many requests are left."""
    app.extensions["retint.rates"] = Rates(settings)
    app.after_request(_add_headers)


def count_api_request(tenant_id: UUID, token: str) -> None:
    """Count a request with a token.

    Raises:
        TooManyRequests: it is one too many of the token, or of its institution.
    """
    rates = _rates()
    minute, second = rates.read_limits(tenant_id)
    rates.count(
        [
            Policy("burst", f"tenant:{tenant_id}", RateLimitItemPerSecond(second)),
            Policy("token", _hash(token), RateLimitItemPerMinute(min(minute, TOKEN_PER_MINUTE))),
            Policy("institution", f"tenant:{tenant_id}", RateLimitItemPerMinute(minute)),
        ]
    )


def count_anonymous_request() -> None:
    """Count a request of somebody who is not signed in.

    Raises:
        TooManyRequests: it is one too many of the address.
    """
    address = request.remote_addr or "unknown"
    _rates().count([Policy("address", f"address:{address}", RateLimitItemPerMinute(ADDRESS_PER_MINUTE))])


def _rates() -> Rates:
    found: Rates = current_app.extensions["retint.rates"]
    return found


def _hash(token: str) -> str:
    """Return what tells tokens apart and is no secret."""
    return f"token:{hashlib.sha256(token.encode()).hexdigest()[:32]}"


def _describe(policy: Policy, reset_s: int) -> str:
    what = {
        "token": "This token has sent",
        "institution": "Your institution has sent",
        "burst": "Your institution has sent",
        "address": "From your network address came",
    }[policy.name]
    window = "second" if policy.window_s == 1 else "minute"
    wait = "1 second" if reset_s == 1 else f"{reset_s} seconds"
    return f"{what} more than {policy.item.amount:,} requests in a {window}. Wait {wait}, then go on."


def _add_headers(response: Response) -> Response:
    rates = g.get("rates")
    if rates:
        policies = [f'"{policy.name}";q={policy.item.amount};w={policy.window_s}' for policy, _, _ in rates]
        left = [f'"{policy.name}";r={remaining};t={reset_s}' for policy, remaining, reset_s in rates]
        response.headers["RateLimit-Policy"] = ", ".join(policies)
        response.headers["RateLimit"] = ", ".join(left)
    return response

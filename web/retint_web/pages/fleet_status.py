"""What pages say of the fleets: who drives them, what is wanted and why, and which workers are waited for."""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.orm import Session

from retint import demand, fleets
from retint.demand import Demand
from retint.jobs.tallies import Counts
from retint.lifecycle import ACTIVE, FLEETS, QUEUES, Mode, Stage
from retint.settings import Driver, Settings
from retint.tables import Worker
from retint_web.pages.words import format_elapsed

SELF_STARTING = (Driver.UP, Driver.KUBERNETES)
"""Drivers that start and stop workers by themselves."""


@dataclass(frozen=True)
class FleetStatus:
    """A fleet's demand, how many of its workers run, and who starts and stops them."""

    demand: Demand
    running: int
    driver: Driver

    @property
    def name(self) -> str:
        """The fleet."""
        return self.demand.name

    @property
    def wanted(self) -> int:
        """Workers that it should have now."""
        return self.demand.wanted

    @property
    def is_automatic(self) -> bool:
        """Whether the demand decides."""
        return self.demand.limits.mode is Mode.AUTOMATIC

    @property
    def stages(self) -> list[Stage]:
        """The stages that its workers run."""
        return [stage for stage, queue in QUEUES.items() if queue == self.name]

    @property
    def is_unmet(self) -> bool:
        """Whether workers have been missing for longer than starting takes."""
        return self.demand.is_unmet and self.running < self.wanted

    @property
    def change(self) -> str:
        """What is about to change, or has to be done, in words."""
        missing, surplus = self.wanted - self.running, self.running - self.wanted
        starts_itself = self.driver in SELF_STARTING
        if missing > 0 and self.is_unmet and self.demand.short_since:
            return f"{missing} missing for {format_elapsed(self.demand.short_since)}: {_NONE_CAME[self.driver]}"
        if missing > 0:
            return f"{missing} starting" if starts_itself else f"{missing} missing: nobody starts them but you"
        if surplus > 0:
            return f"{surplus} finishing" if starts_itself else f"{surplus} more than wanted"
        return "steady" if self.wanted else "none wanted"


_NONE_CAME = {
    Driver.UP: "the logs of the workers say why.",
    Driver.COMPOSE: "start them with the command below.",
    Driver.KUBERNETES: "see whether the cluster has a free node of this kind (kubectl get pods).",
    Driver.HAND: "start them by hand.",
}


def read(session: Session, settings: Settings, live: Collection[Worker]) -> list[FleetStatus]:
    """Read the state of all fleets."""
    demands = demand.read(session, settings)
    driver = settings.fleet_driver
    return [FleetStatus(demands[name], sum(worker.fleet == name for worker in live), driver) for name in FLEETS]


def describe_driver(driver: Driver, statuses: Collection[FleetStatus]) -> tuple[str, str]:
    """Describe who starts and stops workers, and what to type where nobody does; empty where there is nothing."""
    wanted = {status.name: status.wanted for status in statuses}
    if driver is Driver.UP:
        return (
            "The command retint up runs the workers of this machine: it starts new ones at once, and surplus ones "
            "finish their photos before they stop."
        ), ""
    if driver is Driver.KUBERNETES:
        caps = " and ".join(f"{status.demand.limits.cap} {status.name}" for status in statuses)
        return (
            "KEDA scales the workers of this cluster to what is wanted, within half a minute. The chart's maximum, "
            f"{caps} workers, holds whatever is set here. Idle workers go first, the others finish their photos."
        ), ""
    if driver is Driver.COMPOSE:
        command = "docker compose --profile gpu up --detach --no-recreate " + " ".join(
            f"--scale {name}-worker={n}" for name, n in wanted.items()
        )
        return (
            "Docker Compose runs the workers, and changes nothing by itself. To have as many as are wanted, type:"
        ), command
    return (
        "Nothing here starts or stops workers by itself. This page says how many there should be; one is started with:"
    ), "retint worker --fleet gpu"


def list_awaited(session: Session, settings: Settings, counts: Counts) -> list[str]:
    """Say for which workers the photos of a batch wait, and since when; nothing while one of each fleet runs."""
    active = {QUEUES[stage] for (stage, state), n in counts.by.items() if n and state in ACTIVE}
    if not active:
        return []
    live = {worker.fleet for worker in fleets.list_live(session)}
    demands = demand.read(session, settings)
    starts_itself = settings.fleet_driver in SELF_STARTING
    return [_describe_awaited(demands[fleet], starts_itself) for fleet in FLEETS if fleet in active - live]


def _describe_awaited(wanted: Demand, starts_itself: bool) -> str:
    kind = {"cpu": "worker", "gpu": "worker with a network"}[wanted.name]
    if not wanted.wanted:
        return f"No {wanted.name} worker runs, and none is wanted: the photos wait until the operator wants one."
    since = f" for {format_elapsed(wanted.short_since)}" if wanted.short_since else ""
    if not starts_itself:
        return f"No {wanted.name} worker runs{since}: the photos wait until the operator starts one."
    if wanted.is_unmet:
        return f"No {wanted.name} worker has come{since}. The operator is told; nothing is lost meanwhile."
    return f"A {kind} is being started{since}; the photos go on as soon as it is there."

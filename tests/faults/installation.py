"""An installation of Retint that a test breaks: its processes, what was deposited, and how it recovers."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.engine import make_url
from tests.faults import promises
from tests.faults.processes import Process, make_path
from tests.faults.promises import Input
from tests.integration.conftest import Site
from tests.photographs import write_old_prints
from tests.proxies import Proxy

from retint import fleets, photos, store_identity, sweeps
from retint.digests import hash_file
from retint.errors import IllegalMove, Transient
from retint.lifecycle import Outcome, State
from retint.settings import Settings
from retint.tables import Attempt, Job, Worker

TIMEOUT_S = 120
EVERYDAY = ("outcomes_written", "bundles_sent", "bundle_claimed", "leases_released")
"""Lines of logs that nobody looks for after a fault."""
LOST = {Outcome.EXPIRED: "lease* expired", Outcome.FAULT: "fault*", Outcome.CANCELLED: "attempt* cancelled"}
"""What becomes of attempts that are not done, in words."""


@dataclass(frozen=True)
class Recovery:
    """What was seen of a fault."""

    seen: str
    progress_s: float
    """From the end of the fault until the next stage of a photo was done."""
    end_s: float
    """From the end of the fault until every photo had ended."""


@dataclass
class Installation:
    """Retint on real servers.

    Attributes:
        site: the database and the store, reached directly.
        settings: of the processes, which may reach them through proxies.
        folder: for what the test writes.
        is_plain: whether workers run plain stages (see `entry_point.py`).
    """

    site: Site
    settings: Settings
    folder: Path
    is_plain: bool = True
    processes: list[Process] = field(default_factory=list)
    inputs: list[Input] = field(default_factory=list)
    recovery: Recovery | None = None
    _proxies: list[Proxy] = field(default_factory=list)
    _over_at: float | None = None
    _done_before: int = 0
    _progress_s: float = 0.0
    _end_s: float | None = None

    def __post_init__(self) -> None:
        for name in ("switches", "tmp", "logs"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    # --- processes

    def start(self, *command: str, options: Sequence[str] = (), **environment: str) -> Process:
        """Start `retint <command>`; the options are those of `entry_point.py`, for the first start only."""
        switches = self._make_switches()
        always = ["--switches", str(switches), *(["--plain"] if self.is_plain else [])]
        return self._start(["tests.faults.entry_point"], [*always, *command], options, environment)

    def start_version(self, version: Path, *command: str) -> Process:
        """Start `retint <command>` of another version, whose parts lie in a folder."""
        self._make_switches()
        return self._start(["retint"], list(command), (), {"PYTHONPATH": make_path(version)})

    def _start(
        self, module: list[str], command: list[str], options: Sequence[str], environment: dict[str, str]
    ) -> Process:
        name = f"{len(self.processes)}-{'-'.join(word for word in command if word[0] not in '-/')}"
        process = Process(
            module,
            command,
            self.settings.environment(**{"TMPDIR": str(self.folder / "tmp"), "OMP_NUM_THREADS": "1", **environment}),
            self.folder / "logs" / f"{name}.log",
            self.folder / "switches" / str(len(self.processes)),
        )
        process.start(*options)
        self.processes.append(process)
        return process

    def _make_switches(self) -> Path:
        """Make the folder of the next process's switches."""
        folder = self.folder / "switches" / str(len(self.processes))
        folder.mkdir()
        return folder

    def start_worker(self, fleet: str, options: Sequence[str] = (), **environment: str) -> Process:
        return self.start("worker", "--fleet", fleet, options=options, **environment)

    def start_all(self) -> None:
        """Start one worker of each fleet and a dispatcher."""
        for fleet in ("cpu", "gpu"):
            self.start_worker(fleet)
        self.start("dispatcher")

    def join_store(self) -> None:
        """Make the store, and join it with the database."""
        self.site.services.store.prepare()
        store_identity.verify(self.site.services)

    def stop(self) -> None:
        """Kill every process, and close every connection to the database."""
        for process in self.processes:
            process.kill()
        self.site.services.engine.dispose()

    def close(self) -> None:
        """End everything that was started."""
        self.stop()
        for proxy in self._proxies:
            proxy.close()

    def print_logs(self) -> None:
        """Print the ends of all logs, without the lines that tell of work done."""
        for path in sorted((self.folder / "logs").glob("*.log")):
            lines = path.read_text(errors="replace").splitlines()
            told = [line for line in lines if not any(word in line for word in EVERYDAY)]
            print(f"--- {path.name}", *told[-60:], sep="\n")

    # --- the surroundings

    def put_proxy_before(self, server: str) -> Proxy:
        """Let processes that start from now on reach a server (`database`, `broker`, `store`) through a proxy."""
        name = {"database": "database_url", "broker": "broker_url", "store": "s3_endpoint"}[server]
        address = make_url(getattr(self.settings, name))
        assert address.port
        proxy = Proxy(address.port)
        self._proxies.append(proxy)
        through = address.set(port=proxy.port).render_as_string(hide_password=False)
        self.settings = self.settings.model_copy(update={name: through})
        return proxy

    @contextmanager
    def switched_on(self, switch: str, *processes: Process) -> Iterator[None]:
        """Break a part of the machine (see `entry_point.SWITCHES`) of some processes, or of all of them."""
        paths = [process.switches / switch for process in processes or self.processes]
        for path in paths:
            path.touch()
        yield
        for path in paths:
            path.unlink()

    # --- photographs

    def deposit(self, count: int, side: int = 128) -> list[UUID]:
        """Deposit photographs that nobody has deposited before, as one batch; return the jobs."""
        folder = self.folder / f"prints-{len(self.inputs)}"
        return self.deposit_files(sorted(write_old_prints(folder, count, side, len(self.inputs)).rglob("*.jpg")))

    def deposit_files(self, files: Sequence[Path]) -> list[UUID]:
        """Deposit files as one batch; return the jobs."""
        batch = self.site.add_batch()
        jobs = []
        for path in files:
            with path.open("rb") as source:
                job = photos.deposit(self.site.services, batch.tenant_id, batch.id, path.name, photos.Stream(source))
            self.inputs.append(Input(batch.id, path.name, hash_file(path)))
            jobs.append(job.id)
        return jobs

    # --- waiting

    def wait_until(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        self.site.wait_until(condition, timeout_s)

    def wait_for_done(self, count: int) -> None:
        """Wait until so many stages of photos are done."""
        self.wait_until(lambda: self.count_outcomes()[Outcome.DONE] >= count)

    def wait_for_death(self, process: Process) -> None:
        """Wait until a process has ended, and let the clock of the recovery run from then."""
        self.wait_until(lambda: process.has_ended)
        self.over()

    def hold(self, seconds: float) -> None:
        """Let a fault last, while processes that end are started again."""
        until = time.monotonic() + seconds
        self.hold_until(lambda: time.monotonic() > until)

    def hold_until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition is met, while processes that end are started again."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            self._keep_running()
            with suppress(Transient):
                if condition():
                    return
            stuck = {} if time.monotonic() < deadline else self.count_states()
            assert not stuck, f"this was not to last so long; the photos are {dict(stuck)}"
            time.sleep(0.02)

    def over(self) -> None:
        """Say that the fault is over: from now on the installation recovers."""
        self._over_at, self._end_s = time.monotonic(), None
        self._done_before = self.count_outcomes()[Outcome.DONE]

    def seconds_since(self) -> float:
        """Return how long ago the fault was over."""
        return time.monotonic() - (self._over_at or 0.0)

    def wait_until_ended(self) -> None:
        """Wait until every photo has ended, and note how long after the fault."""
        if self._over_at is None:
            self.over()
        self.hold_until(lambda: self.count_outcomes()[Outcome.DONE] > self._done_before or self._all_ended())
        self._progress_s = self.seconds_since()
        self.hold_until(self._all_ended)
        self._end_s = self.seconds_since()

    def recover(
        self,
        *allowed: State,
        killed: int = 0,
        is_older: bool = False,
        may_have_strays: bool = False,
        remark: str = "",
    ) -> None:
        """Wait until every photo has ended, check every promise, and keep what was seen.

        Args:
            allowed: how photos may have ended; restored, if nothing else is said.
            killed: processes that the test has killed; no other may have ended.
            is_older: whether the store knows more than the database, so that nothing is swept.
            may_have_strays: whether files of photos that the database does not know may stay, as they do then, too.
            remark: added to what is seen.
        """
        if self._end_s is None:
            self.wait_until_ended()
        orphans = 0 if is_older else self.sweep()
        self.check_promises(*(allowed or (State.RESTORED,)), may_have_strays=may_have_strays or is_older)
        restarts, asked = sum(process.restarts for process in self.processes), self._count_asked_to_restart()
        assert restarts <= killed + asked, f"{restarts} processes ended: {killed} were killed, {asked} asked to"
        self.recovery = Recovery(self._describe(orphans, remark), self._progress_s, self._end_s or 0.0)

    def _keep_running(self) -> None:
        for process in self.processes:
            process.keep_running()

    def _all_ended(self) -> bool:
        states = self.count_states()
        assert not states[State.QUARANTINED], self._list_reasons()
        return not any(n for state, n in states.items() if not state.is_final)

    # --- what is seen

    def count_states(self) -> Counter[State]:
        with self.site.services.read() as session:
            rows = session.execute(select(Job.state, func.count().label("n")).group_by(Job.state)).all()
            return Counter({row.state: row.n for row in rows})

    def count_outcomes(self) -> Counter[Outcome]:
        with self.site.services.read() as session:
            query = select(Attempt.outcome, func.count().label("n")).group_by(Attempt.outcome)
            return Counter({row.outcome: row.n for row in session.execute(query)})

    def count_workers(self) -> int:
        """Count the workers that live."""
        with self.site.services.read() as session:
            return len(fleets.list_live(session))

    def _count_asked_to_restart(self) -> int:
        """Count the workers which the dispatcher has asked to start again, as it does with those that seem deaf."""
        with self.site.services.read() as session:
            return session.scalar(select(func.count()).where(Worker.restart_at.is_not(None))) or 0

    def _list_reasons(self) -> list[Any]:
        with self.site.services.read() as session:
            rows = select(Job.name, Job.stage, Job.reason_code, Job.reason).where(Job.state == State.QUARANTINED)
            return [tuple(row) for row in session.execute(rows)]

    def sweep(self) -> int:
        """Sweep orphans of any age; return how many there were."""
        has_stopped = False
        while True:
            try:
                options = {"go_on": has_stopped, "accept_many": has_stopped}
                *_, found = sweeps.sweep(self.site.services, **options, min_age=timedelta(0))
            except IllegalMove:  # the dispatcher's own sweep runs
                time.sleep(0.2)
                continue
            if not found.stopped:
                return found.deleted
            has_stopped = True  # much may go, after a fault of a small archive

    def check_promises(self, *allowed: State, may_have_strays: bool = False) -> None:
        """Fail with a sentence for everything that was promised and does not hold."""
        services = self.site.services
        broken = {
            "one outcome for each input": promises.list_inputs_without_one_outcome(services, self.inputs, allowed),
            "one result for each recipe": promises.list_results_not_made_once(services),
            "no file lost": promises.list_files_lost(services),
            "no orphan that stays": promises.list_orphans(services, may_have_strays=may_have_strays),
            "no scratch folder left": promises.list_leftovers(self.folder / "tmp"),
            "no original changed": promises.list_changed_originals(services, self.inputs),
            "counts are rows": promises.list_wrong_counts(services),
        }
        if self.is_plain:
            broken["results are of their originals"] = promises.list_wrong_results(services)
        assert not any(broken.values()), {promise: lines for promise, lines in broken.items() if lines}

    def _describe(self, orphans: int, remark: str) -> str:
        states, outcomes = self.count_states(), self.count_outcomes()
        parts = [f"{n} {state}" for state, n in sorted(states.items())]
        parts += [count(outcomes[outcome], words) for outcome, words in LOST.items() if outcomes[outcome]]
        parts += [count(orphans, "orphan* swept")] if orphans else []
        return ", ".join(parts) + (f"; {remark}" if remark else "")


def count(n: int, words: str) -> str:
    """Return a number with words that have a `*` where the plural has an s."""
    return f"{n} {words.replace('*', '' if n == 1 else 's')}"

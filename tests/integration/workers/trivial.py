"""A worker or a dispatcher whose stages do what a photo's name says: `python -m … worker cpu [seconds of a hang]`."""

import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence

from retint import telemetry
from retint.errors import InvalidPhoto, OutOfMemory
from retint.jobs.leases import AttemptEnd, Done, Lease
from retint.lifecycle import Stage
from retint.services import Services
from retint.settings import Settings
from retint_workers import beats
from retint_workers.beats import Beat
from retint_workers.dispatch import dispatcher
from retint_workers.queue import app, tasks


def run_stage(services: Services, leases: Sequence[Lease], beat: Beat) -> Iterator[AttemptEnd]:
    """Run each photo: `refuse@render`, `fault@ingest` (twice, then well), `slow@defade:3` (seconds) …"""
    for lease in leases:
        if not beat():
            return
        order, _, where = lease.name.partition("@")
        stage, _, value = where.partition(":")
        facts = {"before": sorted(lease.facts), "files": sorted(lease.files), "gain": lease.recipe.strength}
        done = Done({str(lease.stage): lease.file_key("file")}, facts, {"work": 0.0})
        if stage != lease.stage:
            yield lease, done
        elif order == "refuse":
            yield lease, InvalidPhoto("This is not a photograph.")
        elif order == "fault" and lease.faults < 2:
            yield lease, OutOfMemory("There was not enough memory.")
        elif order == "bug":
            raise ZeroDivisionError("a bug")
        elif order == "forget":
            continue
        elif order == "hang":
            time.sleep(600)
        elif order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif order == "slow":
            deadline = time.monotonic() + float(value)
            while time.monotonic() < deadline:
                time.sleep(0.02)
                beat()
            yield lease, done
        else:
            yield lease, done


def main() -> None:
    settings = Settings()
    telemetry.configure(settings, "-".join(sys.argv[1:]))
    services = Services.connect(settings)
    if sys.argv[1] == "worker":
        tasks.BUNDLE_S, tasks.FLUSH_S, tasks.END_S = 1.0, 0.1, 4.0
        beats.HANG_S = float(sys.argv[3]) if len(sys.argv) > 3 else beats.HANG_S
        app.run_worker(services, sys.argv[2], dict.fromkeys(Stage, run_stage), device="none")
    else:
        services.keep_reporting()
        dispatcher.run(services)


if __name__ == "__main__":
    main()

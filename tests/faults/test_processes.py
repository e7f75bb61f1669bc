"""Processes that die, stall and come back"""

import time

from tests.faults.installation import Installation
from tests.faults.report import fault

from retint.lifecycle import Outcome

PHOTOS = 24
FEW = 8
"""Photographs for real networks."""


def make_worker_die(
    installation: Installation, moment: str, *, fleet: str = "cpu", after: int = 1, photos: int = PHOTOS
) -> None:
    """Let the only worker of a fleet die at a moment, while photographs wait; another one starts in its place."""
    other = "cpu" if fleet == "gpu" else "gpu"
    installation.start("dispatcher")
    installation.start_worker(other)
    victim = installation.start_worker(fleet, options=["--at", moment, "--count", str(after)])
    installation.deposit(photos)
    installation.wait_for_death(victim)
    installation.recover(killed=1)


@fault(
    "worker killed before its claim",
    made="SIGKILL when it has received its third message, before it claims",
    promise="a message is lost and no attempt; the photos are sent again",
)
def test_a_worker_killed_before_its_claim_costs_a_message(installation: Installation) -> None:
    make_worker_die(installation, "received", after=3)
    assert set(installation.count_outcomes()) == {Outcome.DONE}


@fault(
    "worker killed after its claim",
    made="SIGKILL as a stage begins, its claim committed",
    promise="the leases expire, and another worker runs the photos again",
)
def test_a_worker_killed_after_its_claim_costs_its_photos_an_attempt(installation: Installation) -> None:
    make_worker_die(installation, "claimed", after=3)
    assert 1 <= installation.count_outcomes()[Outcome.EXPIRED] <= installation.settings.bundle_size


@fault(
    "worker killed inside a network",
    made="SIGKILL while the network `compact` runs on a photo",
    promise="the leases expire, and another worker runs the network again",
)
def test_a_worker_killed_inside_a_network_costs_its_photos_an_attempt(real_installation: Installation) -> None:
    make_worker_die(real_installation, "network", fleet="gpu", after=40, photos=FEW)
    assert real_installation.count_outcomes()[Outcome.EXPIRED] >= 1


@fault(
    "worker killed after a put, before the commit",
    made="SIGKILL when a stage has put its sixth file into the store and no row names it",
    promise="the file is an orphan and is swept; the photo gets another attempt and one result",
    is_short=True,
)
def test_a_worker_killed_before_its_commit_leaves_an_orphan_that_is_swept(installation: Installation) -> None:
    make_worker_die(installation, "stored", after=6)
    assert installation.recovery
    assert "orphan" in installation.recovery.seen


@fault(
    "worker killed after its commit",
    made="SIGKILL when an outcome is committed, before the next link of the chain is sent",
    promise="nothing is done twice; the next stage is sent again",
)
def test_a_worker_killed_after_its_commit_costs_nothing_that_was_done(installation: Installation) -> None:
    make_worker_die(installation, "committed", after=3)


@fault(
    "stale worker wakes after its lease",
    made="SIGSTOP after a put, before the commit; SIGCONT when another worker has done the work",
    promise="what the stale worker writes counts for nothing",
    is_short=True,
)
def test_a_worker_that_wakes_after_its_lease_changes_nothing(installation: Installation) -> None:
    stale = installation.start_worker("cpu", options=["--at", "stored", "--count", "6", "--stop"])
    installation.start_worker("gpu")
    installation.start("dispatcher")
    installation.deposit(PHOTOS)
    installation.wait_until(lambda: stale.is_stopped)
    installation.over()
    installation.start_worker("cpu")
    installation.wait_until_ended()
    stale.go_on()
    installation.hold(2)
    assert not stale.has_ended
    installation.recover()


@fault(
    "dispatcher killed",
    made="SIGKILL of the dispatcher that leads, while photos are on their way",
    promise="what was sent goes on; the next dispatcher sends the rest",
)
def test_a_killed_dispatcher_costs_a_pause(installation: Installation) -> None:
    installation.start_worker("cpu")
    installation.start_worker("gpu")
    leader = installation.start("dispatcher")
    installation.deposit(PHOTOS)
    installation.wait_for_done(8)
    leader.kill()
    installation.wait_for_death(leader)
    installation.recover(killed=1)


@fault(
    "two dispatchers",
    made="SIGSTOP of the one that leads as it sends bundles; SIGCONT when the other leads",
    promise="the other takes the lead; what both have sent is done once",
    is_short=True,
)
def test_two_dispatchers_lead_one_after_the_other(installation: Installation) -> None:
    installation.start_worker("cpu")
    installation.start_worker("gpu")
    first = installation.start("dispatcher", options=["--at", "sent", "--stop"])
    installation.deposit(2 * PHOTOS)
    installation.wait_until(lambda: first.is_stopped)
    stopped_at = time.monotonic()
    installation.start("dispatcher")
    installation.wait_for_done(2 * PHOTOS)
    led_s = time.monotonic() - stopped_at
    first.go_on()
    installation.over()
    installation.recover(remark=f"half of the work went on without the first within {led_s:.0f} s")

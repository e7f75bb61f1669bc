"""The store"""

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.entry_point import DISK_DELAY_S
from tests.faults.installation import Installation
from tests.faults.report import fault

from retint.lifecycle import Outcome

PHOTOS = 24
MANY = 48


def break_store(installation: Installation, fault_s: float, *, status: str, switch: str, remark: str = "") -> None:
    """Let a store fail while a batch is worked on: an S3 service answers with a status, a disk with an error."""
    is_s3 = installation.settings.store_url is not None
    proxy = installation.put_proxy_before("store") if is_s3 else None
    installation.start_all()
    installation.deposit(MANY)
    installation.wait_for_done(MANY // 2)
    with proxy.answering(status) if proxy else installation.switched_on(switch):
        installation.hold(fault_s)
    installation.over()
    installation.recover(remark=remark)


@fault(
    "store answers with errors",
    made={
        "service": "every request is answered with 500 Internal Server Error, for 8 s",
        "embedded": "the disk fails to sync (EIO), for 8 s",
    },
    promise="no photo is at fault: each is tried again, and none of these attempts counts",
)
def test_a_store_that_answers_with_errors_costs_a_pause(installation: Installation) -> None:
    break_store(installation, 8, status="500 Internal Server Error", switch="disk-broken")


@fault(
    "store full",
    made={
        "service": "every request is answered with 507 Insufficient Storage, for 8 s",
        "embedded": "the disk has no space left (ENOSPC), for 8 s",
    },
    promise="the same; no half file is left",
)
def test_a_full_store_costs_a_pause(installation: Installation) -> None:
    break_store(installation, 8, status="507 Insufficient Storage", switch="disk-full")


@fault(
    "store slow",
    made={
        "service": "200 ms between the store and everybody, each way, for the whole batch",
        "embedded": f"every sync of a file or folder takes {DISK_DELAY_S} s, for the whole batch",
    },
    promise="the batch takes longer; leases live as long as work goes on",
)
def test_a_slow_store_costs_time(installation: Installation) -> None:
    is_s3 = installation.settings.store_url is not None
    proxy = installation.put_proxy_before("store") if is_s3 else None
    installation.start_all()
    with proxy.slow(0.2) if proxy else installation.switched_on("disk-slow"):
        installation.deposit(8)
        installation.over()
        installation.recover()
    assert set(installation.count_outcomes()) == {Outcome.DONE}


@fault(
    "store gone",
    made={
        "service": "every connection is cut and refused, for 8 s",
        "embedded": "the folder is gone, as a disk that is not mounted, for 8 s",
    },
    promise="no photo is at fault; nothing is written elsewhere, and what was there is there again",
)
def test_a_store_that_is_gone_costs_a_pause(installation: Installation) -> None:
    is_s3 = installation.settings.store_url is not None
    proxy = installation.put_proxy_before("store") if is_s3 else None
    installation.start_all()
    installation.deposit(MANY)
    installation.wait_for_done(MANY // 2)
    with proxy.gone() if proxy else move_store_away(installation):
        installation.hold(8)
    installation.over()
    installation.recover()


@contextmanager
def move_store_away(installation: Installation) -> Iterator[None]:
    folder = installation.settings.data / "store"
    folder.rename(folder.with_name("store-away"))
    yield
    assert not folder.exists(), f"{sorted(folder.rglob('*'))[:5]} were written where the disk was not"
    folder.with_name("store-away").rename(folder)


@fault(
    "store silent",
    made="connections stay open and carry nothing any more; after 15 s new ones do",
    promise="nobody waits for ever: who gets no answer connects again; no photo is at fault",
    missing={"embedded": "a directory is not reached over a network"},
)
def test_a_silent_store_costs_a_pause(installation: Installation) -> None:
    proxy = installation.put_proxy_before("store")
    installation.start_all()
    for _ in range(3):
        installation.start_worker("cpu")
    installation.deposit(MANY)
    installation.wait_for_done(MANY // 2)
    with proxy.lost():
        installation.hold(15)
    installation.over()
    installation.recover()
    assert set(installation.count_outcomes()) == {Outcome.DONE}

"""The document says what was seen, what was broken and what was not run."""

from pathlib import Path

from tests.faults import report
from tests.faults.installation import Recovery
from tests.faults.report import Fault, Row

EVERYWHERE = Fault("fire", "a match", "nothing burns", {})
DIFFERENT = Fault("flood", {"service": "a river", "embedded": "a tap"}, "nothing is wet", {})
HERE_ONLY = Fault("frost", "ice", "nothing freezes", {"embedded": "nothing can freeze"})


def test_every_fault_has_a_line_for_each_backend_in_the_order_of_the_subjects(tmp_path: Path) -> None:
    rows = [
        Row("store", DIFFERENT, "service", Recovery("2 restored", 0.04, 61.0), ""),
        Row("store", DIFFERENT, "embedded", None, "**broken**"),
        Row("store", HERE_ONLY, "service", None, "not run: it is summer"),
        Row("store", HERE_ONLY, "embedded", None, "nothing can freeze"),
        Row("processes", EVERYWHERE, "service", Recovery("1 restored", 1, 2), ""),
    ]
    path = tmp_path / "faults.md"
    sentences = {"store": "The store", "processes": "Processes"}
    report.write(path, rows, sentences, cores=2, lease_s=3.0, real_lease_s=10.0, default_lease_s=60.0)
    text = path.read_text()
    table = [line for line in text.splitlines() if line.startswith(("## ", "| ")) and not line.startswith("| fault")]
    service, embedded = report.BACKENDS["service"], report.BACKENDS["embedded"]
    assert table == [
        "## Processes",
        f"| fire | a match | nothing burns | {service} | 1 restored | 1.0 | 2.0 |",
        "## The store",
        f"| flood | a river | nothing is wet | {service} | 2 restored | 0.0 | 61.0 |",
        f"|  | a tap |  | {embedded} | **broken** |  |  |",
        f"| frost | ice | nothing freezes | {service} | not run: it is summer |  |  |",
        f"|  |  |  | {embedded} | nothing can freeze |  |  |",
    ]
    assert "on 2 cores. Leases last 3 s here, 10 s where networks run" in text

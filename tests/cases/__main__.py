"""Tries the cases and says what becomes of each now: `python -m tests.cases [DOCUMENT]`."""

import argparse
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from tests.cases import report
from tests.cases.report import Seen


class Reporter:
    """Collects what the tests with the mark `case` saw; `record_property("now", …)` gives a sentence."""

    def __init__(self) -> None:
        self.seen: defaultdict[str, Seen] = defaultdict(Seen)
        self._numbers: dict[str, tuple[str, ...]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        for item in items:
            marks = [*item.iter_markers("case")]
            self._numbers[item.nodeid] = tuple(number for mark in marks for number in mark.args)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        for number in self._numbers[report.nodeid]:
            seen = self.seen[number]
            seen.sentences += [str(value) for name, value in report.user_properties if name == "now"]
            if hasattr(report, "wasxfail"):
                seen.sentences.append(f"not yet: {report.wasxfail}")
            elif not report.passed:
                seen.failed.append(report.nodeid.rpartition("::")[2])


def main(document: Path | None) -> int:
    """Run the tests of the cases; print the table, and write it where a document is named."""
    reporter = Reporter()
    ended = pytest.main(["-q", "-m", "case", "tests"], plugins=[reporter])
    for number, happened, _ in report.read_table():
        print(f"{number}  {happened[:80]:<80}  {reporter.seen.get(number, 'no test tries it')}")
    if document:
        report.write(document, reporter.seen)
    return int(ended)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", help="Markdown file that the table is written to")
    sys.exit(main(parser.parse_args().page))

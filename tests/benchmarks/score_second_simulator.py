"""Score restorations in both orders on the prints of the second simulator, which networks were not trained on.

    python -m tests.benchmarks.score_second_simulator [--half judge] [--every 1]

Prints the table of `retint evaluate --score restoration --order both` for them.
"""

import argparse
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from tests.paths import DATA
from tests.second_simulator import make_second_samples

from retint.settings import Settings
from retint_models.datasets.halves import HALVES, keep_half
from retint_models.datasets.photographs import open_photos
from retint_models.evaluation import comparison, restoration
from retint_models.evaluation.candidates import Candidate
from retint_models.weights.cards import IMPORTED
from retint_workers import scratch
from retint_workers.local.evaluate import Networks, print_table
from retint_workers.local.restore_prints import restore_print


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=HALVES)
    parser.add_argument("--every", type=int, default=1)
    arguments = parser.parse_args()
    if not DATA.exists():
        sys.exit(f"There are no photographs to score on at {DATA}.")
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as cache:
        photos = open_photos(DATA / "dev", Path(cache))
        samples = make_second_samples(keep_half(photos, arguments.half) if arguments.half else photos, arguments.every)
        compact, defade = Candidate("compact", "compact"), Candidate("compact-defade", "compact-defade")
        runs = Networks([compact], [defade], IMPORTED, Path(cache)).plan_runs("both")
        ways = {run.title: partial(restore_print, run=run, settings=Settings(), report=print) for run in runs}
        with scratch.open_root():
            rows = restoration.score_restorations(samples, ways)
    print_table(restoration.table_heading(), rows, restoration.table_line, list(ways))
    comparison.add_changes(rows)
    print("\n".join(comparison.table_lines(rows)))


if __name__ == "__main__":
    main()

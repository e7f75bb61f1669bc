"""Paired comparison of rows: what one network does better or worse than another on the same photographs.

Photographs differ much more than networks do. So errors are subtracted photograph by photograph, and the interval of
the mean difference is narrower than those of the means (paired bootstrap). A difference counts where its interval
excludes 0, and there are enough photographs for an interval; of twenty that are nothing, one does so all the same.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retint_models.datasets.halves import HALVES, half_of
from retint_models.evaluation.metrics import bootstrap_interval

ENOUGH = 8
"""Photographs below which a bootstrap's interval is too narrow to be believed."""
ALWAYS = ("delta_e2000", "colorfulness")
"""Scores whose change is told whether it counts or not: a drabber network has a smaller error by being drab."""

Row = dict[str, Any]
"""A row of scores with `each`: by the photograph's name its `group` (stratum or family) and its scores."""


def add_changes(rows: Iterable[Row], earlier: Sequence[Row] = ()) -> None:
    """Add to rows what changed against another row: the earlier one of their name, or the first one here.

    `against` names the other row; `changes` holds a difference for each group of photographs and each score. Rows that
    have a `family` are compared within it, those without `each` not at all.

    Args:
        rows: In their order.
        earlier: Rows of an earlier evaluation. Without one of a row's name, its first one counts.
    """
    first: dict[str, Row] = {}
    for row in rows:
        if "each" not in row:
            continue
        family = str(row.get("family", ""))
        known = [other for other in earlier if other.get("each") and str(other.get("family", "")) == family]
        same = [other for other in known if other["name"] == row["name"]]
        other = next(iter([*same, *known]), first.get(family))
        first.setdefault(family, row)
        if other is not None:
            row["against"] = other["name"] + (" (earlier)" if known else "")
            row["changes"] = compare(row["each"], other["each"])


def compare(ours: Mapping[str, Row], others: Mapping[str, Row]) -> dict[str, dict[str, Any]]:
    """Compare the photographs that both have.

    Returns:
        For all photographs, each half, and each group among them: `photos`, and by score its `difference`.
    """
    names = [name for name in ours if name in others]
    groups = {"all": names}
    groups |= {half: [name for name in names if half_of(name) == half] for half in HALVES}
    for group in sorted({str(ours[name]["group"]) for name in names} - {""}):
        groups[group] = [name for name in names if ours[name]["group"] == group]
    return {
        group: compare_pairs([(ours[name], others[name]) for name in members])
        for group, members in groups.items()
        if members
    }


def compare_pairs(pairs: Sequence[tuple[Row, Row]]) -> dict[str, Any]:
    """Return the number of pairs, and the difference of each score over the photographs that have it in both."""
    found: dict[str, Any] = {"photos": len(pairs)}
    for score in pairs[0][0]:
        scores = [(ours[score], other.get(score)) for ours, other in pairs]
        changes = [one - two for one, two in scores if _are_known(one, two)]
        if changes:
            found[score] = difference(np.array(changes))
    return found


def _are_known(one: Any, two: Any) -> bool:
    """Return whether both are finite numbers: in JSON, what is none is null."""
    return all(isinstance(value, float) and math.isfinite(value) for value in (one, two))


def difference(changes: NDArray[np.float64]) -> dict[str, Any]:
    """Return the mean of paired differences, its 95 % interval, and whether it counts (see above)."""
    low, high = bootstrap_interval(changes)
    counts = len(changes) >= ENOUGH and not low <= 0 <= high
    return {"mean": float(changes.mean()), "interval": (low, high), "counts": counts}


def table_lines(rows: Iterable[Row]) -> list[str]:
    """Return a table of what changed, a line a group: `ALWAYS`, and of the other scores those whose change counts."""
    lines = []
    for row in rows:
        if "changes" in row:
            family = f", {row['family']}" if "family" in row else ""
            lines += ["", f"{row['name']}{family}, less what {row['against']} has:"]
            lines += [format_changes(group, changes) for group, changes in row["changes"].items()]
    return lines


def format_changes(group: str, changes: Mapping[str, Any]) -> str:
    """Return the line of a group, with a star at each change that counts."""
    texts = []
    for score, change in changes.items():
        if score in ALWAYS or (score != "photos" and change["counts"]):
            mean, low, high = (round(value, 2) + 0.0 for value in (change["mean"], *change["interval"]))  # no -0.00
            texts.append(f"{score} {mean:+.2f} [{low:+.2f}, {high:+.2f}]{' *' if change['counts'] else ''}")
    return f"  {group:<10}{changes['photos']:>4}  {', '.join(texts)}"

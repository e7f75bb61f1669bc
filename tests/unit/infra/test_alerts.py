"""The rules of alerts, judged by promtool: each fires at its time, not before, and has a section in the runbook."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from tests import servers
from tests.paths import ROOT

from retint.metrics import METRICS

RULES = ROOT / "infra/helm/rules/retint.yml"
ALERTS: list[dict[str, Any]] = YAML(typ="safe").load(RULES)["groups"][0]["rules"]
DASHBOARDS = sorted((ROOT / "infra/helm/dashboards").glob("*.json"))
RUNBOOK = (ROOT / "docs/operating.md").read_text()

ALWAYS = {
    'up{job="retint"}': "1x200",
    'retint_build_info{version="1"}': "1x200",
    'retint_leader_lease_seconds{role="dispatcher",holder="a"}': "5x200",
    'retint_workers{fleet="cpu",activity="busy"}': "1x200",
    'retint_workers{fleet="cpu",activity="idle"}': "1x200",
    'retint_workers{fleet="gpu",activity="busy"}': "1x200",
    'retint_workers{fleet="gpu",activity="idle"}': "0x200",
    'retint_workers_wanted{fleet="cpu"}': "2x200",
    'retint_workers_wanted{fleet="gpu"}': "1x200",
    'retint_oldest_seconds{stage="ingest"}': "30x200",
    'retint_jobs{stage="ingest",state="ready"}': "500x200",
    'retint_jobs{stage="defade",state="ready"}': "500x200",
    'retint_attempts_total{stage="ingest",outcome="done"}': "0+100x200",
    'retint_attempts_total{stage="ingest",outcome="refused"}': "0+1x200",
    'retint_attempts_total{stage="ingest",outcome="fault"}': "0+1x200",
    'retint_quarantined_total{stage="ingest"}': "3x200",
    "retint_http_errors_total": "7x200",
    "retint_database_errors_total": "7x200",
    "retint_store_errors_total": "7x200",
    "retint_sweep_stopped": "0x200",
    "retint_backup_age_seconds": "0+60x200",
}
"""An installation that works, a sample a minute; nothing fires."""
NO_CPU = {
    'retint_workers{fleet="cpu",activity="busy"}': "0x200",
    'retint_workers{fleet="cpu",activity="idle"}': "0x200",
}
SENT = {'retint_jobs{stage="ingest",state="ready"}': "0x200", 'retint_jobs{stage="ingest",state="queued"}': "4x200"}
"""All that waits was sent to workers that have died since."""
STANDING = {'retint_oldest_seconds{stage="ingest"}': "901+60x200"}
CASES: list[tuple[str, dict[str, str], int, int]] = [
    ("RetintScrapeFails", {'up{job="retint"}': "0x200"}, 4, 5),
    ("RetintScrapeFails", {'up{job="retint"}': "_x200"}, 4, 5),
    ("RetintNoLeader", {'retint_leader_lease_seconds{role="dispatcher",holder="a"}': "-1-60x200"}, 1, 2),
    ("RetintNoLeader", {'retint_leader_lease_seconds{role="dispatcher",holder="a"}': "_x200"}, 1, 2),
    ("RetintNoWorkers", NO_CPU, 9, 10),
    ("RetintNoWorkers", NO_CPU | SENT, 9, 10),
    ("RetintNoWorkers", {'retint_workers{fleet="gpu",activity="busy"}': "0x200"}, 9, 10),
    ("RetintWorkersMissing", {'retint_workers_wanted{fleet="gpu"}': "2x200"}, 9, 10),
    ("RetintWorkerInTrouble", {'retint_workers_in_trouble{fleet="gpu"}': "1x200"}, 9, 10),
    ("RetintWorkStands", STANDING | {'retint_attempts_total{stage="ingest",outcome="done"}': "9x200"}, 5, 6),
    ("RetintWorkWaits", STANDING, 14, 15),
    ("RetintQuarantineGrows", {'retint_quarantined_total{stage="ingest"}': "0x4 1x195"}, 4, 5),
    ("RetintManyRefused", {'retint_attempts_total{stage="ingest",outcome="refused"}': "0x9 0+60x190"}, 9, 30),
    ("RetintManyFaults", {'retint_attempts_total{stage="ingest",outcome="fault"}': "0+10x200"}, 5, 6),
    ("RetintPortalErrors", {"retint_http_errors_total": "0+1x200"}, 5, 6),
    ("RetintDatabaseErrors", {"retint_database_errors_total": "0+1x200"}, 5, 6),
    ("RetintStoreErrors", {"retint_store_errors_total": "0+1x200"}, 5, 6),
    ("RetintSweepStopped", {"retint_sweep_stopped": "1x200"}, 4, 5),
    ("RetintBackupOld", {"retint_backup_age_seconds": "172801+60x200"}, 59, 60),
]
"""Alert, what differs from an installation that works, a minute at which it is silent, one at which it fires."""


@pytest.fixture
def promtool() -> Path:
    try:
        return servers.find_prometheus("promtool")
    except servers.NotInstalled as error:
        pytest.skip(str(error))


def count_firing(name: str | None, minute: int, wanted: int | None) -> dict[str, Any]:
    """Make promtool expect so many kinds of alerts at a minute."""
    selector = 'alertstate="firing"' + (f',alertname="{name}"' if name else "")
    samples = [] if wanted is None else [{"labels": "{}", "value": wanted}]
    expression = f"count(count by (alertname) (ALERTS{{{selector}}}))"
    return {"expr": expression, "eval_time": f"{minute}m", "exp_samples": samples}


def test_every_alert_fires_at_its_time_and_nothing_fires_where_all_is_well(promtool: Path, tmp_path: Path) -> None:
    cases: list[tuple[dict[str, str], list[dict[str, Any]]]] = [({}, [count_firing(None, 150, None)])]
    for name, differing, silent, fires in CASES:
        cases.append((differing, [count_firing(name, silent, None), count_firing(name, fires, 1)]))
    tests = [
        {
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in (ALWAYS | differing).items()],
            "promql_expr_test": expected,
        }
        for differing, expected in cases
    ]
    (tmp_path / "rules.json").write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": tests})
    )
    done = subprocess.run(
        [promtool, "test", "rules", tmp_path / "rules.json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {name for name, *_ in CASES} == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_an_alert_says_how_urgent_it_is_and_has_a_section_of_the_runbook(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert rule["annotations"]["runbook_url"] == f"docs/operating.md#{rule['alert'].lower()}"
    assert f"\n### {rule['alert']}\n" in RUNBOOK


def test_the_runbook_has_no_section_of_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^### (Retint\w+)$", RUNBOOK, re.MULTILINE)) == {rule["alert"] for rule in ALERTS}


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_a_dashboard_asks_only_for_metrics_that_there_are(path: Path) -> None:
    board = json.loads(path.read_text())
    assert board["uid"] == path.stem
    assert len({panel["id"] for panel in board["panels"]}) == len(board["panels"])
    for panel in board["panels"]:
        for target in panel["targets"]:
            names = re.findall(r"retint_\w+", target["expr"])
            assert names
            assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in names} <= set(METRICS), target["expr"]

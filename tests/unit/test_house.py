"""The rules of the house that a program can check."""

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from tests.paths import ROOT

from retint.lifecycle import MOVES, STAGES, State
from retint.metrics import METRICS
from retint.settings import Settings
from retint.tables import Table

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {
    "build.txt": [*PROJECT["dependency-groups"]["build"]],
    "portal.txt": ["web"],
    "cpu.txt": ["cpu"],
    "gpu.txt": ["cpu", "gpu"],
    "local.txt": ["web", "cpu", "gpu", "local"],
    "dev.txt": ["web", "cpu", "gpu", "local", *PROJECT["dependency-groups"]["dev"]],
}


def tracked() -> list[Path]:
    """The files that git knows, without what is not text."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:4096]]


def found(pattern: str, paths: list[Path]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in paths
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1)
        if re.search(pattern, line)
    ]


def test_the_layers_of_the_house_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


VIOLATIONS = {
    "workers/retint_workers/commands.py": "import retint_web.app",
    "core/retint/errors.py": "import retint.settings",
    "models/retint_models/layers/types.py": "import retint_models.networks.registry",
    "models/retint_models/vision.py": "import flask",
    "models/retint_models/training/__init__.py": "import torchvision",
    "workers/retint_workers/sandbox/access.py": "import retint_workers.queue.tasks",
    "workers/retint_workers/imaging/color/icc.py": "import retint_workers.imaging.decoding.formats",
    "web/retint_web/security.py": "import retint_web.app",
    "web/retint_web/health.py": "import torch",
    "core/retint/broker.py": "import boto3",
    "core/retint/jobs/attempts.py": "import retint.jobs.leases",
    "core/retint/accounts/identities.py": "import retint.accounts.people",
}
"""Imports of which each breaks one contract or more."""


def test_every_contract_of_the_layers_breaks_when_its_rule_is_broken(tmp_path: Path) -> None:
    for part in ("core", "models", "workers", "web", "migrations"):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name, line in VIOLATIONS.items():
        (tmp_path / name).write_text(f"{(tmp_path / name).read_text()}\n{line}\n")
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    path = ":".join(str(tmp_path / part) for part in ("core", "models", "workers", "web", "migrations"))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "200"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    contracts = len(PROJECT["tool"]["importlinter"]["contracts"])
    assert f"Contracts: 0 kept, {contracts} broken." in done.stdout


MOST_LINES = 400
SCREEN = 50
LONGER = "# Longer than a screen: "
"""A comment that begins so, in or above a function, gives the reason."""


def python_files() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and "versions" not in path.parts]


def test_no_file_has_more_lines_than_a_reader_keeps_in_mind() -> None:
    lengths = {str(path.relative_to(ROOT)): path.read_text().count("\n") for path in python_files()}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_a_function_fits_on_a_screen_or_says_why_not() -> None:
    long = []
    for path in python_files():
        lines = path.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
                text = "\n".join(lines[max(0, node.lineno - 3) : node.end_lineno])
                if node.end_lineno - node.lineno >= SCREEN and LONGER not in text:
                    long.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert long == []


def test_no_file_names_a_path_of_the_machine_it_was_written_on() -> None:
    assert found(r"/(?:work|root|home/\w+)/|\." + r"library\b/", tracked()) == []


def test_no_file_says_where_packages_come_from() -> None:
    paths = [path for path in tracked() if path != Path(__file__)]
    assert found(r"(?:index-url|find-links|FIND_LINKS|INDEX_URL)\b.*[=:/]", paths) == []
    assert found("://", [path for path in paths if path.parent.name == "requirements"]) == []


def test_only_tests_training_and_benchmarks_look_beside_the_repository() -> None:
    inside = [path for path in tracked() if not {"tests", "training", "evaluation"} & set(path.parts)]
    assert found(r"\.\./shared|\"shared\"", [path for path in inside if path.suffix == ".py"]) == []


def settings_table() -> list[str]:
    """What docs/settings.md has to say."""
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        value = str(field.default).lower() if isinstance(field.default, bool) else field.default
        default = "" if value is None else f"`{value}`".replace(str(Path.home()), "~")
        rows.append(f"| `RETINT_{name.upper()}` | {default} | {field.description} |")
    return rows


def test_documents_name_files_that_exist() -> None:
    homes = [
        ROOT,
        ROOT / "models",
        *(ROOT / package for package in PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]),
    ]
    lost = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in tracked()
        if path.suffix == ".md" and path.name != "CHANGELOG.md" and path.parent.name != "vendor"
        for name in re.findall(r"`([a-z_]+(?:/[a-z_0-9.-]+)+/?)`", path.read_text())
        if not any((home / name).exists() for home in homes)
    ]
    assert lost == []


def test_every_setting_is_documented_as_it_is() -> None:
    lines = (ROOT / "docs/settings.md").read_text().splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert table == settings_table(), "docs/settings.md should say:\n" + "\n".join(settings_table())


def metrics_table() -> list[str]:
    """What docs/metrics.md has to say."""
    rows = ["| metric | kind | labels | what it is |", "|---|---|---|---|"]
    for metric in METRICS.values():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.text} |")
    return rows


def test_every_metric_is_documented_as_it_is() -> None:
    table = (ROOT / "docs/metrics.md").read_text().split("\n\n")[1].splitlines()
    assert table == metrics_table(), "docs/metrics.md should say:\n" + "\n".join(metrics_table())


def test_the_glossary_has_every_table_stage_and_state_in_order() -> None:
    text = (ROOT / "docs/glossary.md").read_text()
    words = [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]
    assert words == sorted(words)
    explained = {word for entry in words for word in re.split(r", | \(", entry)}
    for mapper in Table.registry.mappers:
        word = re.sub(r"(?<!^)([A-Z])", r" \1", mapper.class_.__name__).lower()
        assert word in explained, word
    for name in (*STAGES, *State):
        assert f"`{name}`" in text, name


def test_the_drawing_of_the_states_has_every_move_and_no_other() -> None:
    text = (ROOT / "docs/states.md").read_text()
    drawn = set(re.findall(r"^    ([a-z]+) --> ([a-z]+)$", text, re.MULTILINE))
    assert drawn == {(str(origin), str(to)) for origin, goals in MOVES.items() for to in goals}


@pytest.mark.parametrize("name", LOCKS)
def test_what_is_pinned_fits_what_the_project_asks_for(name: str) -> None:
    pins = re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (ROOT / "requirements" / name).read_text(), re.MULTILINE)
    extras = PROJECT["project"]["optional-dependencies"]
    asked = [] if name == "build.txt" else list(PROJECT["project"]["dependencies"])
    for part in LOCKS[name]:
        asked += extras.get(part, [part])
    for text in asked:
        requirement = Requirement(text)
        versions = [Version(version) for package, version in pins if package == requirement.name]
        if requirement.name == "retint" or (
            requirement.name in ("torch", "torchvision") and name in ("local.txt", "dev.txt")
        ):
            continue
        assert versions, f"{name} lacks {text}: run requirements/lock"
        assert all(requirement.specifier.contains(version) for version in versions), f"{name}: {text}"


def test_every_pin_has_a_hash() -> None:
    for path in (ROOT / "requirements").glob("*.txt"):
        blocks = re.split(r"^(?=[a-z0-9])", path.read_text(), flags=re.MULTILINE)
        assert all("--hash=sha256:" in block for block in blocks if "==" in block and not block.startswith("#")), path


def test_make_help_names_what_people_are_told_to_make() -> None:
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in ("setup", "demo", "up", "test", "faults", "bench", "lint", "help"):
        assert re.search(rf"^  make {target} +\w", listed, re.MULTILINE), target

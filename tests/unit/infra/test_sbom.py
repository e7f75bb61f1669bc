"""The bills of materials: valid, complete, and with a licence for everything."""

import importlib.util
import json
import subprocess
import sys
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from tests.paths import ROOT

SCRIPT = ROOT / "infra/sbom.py"


def load_script() -> Any:
    spec = importlib.util.spec_from_file_location("sbom", SCRIPT)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("sbom")
    subprocess.run([sys.executable, SCRIPT, folder], check=True)
    return {path.name.partition(".")[0]: json.loads(path.read_text()) for path in folder.glob("*.cdx.json")}


def test_every_image_has_a_bill_that_keeps_to_the_schema(bills: dict[str, Any]) -> None:
    assert set(bills) == {"portal", "backup", "cpu-worker", "gpu-worker"}
    for bill in bills.values():
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(bill)) is None


def test_every_package_that_is_pinned_is_there_with_a_licence(bills: dict[str, Any]) -> None:
    script = load_script()
    for image, lock in script.IMAGES.items():
        components = {component["name"]: component for component in bills[image]["components"]}
        assert set(script.read_pins(lock)) <= set(components)
        assert [name for name, component in components.items() if not component["licenses"]] == []


def test_what_is_under_the_gpl_is_named_and_is_in_no_portal(bills: dict[str, Any]) -> None:
    licences = {
        image: {component["name"]: json.dumps(component["licenses"]) for component in bill["components"]}
        for image, bill in bills.items()
    }
    assert "GPL-2.0-or-later" in licences["cpu-worker"]["libx264"]
    assert "libx264" in licences["gpu-worker"]
    assert "libx264" not in licences["portal"]
    table = (ROOT / "docs/licences.md").read_text()
    assert "| x264, x265 |" in table


def test_a_library_whose_licence_nobody_knows_is_told() -> None:
    with pytest.raises(SystemExit, match=r"infra/licences.toml"):
        load_script().find_license("libraries", "quux")

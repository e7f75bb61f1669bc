"""Writes a bill of materials (CycloneDX 1.6, JSON) for each image: `make sbom`, or infra/sbom.py FOLDER.

Packages are those that an image's lock file pins; their licences come from what is installed here. With them are listed
the libraries that wheels bring inside, such as x264 in that of PyAV, with the licences of licences.toml.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
IMAGES = {"portal": "portal", "backup": "portal", "cpu-worker": "cpu", "gpu-worker": "gpu"}
"""Images, and the lock files of which they are made."""
LIBRARY = re.compile(r"lib(?P<name>.+?)(?:[-.][0-9a-f]{6,8})*\.so(?:\.(?P<version>[0-9.]+))?")


def main(folder: Path) -> None:
    """Write a file for each image."""
    folder.mkdir(parents=True, exist_ok=True)
    installed = read_environment()
    for image in IMAGES:
        bill = make_bill(image, installed)
        (folder / f"{image}.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")
        print(f"{folder / image}.cdx.json: {len(bill['components'])} components")  # noqa: T201


def read_environment() -> dict[str, Any]:
    """Let cyclonedx-py describe what is installed here."""
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--spec-version", "1.6", "--output-reproducible"]
    done = subprocess.run([*command, sys.executable], capture_output=True, check=True)
    described: dict[str, Any] = json.loads(done.stdout)
    return described


def make_bill(image: str, installed: dict[str, Any]) -> dict[str, Any]:
    """Make the bill of one image out of what is installed here."""
    known = {normalize(component["name"]): component for component in installed["components"]}
    components = []
    for name, version in read_pins(IMAGES[image]).items():
        component = {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        described = known.get(name, {})
        # What is not installed here, such as CUDA's libraries, has its licence in licences.toml.
        licenses = described.get("licenses") or find_license("packages", name)
        components.append(component | {"bom-ref": f"{name}=={version}", "licenses": licenses})
        components += list_libraries(name)
    component = {"type": "container", "name": f"retint-{image}", "bom-ref": f"retint-{image}"}
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": component}}
    return head | {"components": components}


def read_pins(lock: str) -> dict[str, str]:
    """Read a lock file: versions by name. Where a version depends on Python's, that of the images counts."""
    text = (HERE.parent / f"requirements/{lock}.txt").read_text()
    pins: dict[str, str] = {}
    for name, version, marker in re.findall(r"^([a-z0-9-]+)==([^\s;\\]+) *;? *([^\\\n]*)", text, re.MULTILINE):
        if name not in pins or "python_full_version < '3.12'" in marker:
            pins[name] = version
    return pins


def list_libraries(package: str) -> list[dict[str, Any]]:
    """List the libraries that the wheel of a package brings inside."""
    site = Path(json.__file__).parents[1] / "site-packages"
    site = next((Path(path) for path in sys.path if path.endswith("site-packages")), site)
    found = []
    for path in sorted((site / f"{package.replace('-', '_')}.libs").glob("*.so*")):
        match = LIBRARY.fullmatch(path.name)
        if match is None:
            raise SystemExit(f"{path.name} is not named as libraries are: mend LIBRARY in {Path(__file__).name}")
        name = match["name"]
        component = {"type": "library", "name": f"lib{name}", "bom-ref": f"{package}/{path.name}"}
        component["description"] = f"inside the wheel of {package}"
        version = {"version": match["version"]} if match["version"] else {}
        found.append(component | version | {"licenses": find_license("libraries", name)})
    return found


def find_license(kind: str, name: str) -> list[dict[str, Any]]:
    """Find a licence in licences.toml: the longest beginning of the name counts.

    Raises:
        SystemExit: it has none; the message says what to do.
    """
    table: dict[str, str] = tomllib.loads((HERE / "licences.toml").read_text())[kind]
    fitting = [beginning for beginning in table if name == beginning or name.startswith(beginning)]
    if not fitting:
        raise SystemExit(f"The licence of {name} is not known: add it to [{kind}] of infra/licences.toml.")
    return [{"expression": table[max(fitting, key=len)]}]


def normalize(name: str) -> str:
    """Spell a package's name as lock files do."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

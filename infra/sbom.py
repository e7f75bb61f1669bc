"""Writes a bill of materials (CycloneDX 1.6, JSON) for each image: `make sbom`, or infra/sbom.py FOLDER.

Packages are those that an image's lock file pins; their licences come from what is installed here. With them are listed
the libraries that wheels bring inside, such as x264 in that of PyAV, with the licences of licences.toml.
"""

import json
import re
import sys
import sysconfig
import tomllib
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

HERE = Path(__file__).resolve().parent
IMAGES = {"portal": "portal", "backup": "portal", "cpu-worker": "cpu", "gpu-worker": "gpu"}
"""Images, and the lock files of which they are made."""
PYTHON = {
    "implementation_name": "cpython",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.11.14",
    "python_version": "3.11",
    "sys_platform": "linux",
}
"""The Python of the images, for the markers of lock files."""
SHORT = 100
"""Letters of what is a licence's name and not its text."""
LIBRARY = re.compile(r"lib(?P<name>.+?)(?:[-.][0-9a-f]{6,8})*\.so(?:\.(?P<version>[0-9.]+))?")


def main(folder: Path) -> None:
    """Write a file for each image."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in IMAGES:
        bill = make_bill(image)
        (folder / f"{image}.cdx.json").write_text(json.dumps(bill, indent=1) + "\n")
        print(f"{folder / image}.cdx.json: {len(bill['components'])} components")  # noqa: T201


def make_bill(image: str) -> dict[str, Any]:
    """Make the bill of one image."""
    components = []
    for name, version in read_pins(IMAGES[image]).items():
        component = {"type": "library", "name": name, "version": version, "purl": f"pkg:pypi/{name}@{version}"}
        components.append(component | {"bom-ref": f"{name}=={version}", "licenses": read_license(name)})
        components += list_libraries(name)
    container = {"type": "container", "name": f"retint-{image}", "bom-ref": f"retint-{image}"}
    head = {"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 1, "metadata": {"component": container}}
    return head | {"components": components}


def read_license(package: str) -> list[dict[str, Any]]:
    """Read the licence that an installed package states: an SPDX expression, a short text, or classifiers.

    What is not installed here, such as CUDA's libraries, or states none, has its licence in licences.toml.
    """
    try:
        stated = metadata(package)
    except PackageNotFoundError:
        return find_license("packages", package)
    if expression := stated.get("License-Expression"):
        return [{"expression": expression}]
    text = (stated.get("License") or "").strip()
    if text and "\n" not in text and len(text) < SHORT:
        return [{"license": {"name": text}}]
    classifiers = [line for line in stated.get_all("Classifier") or () if line.startswith("License ::")]
    named = [{"license": {"name": line.rpartition(" :: ")[2]}} for line in classifiers]
    return named or find_license("packages", package)


def read_pins(lock: str) -> dict[str, str]:
    """Read what a lock file pins for the Python of the images: versions by name."""
    text = (HERE.parent / f"requirements/{lock}.txt").read_text()
    lines = [line.rstrip("\\ ") for line in text.splitlines() if re.match(r"[a-z0-9]", line)]
    pins = {}
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(PYTHON):
            pins[requirement.name] = str(requirement.specifier).removeprefix("==")
    return pins


def list_libraries(package: str) -> list[dict[str, Any]]:
    """List the libraries that the wheel of a package brings inside."""
    site = Path(sysconfig.get_path("platlib"))
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
    """Find a licence in licences.toml.

    Raises:
        SystemExit: it has none; the message says what to do.
    """
    table: dict[str, str] = tomllib.loads((HERE / "licences.toml").read_text())[kind]
    for pattern, expression in table.items():
        if fnmatchcase(name, pattern):
            return [{"expression": expression}]
    raise SystemExit(f"The licence of {name} is not known: add it to [{kind}] of infra/licences.toml.")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

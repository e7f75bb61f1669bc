"""The images and the compose file, judged without an engine."""

import json
import re
import shlex
import subprocess
import sys
from fnmatch import fnmatch
from importlib.metadata import packages_distributions
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import click
import pytest
from pydantic import SecretStr
from ruamel.yaml import YAML
from tests.paths import ROOT

from retint.command.cli import retint
from retint.services import Services
from retint.settings import Settings
from retint_web.app import create_app

INFRA = ROOT / "infra"
DOCKERFILE = (INFRA / "Dockerfile").read_text()
COMPOSE: dict[str, Any] = YAML(typ="safe").load(INFRA / "compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
TARGETS = ("portal", "cpu-worker", "gpu-worker")


def stages() -> dict[str, list[list[str]]]:
    """The Dockerfile's stages by name, each a list of instructions, the first one its FROM."""
    text = re.sub(r"^\s*#.*\n", "", DOCKERFILE, flags=re.MULTILINE)
    found: dict[str, list[list[str]]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split()
        if words and words[0] == "FROM":
            name = words[3]
            found[name] = []
        if words:
            found[name].append(words)
    return found


def instructions(name: str) -> list[list[str]]:
    """All instructions that make a stage, its parents' first."""
    own = stages()[name]
    parent = own[0][1]
    return [*(instructions(parent) if parent in stages() else []), *own]


def test_the_three_images_are_there_and_build_on_a_pinned_slim_python() -> None:
    assert set(TARGETS) <= set(stages())
    outside = {first[1] for first, *_ in stages().values()} - set(stages()) - {"scratch"}
    [base] = outside
    assert re.fullmatch(r"python:3\.1[12]-slim-[a-z]+", base)


def test_everything_that_is_copied_exists_and_passes_the_ignore_file() -> None:
    lines = [line for line in (INFRA / "Dockerfile.dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [words for stage in stages().values() for words in stage if words[0] == "COPY"]
    for words in copied:
        origin = [word for word in words if word.startswith("--from=")]
        sources = words[1 + len(origin) : -1]
        if origin:
            assert origin[0].removeprefix("--from=") in {*stages(), SERVICES["postgres"]["image"]}
            continue
        for source in sources:
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, line[1:]) for line in lines), f"{source} is ignored"


def test_the_wheel_is_made_of_everything_that_the_package_is_made_of() -> None:
    copied = {word for words in stages()["wheel"] if words[0] == "COPY" for word in words[1:-1]}
    assert {"pyproject.toml", "README.md", "LICENSE", "core", "models", "workers", "web", "migrations"} <= copied


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_holds_the_wheel_and_no_tree(target: str) -> None:
    copied = [words for words in stages()[target] if words[0] == "COPY"]
    assert copied == [["COPY", f"--from={target}-build", "/opt/retint", "/opt/retint"]]


@pytest.mark.parametrize("target", TARGETS)
def test_no_image_runs_as_root(target: str) -> None:
    users = [words[1] for words in instructions(target) if words[0] == "USER"]
    assert users
    assert users[-1] not in ("root", "0")


@pytest.mark.parametrize("target", TARGETS)
def test_everything_that_is_installed_is_pinned_with_hashes(target: str) -> None:
    installs = [words for words in instructions(f"{target}-build") if words[:3] == ["RUN", "pip", "install"]]
    assert len(installs) == 3
    for words in installs:
        assert "--require-hashes" in words or words[3:] == ["--no-deps", "--no-index", "/wheels/*.whl"]


def pinned(target: str) -> set[str]:
    """The distributions that an image installs."""
    [name] = {
        word.removesuffix(".txt").split("/")[-1]
        for words in instructions(f"{target}-build")
        if words[:3] == ["RUN", "pip", "install"]
        for word in words
        if word.endswith(".txt") and "build" not in word
    }
    return set(re.findall(r"^([a-z0-9-]+)==", (ROOT / f"requirements/{name}.txt").read_text(), re.MULTILINE))


def test_only_the_gpu_workers_image_has_torch() -> None:
    assert [target for target in TARGETS if "torch" in pinned(target)] == ["gpu-worker"]
    assert "flask" in pinned("portal")
    assert "numba" in pinned("cpu-worker")


@pytest.mark.parametrize(
    ("target", "modules"),
    [
        (
            "portal",
            "retint_web.app retint_web.commands retint_workers.dispatch.dispatcher retint_workers.commands"
            " retint.command.cli",
        ),
        (
            "cpu-worker",
            "retint_workers.queue.app retint_workers.queue.stages retint_workers.imaging.ingest"
            " retint_workers.imaging.render",
        ),
        ("gpu-worker", "retint_workers.queue.app retint_workers.queue.stages retint_models.networks.registry"),
    ],
)
def test_what_an_image_runs_is_imported_with_the_images_packages_alone(target: str, modules: str) -> None:
    distributions = pinned(target) | {"retint", "setuptools", "pip"}
    absent = [
        module
        for module, owners in packages_distributions().items()
        if not any(owner.lower().replace("_", "-").replace(".", "-") in distributions for owner in owners)
    ]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import {', '.join(modules.split())}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def parse(arguments: list[str]) -> None:
    """Read a command line of `retint` without running it; click raises what a person would see."""
    command: click.Command = retint
    while True:
        context = command.make_context(command.name, list(arguments))
        if not isinstance(command, click.Group):
            return
        _, found, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
        assert found
        command = found


@pytest.mark.parametrize("target", TARGETS)
def test_an_images_own_command_is_one_of_retints(target: str) -> None:
    [entry] = [words for words in stages()[target] if words[0] == "ENTRYPOINT"]
    [default] = [words for words in stages()[target] if words[0] == "CMD"]
    assert entry[1:] == ['["retint"]']
    parse(shlex.split(" ".join(default[1:]).translate(str.maketrans("[],", "   "))))


@pytest.mark.parametrize("name", OURS)
def test_a_services_command_is_one_of_retints(name: str) -> None:
    parse(OURS[name]["command"])


def test_a_wrong_command_would_be_noticed() -> None:
    with pytest.raises(click.UsageError):
        parse(["worker", "--fleet", "tpu"])


def test_the_compose_file_keeps_to_the_compose_specification() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, INFRA / "compose.yml"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("name", OURS)
def test_a_service_is_built_from_a_target_and_set_by_settings_that_exist(name: str) -> None:
    service = OURS[name]
    assert (INFRA / service["build"]["context"]).resolve() == ROOT
    assert service["build"]["dockerfile"] == "infra/Dockerfile"
    assert service["build"]["target"] in (*TARGETS, "backup")
    assert service["image"] == f"retint-{service['build']['target']}"
    known = {f"RETINT_{field.upper()}" for field in Settings.model_fields}
    assert set(service["environment"]) <= known


WORKERS = [name for name, service in OURS.items() if "worker" in service["image"]]


@pytest.mark.parametrize("name", WORKERS)
def test_a_workers_health_check_reads_the_heartbeats_that_it_writes(name: str) -> None:
    [check] = [words for words in stages()[OURS[name]["build"]["target"]] if words[0] == "HEALTHCHECK"]
    probe = json.loads(" ".join(check[check.index("CMD") + 1 :]))
    assert probe[0] == "retint"
    parse(probe[1:])
    assert probe[-2:] == OURS[name]["command"][-2:]
    [default] = [words for words in stages()[OURS[name]["build"]["target"]] if words[0] == "CMD"]
    assert json.loads(" ".join(default[1:])) == OURS[name]["command"]


def has_health_check(target: str) -> bool:
    """Whether an image brings a health check of its own."""
    return any(words[0] == "HEALTHCHECK" and words[1] != "NONE" for words in stages()[target])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_only_for_what_can_tell_that_it_is_ready(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            ours = OURS.get(other)
            own = (
                [words[1:] for words in stages()[ours["build"]["target"]] if words[0] == "HEALTHCHECK"] if ours else []
            )
            assert "test" in SERVICES[other].get("healthcheck", {}) or own[-1] != ["NONE"]
        else:
            assert wait["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "on-failure"


def test_what_keeps_data_keeps_it_on_a_volume() -> None:
    volumes = [volume for service in SERVICES.values() for volume in service.get("volumes", [])]
    files = [volume for volume in volumes if volume.startswith("./")]
    assert all(volume.endswith(":ro") and (INFRA / volume.partition(":")[0]).exists() for volume in files)
    mounted = {volume.partition(":")[0] for volume in volumes if volume not in files}
    own = {"weights", "postgres", "valkey", "seaweedfs", "prometheus", "grafana", "backup"}
    assert mounted == set(COMPOSE["volumes"]) == own


def test_every_service_has_a_limit_of_memory_and_a_worker_has_room_for_its_child() -> None:
    limits = {name: service["mem_limit"] for name, service in SERVICES.items()}
    gib = {name: float(limit[:-1]) * {"g": 1, "m": 1 / 1024}[limit[-1]] for name, limit in limits.items()}
    for name in WORKERS:
        assert gib[name] * 1024 > 2 * Settings.model_fields["child_memory_mib"].default, name
    assert all(0.25 <= limit <= 16 for limit in gib.values())


def test_a_backup_is_made_by_the_programs_of_the_servers_version() -> None:
    [version] = re.findall(r"^postgres:(\d+)-", SERVICES["postgres"]["image"])
    assert f"postgresql-client-{version}" in [word for words in stages()["backup"] for word in words]
    [mounted] = [volume for volume in OURS["backup"]["volumes"] if volume.startswith("backup:")]
    folder = mounted.partition(":")[2]
    assert OURS["backup"]["command"][:4] == ["admin", "backup", "--to", folder]


def test_what_watches_reads_the_rules_and_dashboards_that_there_are() -> None:
    yaml = YAML(typ="safe")
    configuration = yaml.load(INFRA / "prometheus.yml")
    [folder] = {str(Path(path).parent) for path in configuration["rule_files"]}
    assert f"./helm/rules:{folder}:ro" in SERVICES["prometheus"]["volumes"]
    [job] = configuration["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["portal:8000"]}]
    assert job["authorization"]["credentials_file"] == f"/run/secrets/{SERVICES['prometheus']['secrets'][0]}"
    assert COMPOSE["secrets"] == {"metrics-token": {"environment": "RETINT_METRICS_TOKEN"}}
    [source] = yaml.load(INFRA / "grafana/datasources.yml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    [provider] = yaml.load(INFRA / "grafana/dashboards.yml")["providers"]
    assert f"./helm/dashboards:{provider['options']['path']}:ro" in SERVICES["grafana"]["volumes"]


def test_only_a_reserved_gpu_makes_a_gpu_worker_and_one_of_the_two_is_always_to_be_had() -> None:
    assert OURS["gpu-worker"]["profiles"] == ["gpu"]
    [device] = OURS["gpu-worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert OURS["gpu-worker-without-gpu"]["profiles"] == ["no-gpu"]
    assert OURS["gpu-worker-without-gpu"]["environment"]["RETINT_DEVICE"] == "cpu"


def test_every_variable_is_in_the_example_and_no_secret_has_a_default() -> None:
    text = (INFRA / "compose.yml").read_text()
    example = (INFRA / "example.env").read_text()
    for name, rest in re.findall(r"\$\{([A-Z0-9_]+)([^}]*)\}", text):
        assert re.search(rf"^#?{name}=", example, re.MULTILINE), name
        is_secret = "FORMER" not in name and any(word in name for word in ("SECRET", "PASSWORD", "TOKEN"))
        assert rest.startswith(":?" if is_secret else ":-"), name


def test_only_the_proxy_is_published_and_only_it_is_believed() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert all(port.startswith("127.0.0.1:") for name, ports in published.items() if name != "proxy" for port in ports)
    assert set(published) == {"proxy", "prometheus", "grafana"}
    address = SERVICES["proxy"]["networks"]["front"]["ipv4_address"]
    assert OURS["portal"]["environment"]["RETINT_TRUSTED_PROXIES"] == address
    [pool] = COMPOSE["networks"]["front"]["ipam"]["config"]
    assert ip_address(address) in ip_network(pool["subnet"])


def test_the_proxy_passes_on_files_as_they_come_and_holds_everything_else_back() -> None:
    """Every route that takes files, and no other, is in the location that does not buffer."""
    text = (INFRA / "nginx.conf").read_text()
    [pattern] = re.findall(r"location ~ (\S+) \{", text)
    app = create_app(Services.connect(Settings(secret=SecretStr("x"))))
    rules = [(rule.rule, app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules()]
    paths = [(re.sub(r"<[^>]+>", "0", rule), view) for rule, view in rules]
    taking_files = {path for path, view in paths if getattr(view, "accepts_uploads", False)}
    assert len(taking_files) > 5
    assert {path for path, _ in paths if re.match(pattern, path)} == taking_files

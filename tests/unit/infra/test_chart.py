"""The Helm chart: rendered over a matrix of values, and judged by the schemas of Kubernetes, KEDA and Prometheus."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import click
import pytest
from ruamel.yaml import YAML
from tests import helm
from tests.helm import Document, find, pods, render
from tests.paths import ROOT
from tests.unit.infra.chart_values import BASE, MATRIX, REFUSED, merge

from retint.command.cli import retint
from retint.settings import Settings
from retint_workers.queue.tasks import BUNDLE_S, END_S

KUBERNETES = ("1.29", "1.33", "1.37")
LATER = {".spec.fallback.behavior"}
"""Fields that KEDA has since 2.17, and its newest models at hand, of 2.16, do not know yet."""


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart, with a rule and a dashboard more."""
    chart = tmp_path_factory.mktemp("chart") / "retint"
    shutil.copytree(helm.CHART, chart)
    for folder in ("rules", "dashboards"):
        (chart / folder).mkdir(exist_ok=True)
    rule = {"alert": "A", "expr": "up == 0", "for": "5m", "annotations": {"summary": "{{ $labels.pod }} is away"}}
    (chart / "rules/one.yml").write_text(json.dumps({"groups": [{"name": "one", "rules": [rule]}]}))
    (chart / "dashboards/one.json").write_text('{"title": "{{ one }}"}')
    return chart


@pytest.fixture(scope="module", params=MATRIX)
def documents(request: pytest.FixtureRequest, chart: Path) -> list[Document]:
    return render(merge(BASE, MATRIX[request.param]), chart)


def list_lost(given: Any, kept: Any, path: str = "") -> list[str]:
    """List what a model has not taken over: fields that it does not know."""
    if isinstance(given, dict):
        known = {name: value for name, value in given.items() if name in kept}
        unknown = [f"{path}.{name}" for name in given if name not in kept]
        return unknown + [lost for name in known for lost in list_lost(given[name], kept[name], f"{path}.{name}")]
    if isinstance(given, list):
        return [lost for one, other in zip(given, kept, strict=True) for lost in list_lost(one, other, path)]
    return [] if given == kept else [path]


def judge_by_models(document: Document) -> list[str]:
    """Validate an object of KEDA or Prometheus; return the fields that its kind does not have."""
    from cloudcoil.models.keda import v1alpha1
    from cloudcoil.models.prometheus_operator import v1

    kind = getattr(v1alpha1 if document["apiVersion"].startswith("keda") else v1, document["kind"])
    kept = kind.model_validate(document).model_dump(by_alias=True, exclude_unset=True, mode="json")
    return [path for path in list_lost(document, kept) if path not in LATER]


@pytest.fixture(scope="module")
def validated() -> set[str]:
    """Objects that were found to be good: most are the same in many cases, and a judgement takes a second."""
    return set()


def test_each_object_is_one_that_kubernetes_keda_or_prometheus_knows(
    documents: list[Document], validated: set[str]
) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=f"kubernetes_validate is {helm.MISSING}")
    pytest.importorskip("cloudcoil.models.keda", reason=f"cloudcoil-models-keda is {helm.MISSING}")
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    assert len(set(names)) == len(names) >= 8
    for document in documents:
        if document["apiVersion"].startswith(("keda.sh", "monitoring.coreos.com")):
            assert judge_by_models(document) == []
        elif (text := json.dumps(document)) not in validated:
            for version in KUBERNETES:
                kubernetes_validate.validate(document, version, strict=True)
            validated.add(text)


def test_the_judges_find_a_field_that_is_wrong(chart: Path) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate", reason=f"kubernetes_validate is {helm.MISSING}")
    documents = render(merge(BASE, MATRIX["keda"]), chart)
    scaled = find(documents, "ScaledObject")[0]
    scaled["spec"]["minReplicas"] = 1
    assert judge_by_models(scaled) == [".spec.minReplicas"]
    deployment = find(documents, "Deployment")[0]
    deployment["spec"]["template"]["spec"]["terminationGracePeriod"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(deployment, KUBERNETES[0], strict=True)


def test_every_pod_is_restricted(documents: list[Document]) -> None:
    for name, pod in pods(documents).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            context, resources = container["securityContext"], container["resources"]
            assert context["allowPrivilegeEscalation"] is False, name
            assert context["readOnlyRootFilesystem"] is True, name
            assert context["capabilities"] == {"drop": ["ALL"]}, name
            assert resources["requests"].keys() >= {"cpu", "memory"}, name
            assert "memory" in resources["limits"], name
            mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
            assert mounted <= {volume["name"] for volume in pod.get("volumes", ())}, name
        for volume in pod.get("volumes", ()):
            assert "emptyDir" not in volume or volume["emptyDir"]["sizeLimit"], f"{name}: {volume}"
        speaks_to_kubernetes = name.endswith("dispatcher") and bool(find(documents, "ScaledObject"))
        assert pod["automountServiceAccountToken"] is speaks_to_kubernetes, name


def test_nothing_is_reached_and_reaches_but_what_a_policy_names(documents: list[Document]) -> None:
    policies = find(documents, "NetworkPolicy")
    if not policies:
        return
    [nothing] = [policy for policy in policies if not policy["spec"].keys() & {"ingress", "egress"}]
    assert nothing["spec"]["policyTypes"] == ["Ingress", "Egress"]
    chosen = nothing["spec"]["podSelector"]["matchLabels"].items()
    for document in documents:
        if document["kind"] in ("Deployment", "Job", "Pod"):
            pod = document["spec"]["template"] if document["kind"] != "Pod" else document
            assert chosen <= pod["metadata"]["labels"].items(), document["metadata"]["name"]


def parse(arguments: list[str]) -> None:
    """Let the command parse its arguments, as in the image; it raises where it does not know one."""
    command: Any = retint
    left = list(arguments)
    while isinstance(command, click.Group):
        name = left.pop(0)
        command = command.get_command(click.Context(command), name)
        assert command is not None, name
    command.make_context("retint", left)


def test_settings_and_commands_are_ones_that_this_version_has(documents: list[Document]) -> None:
    known = {f"RETINT_{name.upper()}" for name in Settings.model_fields}
    for name, pod in pods(documents).items():
        for container in (*pod["containers"], *pod.get("initContainers", ())):
            variables = [each["name"] for each in container.get("env", ())]
            assert len(set(variables)) == len(variables), name
            assert {each for each in variables if each.startswith("RETINT_")} <= known, name
            if "command" not in container:
                parse(container["args"])


def test_probes_ask_what_answers(documents: list[Document]) -> None:
    deployed = pods(find(documents, "Deployment"))
    assert len(deployed) == 4
    for name, pod in deployed.items():
        [container] = pod["containers"]
        if name.endswith("portal"):
            assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
            assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        else:
            command = container["livenessProbe"]["exec"]["command"]
            parse(command[1:])
            assert command[-1] == container["args"][container["args"].index("--heartbeat") + 1] == "/tmp/heartbeat"


def test_a_worker_has_the_time_that_it_takes_to_give_back_its_work(documents: list[Document]) -> None:
    workers = [pod for name, pod in pods(documents).items() if name.endswith("-worker")]
    assert len(workers) == 2
    for pod in workers:
        assert pod["terminationGracePeriodSeconds"] > END_S + BUNDLE_S + 30


def test_keda_scales_what_is_there_by_the_demand_and_nothing_else_does(chart: Path) -> None:
    documents = render(merge(BASE, {"keda": {"enabled": True}, "workers": {"gpu": {"most": 7}}}), chart)
    targets = {each["spec"]["scaleTargetRef"]["name"]: each["spec"] for each in find(documents, "ScaledObject")}
    deployments = {each["metadata"]["name"]: each["spec"] for each in find(documents, "Deployment")}
    assert targets.keys() == {"retint-cpu-worker", "retint-gpu-worker"}
    for name, scaled in targets.items():
        assert "replicas" not in deployments[name], "Helm and KEDA must not both set it"
        [trigger] = scaled["triggers"]
        assert trigger["metadata"]["url"].endswith(f".museum.svc:8000/api/v1/fleets/{name.split('-')[1]}/demand")
        assert trigger["metadata"]["valueLocation"] == "wanted"
    gpu = targets["retint-gpu-worker"]
    assert (gpu["minReplicaCount"], gpu["maxReplicaCount"]) == (0, 7)
    environment = {each["name"]: each.get("value") for each in pods(documents)["retint-portal"]["containers"][0]["env"]}
    assert environment["RETINT_MOST_GPU_WORKERS"] == "7"
    assert environment["RETINT_FLEET_DRIVER"] == "kubernetes"
    [role] = find(documents, "Role")
    assert role["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["patch"]}]


def test_a_gpu_worker_asks_for_its_device_and_does_not_fall_back_to_the_cpu(chart: Path) -> None:
    for case, device, limits in (
        ("plain", "cuda", {"nvidia.com/gpu": 1}),
        ("a slice of a gpu", "cuda", {"nvidia.com/mig-1g.18gb": 1}),
        ("no gpu", "cpu", {}),
    ):
        pod = pods(render(merge(BASE, MATRIX[case]), chart))["retint-gpu-worker"]
        [container] = pod["containers"]
        assert {each["name"]: each.get("value") for each in container["env"]}["RETINT_DEVICE"] == device
        assert {k: v for k, v in container["resources"]["limits"].items() if "/" in k} == limits


def test_what_is_scraped_has_the_job_that_the_rules_ask_for(chart: Path) -> None:
    [monitor] = find(render(merge(BASE, MATRIX["monitoring"]), chart), "ServiceMonitor")
    [endpoint] = monitor["spec"]["endpoints"]
    jobs = {each["replacement"] for each in endpoint["relabelings"] if each.get("targetLabel") == "job"}
    asked = set(re.findall(r'job="(\w+)"', (ROOT / "infra/helm/rules/retint.yml").read_text()))
    assert jobs == asked == {"retint"}


def test_secrets_that_not_everybody_has_may_be_missing(documents: list[Document]) -> None:
    for pod in pods(documents).values():
        for container in pod["containers"]:
            wanted = {
                each["name"]: each["valueFrom"]["secretKeyRef"].get("optional", False)
                for each in container.get("env", [])
                if "secretKeyRef" in each.get("valueFrom", {})
            }
            may_be_missing = {name for name, optional in wanted.items() if optional}
            assert not wanted or may_be_missing == {"RETINT_SMTP_URL", "RETINT_FORMER_SECRETS"}


def test_rules_and_dashboards_come_as_they_are(chart: Path) -> None:
    documents = render(merge(BASE, MATRIX["monitoring"]), chart)
    groups = [group for each in find(documents, "PrometheusRule") for group in each["spec"]["groups"]]
    rules = [rule for group in groups if group["name"] == "one" for rule in group["rules"]]
    assert [rule["annotations"]["summary"] for rule in rules] == ["{{ $labels.pod }} is away"]
    boards = {name: text for each in find(documents, "ConfigMap") for name, text in each["data"].items()}
    assert boards["one.json"] == '{"title": "{{ one }}"}'


@pytest.mark.parametrize("case", REFUSED)
def test_values_that_contradict_each_other_are_refused_with_a_sentence(case: str) -> None:
    values, words = REFUSED[case]
    answer = helm.run("template", merge(BASE, values))
    assert answer.returncode != 0
    assert words in answer.stderr
    assert "nil pointer" not in answer.stderr


@pytest.mark.parametrize("name", MATRIX)
def test_the_linter_finds_nothing(name: str) -> None:
    answer = helm.run("lint", merge(BASE, MATRIX[name]))
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert not re.search(r"WARNING|ERROR", answer.stdout), answer.stdout


def test_the_schema_describes_every_value_and_no_other() -> None:
    values = YAML(typ="safe", pure=True).load((helm.CHART / "values.yaml").read_text())
    schema = json.loads((helm.CHART / "values.schema.json").read_text())

    def compare(given: Any, described: Document, path: str) -> None:
        if described.get("additionalProperties") is not False or path == ".secret.values":
            return
        names = set(described["properties"]) - {"global"}
        assert set(given) == names, path
        for name in names:
            compare(given[name], described["properties"][name], f"{path}.{name}")

    compare(values, schema, "")

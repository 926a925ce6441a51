"""The Helm chart, rendered by Helm and judged by kubeconform against Kubernetes' own schemas, and by what it promises.

No registry that is reached offers schemas of the kinds in ``WITHOUT_SCHEMA`` (their operators publish them in images
and release archives only): kubeconform passes over those, and over no other. What the chart says in the two kinds of
Strimzi is compared with the project's own tables here.
"""

from __future__ import annotations

import json
import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from schemas.access import ACCESS, chart_yaml
from schemas.topics import TOPICS
from services.settings import _SECRETS, Settings
from services.supervisor.parts import WORKERS
from tests.deploy.tools import go_tool

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "stillwatch"
KUBERNETES = "1.37.0"
SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{KUBERNETES}-local-strict"
WITHOUT_SCHEMA = {"KafkaTopic", "KafkaUser", "ExternalSecret", "ScaledObject", "PodMonitor", "PrometheusRule"}
EVERYTHING = (
    "externalSecrets.enabled=true",
    "externalSecrets.store.name=vault",
    "monitoring.podMonitor=true",
    "monitoring.rules=true",
    "monitoring.dashboards=true",
    "monitoring.labels.release=prometheus",
    "api.ingress.enabled=true",
    "api.ingress.className=nginx",
    "api.ingress.host=watch.example",
    "api.ingress.tlsSecret=watch-tls",
    "api.publicUrl=https://watch.example",
    "detectionConfig=ours",
    "references=ours",
    "settings.STILLWATCH_LOG_LEVEL=debug",
)
SHAPES: dict[str, tuple[str, ...]] = {
    "as it comes": (),
    "everything on": EVERYTHING,
    "keda": ("autoscaling.kind=keda",),
    "without strimzi": ("kafka.strimzi.topics=false", "kafka.strimzi.users=false", "kafka.securityProtocol=SSL"),
    "fixed sizes": ("autoscaling.kind=none", "networkPolicy.enabled=false", "image.digest=sha256:" + "0" * 64),
}
# The first run of a machine builds Helm.
pytestmark = pytest.mark.timeout(1200)
every_shape = pytest.mark.parametrize("shape", SHAPES)


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [go_tool("helm"), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def template(*values: str) -> subprocess.CompletedProcess[str]:
    settings = [part for value in values for part in ("--set-string" if "digest" in value else "--set", value)]
    return helm("template", "watch", str(CHART), "--namespace", "stillwatch", "--kube-version", KUBERNETES, *settings)


@cache
def rendered(shape: str) -> str:
    done = template(*SHAPES[shape])
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def parsed(shape: str) -> tuple[dict[str, Any], ...]:
    return tuple(one for one in yaml.load_all(rendered(shape), yaml.CSafeLoader) if one)


def resources(shape: str, *kinds: str) -> list[dict[str, Any]]:
    return [one for one in parsed(shape) if not kinds or one["kind"] in kinds]


def pods(shape: str) -> dict[str, dict[str, Any]]:
    """Give the pods' specs by component, of workloads and tasks."""
    found = resources(shape, "Deployment", "StatefulSet", "Job")
    return {
        one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["template"]["spec"]
        for one in found
    }


def environment(pod: dict[str, Any]) -> dict[str, Any]:
    (container,) = pod["containers"]
    return {one["name"]: one.get("value", one.get("valueFrom")) for one in container["env"]}


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Give kubeconform the schemas that a Python package ships: their references lead to files, not to a host."""
    folder = tmp_path_factory.mktemp("schemas")
    kinds = {one["kind"].lower() for shape in SHAPES for one in resources(shape)}
    for path in SCHEMAS.glob("*.json"):
        if path.stem == "_definitions" or path.stem.partition("-")[0] in kinds:
            text = path.read_text(encoding="utf-8").replace('"/api/_definitions.json', '"_definitions.json')
            document = json.loads(text)
            document.pop("$id", None)
            (folder / path.name).write_text(json.dumps(document), encoding="utf-8")
    return f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"


def kubeconform(location: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    options = ("-strict", "-kubernetes-version", KUBERNETES, "-schema-location", location)
    return subprocess.run(
        [go_tool("kubeconform"), *options, "-skip", ",".join(WITHOUT_SCHEMA), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_helm_finds_nothing_to_complain_of() -> None:
    linted = helm("lint", "--strict", str(CHART), *(part for value in EVERYTHING for part in ("--set", value)))
    assert linted.returncode == 0, linted.stdout + linted.stderr


@every_shape
def test_kubernetes_takes_what_is_rendered(shape: str, location: str, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(rendered(shape), encoding="utf-8")
    judged = kubeconform(location, "-output", "json", "-summary", str(tmp_path))
    assert judged.returncode == 0, judged.stdout
    summary = json.loads(judged.stdout)["summary"]
    assert summary["skipped"] == len(resources(shape, *WITHOUT_SCHEMA))
    assert summary["valid"] == len(resources(shape)) - summary["skipped"] > 20


def test_kubeconform_refuses_what_is_wrong(location: str, tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.yaml"
    manifest.write_text(rendered("as it comes").replace("maxUnavailable: 1", "maxUnavailabel: 1"), encoding="utf-8")
    judged = kubeconform(location, str(tmp_path))
    assert judged.returncode != 0
    assert "maxUnavailabel" in judged.stdout


def test_topics_and_users_are_those_of_the_tables() -> None:
    assert (CHART / "files" / "kafka.yaml").read_text(encoding="utf-8") == chart_yaml(), "make contracts"
    topics = {one["spec"]["topicName"]: one["spec"] for one in resources("as it comes", "KafkaTopic")}
    assert set(topics) == {topic.name for topic in TOPICS}
    for topic in TOPICS:
        spec = topics[topic.name]
        assert spec["partitions"] == (64 if topic.width == "wide" else 1)
        assert spec["replicas"] == 3
        assert spec["config"] == {**topic.config(), "min.insync.replicas": "2"}
    users = {one["metadata"]["name"]: one["spec"] for one in resources("as it comes", "KafkaUser")}
    assert set(users) == {f"watch-stillwatch-{access.process}" for access in ACCESS}
    for access in ACCESS:
        spec = users[f"watch-stillwatch-{access.process}"]
        assert spec["authentication"] == {"type": "scram-sha-512"}
        assert spec["authorization"]["type"] == "simple"
        assert spec["authorization"]["acls"] == json.loads(json.dumps(access.acls()).replace("{tenant}", "default"))


@every_shape
def test_no_container_may_do_more_than_it_needs(shape: str) -> None:
    for name, pod in pods(shape).items():
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["runAsUser"] == 10001, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]
            assert {mount["name"] for mount in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


@every_shape
def test_no_secret_is_in_an_environment_and_each_setting_is_one(shape: str) -> None:
    for pod in pods(shape).values():
        for name, value in environment(pod).items():
            setting = name.removeprefix("STILLWATCH_").lower()
            if setting.endswith("_file"):
                assert setting.removesuffix("_file") in _SECRETS
                assert str(value).startswith("/run/secrets/stillwatch/")
            else:
                assert setting in Settings.model_fields
                assert setting not in _SECRETS
    assert not re.search(r"kind: Secret\b", rendered(shape)), "secrets are brought, never made"


def test_each_process_of_the_product_has_a_workload_with_its_command() -> None:
    names = {"alert-sink": "sink"}
    wanted = {names.get(name, name): ("python", *command) for name, command, _ in WORKERS}
    found = pods("as it comes")
    assert {name: tuple(found[name]["containers"][0]["command"]) for name in set(found) - {"migrate"}} == wanted


def test_members_of_groups_keep_their_names_over_a_restart() -> None:
    for one in resources("as it comes", "StatefulSet", "Deployment"):
        component = one["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
        given = environment(one["spec"]["template"]["spec"])
        assert (one["kind"] == "StatefulSet") == ("STILLWATCH_WORKER_INDEX" in given)
        assert (one["kind"] == "Deployment") == (component in {"relay", "api"})
        if one["kind"] == "StatefulSet":
            assert given["STILLWATCH_STATIC_MEMBERSHIP"] == "true"
            place = given["STILLWATCH_WORKER_INDEX"]["fieldRef"]["fieldPath"]
            assert place == "metadata.labels['apps.kubernetes.io/pod-index']"


def test_only_who_needs_a_secret_has_it() -> None:
    held: dict[str, set[str]] = {}
    for name, pod in pods("as it comes").items():
        for setting in environment(pod):
            if setting.endswith("_FILE"):
                held.setdefault(setting.removeprefix("STILLWATCH_").removesuffix("_FILE"), set()).add(name)
    assert held["HMAC_KEY"] == {"normalise"}, "the gateways' side alone"
    assert held["DECISION_SIGNING_KEY"] == {"decisions"}
    assert held["WEBHOOK_KEY"] == {"subscribers"}
    assert held["DATABASE_URL"] == {"migrate", "decisions", "subscribers", "sink", "relay", "api"}
    (policy,) = [
        one for one in resources("as it comes", "NetworkPolicy") if one["metadata"]["name"].endswith("-database")
    ]
    assert set(policy["spec"]["podSelector"]["matchExpressions"][0]["values"]) == held["DATABASE_URL"]


@pytest.mark.parametrize(("shape", "kind"), [("as it comes", "HorizontalPodAutoscaler"), ("keda", "ScaledObject")])
def test_workers_grow_with_their_lag(shape: str, kind: str) -> None:
    scaled = {one["spec"]["scaleTargetRef"]["name"]: one for one in resources(shape, kind)}
    assert set(scaled) == {f"watch-stillwatch-{name}" for name in ("normalise", "accounts", "pools")}
    workloads = {one["metadata"]["name"]: one for one in resources(shape, "StatefulSet")}
    for name, one in scaled.items():
        assert one["spec"]["scaleTargetRef"]["kind"] == workloads[name]["kind"]
        assert "replicas" not in workloads[name]["spec"], "two would set it"
        assert "stillwatch_consumer_lag" in json.dumps(one["spec"])


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("processes.accounts.autoscale.max=65", "more workers than partitions"),
        ("processes.pools.replicas=65", "more replicas than partitions"),
        ("externalSecrets.enabled=true", "names the store"),
        ("api.ingress.enabled=true", "names the console"),
    ],
)
def test_what_cannot_work_is_refused_in_words(value: str, complaint: str) -> None:
    refused = template(value)
    assert refused.returncode != 0
    assert complaint in refused.stderr

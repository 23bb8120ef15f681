"""Kubernetes manifests as kustomize renders them: of their schemas, closed, and consistent."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.helpers.deploy.kustomize import FILE, Manifest, containers, pods, rendered
from tests.helpers.deploy.tools import ROOT, module

KUBERNETES = ROOT / "deploy/kubernetes"
FOLDERS = [
    pytest.param(path.parent, id=str(path.parent.relative_to(KUBERNETES)))
    for path in sorted(KUBERNETES.rglob(FILE))
]
SERVERS = [each for each in FOLDERS if not str(each.id).startswith(("load", "matrix"))]
ROLE = "app.kubernetes.io/name"
IMAGES = {"ssept-fastapi", "ssept-triton", "ssept-triton-cpu", "ssept-jupyter-onnx-cpu"}
CLOSED = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def of_kind(manifests: list[Manifest], kind: str) -> dict[str, Any]:
    """The only manifest of a kind."""
    (found,) = (each for each in manifests if each["kind"] == kind)
    return found


def test_there_is_something_to_check() -> None:
    assert len(FOLDERS) == 12


@pytest.mark.parametrize("folder", FOLDERS)
def test_they_are_rendered_as_by_kustomize(folder: Path) -> None:
    """Where it is installed, as a part of kubectl too."""
    command = ["kustomize", "build"] if shutil.which("kustomize") else ["kubectl", "kustomize"]
    if not shutil.which(command[0]):
        pytest.skip("neither kustomize nor kubectl is installed")
    done = subprocess.run([*command, folder], capture_output=True, text=True, check=True)
    expected, own = [*yaml.safe_load_all(done.stdout)], rendered(folder)
    assert len(expected) == len(own)
    for kind in {each["kind"] for each in own}:
        assert of_kind(own, kind) == of_kind(expected, kind)


@pytest.mark.parametrize("folder", FOLDERS)
def test_they_are_of_their_schemas(folder: Path) -> None:
    validate = module("kubernetes_validate")
    for manifest in rendered(folder):
        validate.validate(manifest, validate.latest_version(), strict=True)


def test_a_schema_refuses_what_is_wrong() -> None:
    validate = module("kubernetes_validate")
    (deployment,) = [m for m in rendered(KUBERNETES / "fastapi/base") if m["kind"] == "Deployment"]
    deployment["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(validate.ValidationError):
        validate.validate(deployment, validate.latest_version(), strict=True)


@pytest.mark.parametrize("folder", FOLDERS)
def test_containers_are_closed(folder: Path) -> None:
    for pod in pods(rendered(folder)):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in containers(pod):
            context = container["securityContext"]
            assert context.items() >= CLOSED.items()
            assert context.get("runAsUser", 1) > 0
            for kind in ("requests", "limits"):
                assert container["resources"][kind].keys() >= {"cpu", "memory"}
            requests, limits = (container["resources"][k]["memory"] for k in ("requests", "limits"))
            assert requests == limits  # a pod that takes more than it asked for is the first to go


@pytest.mark.parametrize("folder", FOLDERS)
def test_images_have_a_tag_and_are_ours(folder: Path) -> None:
    for pod in pods(rendered(folder)):
        for container in containers(pod):
            name, _, tag = container["image"].rpartition(":")
            assert tag != "latest"
            assert name.rpartition("/")[2] in IMAGES


@pytest.mark.parametrize("folder", FOLDERS)
def test_volumes_that_are_mounted_are_there(folder: Path) -> None:
    for pod in pods(rendered(folder)):
        there = {volume["name"] for volume in pod["spec"]["volumes"]}
        for container in containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} <= there
            names = [each["name"] for each in container.get("env", [])]
            assert len(names) == len(set(names))


@pytest.mark.parametrize("folder", SERVERS)
def test_all_that_selects_pods_selects_these(folder: Path) -> None:
    manifests = rendered(folder)
    deployment = of_kind(manifests, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for selector in (
        deployment["spec"]["selector"]["matchLabels"],
        of_kind(manifests, "Service")["spec"]["selector"],
        of_kind(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        of_kind(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels.items()
        assert ROLE in selector
    target = of_kind(manifests, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", deployment["metadata"]["name"])
    assert "replicas" not in deployment["spec"]


@pytest.mark.parametrize("folder", SERVERS)
def test_ports_are_named_where_they_are_used(folder: Path) -> None:
    manifests = rendered(folder)
    pod = of_kind(manifests, "Deployment")["spec"]["template"]
    server = pod["spec"]["containers"][0]
    named = {port["name"]: port["containerPort"] for port in server["ports"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["port"] in named
    for port in of_kind(manifests, "Service")["spec"]["ports"]:
        assert named[port["targetPort"]] == port["port"]
    opened = of_kind(manifests, "NetworkPolicy")["spec"]["ingress"][0]["ports"]
    assert {port["port"] for port in opened} == set(named)
    scraped = int(pod["metadata"]["annotations"]["prometheus.io/port"])
    assert scraped in named.values()


@pytest.mark.parametrize("folder", SERVERS)
def test_a_pod_has_time_to_end(folder: Path) -> None:
    spec = of_kind(rendered(folder), "Deployment")["spec"]["template"]["spec"]
    server = spec["containers"][0]
    asleep = server["lifecycle"]["preStop"]["sleep"]["seconds"]
    own = [a for a in server.get("args") or [] if a.startswith("--exit-timeout-secs=")]
    ending = int(own[0].partition("=")[2]) if own else 5
    assert asleep + ending < spec["terminationGracePeriodSeconds"]


def test_the_autoscalers_metrics_are_those_of_the_adapter() -> None:
    text = (KUBERNETES / "prometheus-adapter.yaml").read_text(encoding="utf-8")
    rules = yaml.safe_load(text)["rules"]["custom"]
    series = {rule["seriesQuery"].partition("{")[0] for rule in rules}
    asked = {
        metric["pods"]["metric"]["name"]
        for folder in ("fastapi/base", "triton/base")
        for metric in of_kind(rendered(KUBERNETES / folder), "HorizontalPodAutoscaler")["spec"][
            "metrics"
        ]
    }
    assert asked == series


def test_overlays_change_what_they_name() -> None:
    production, staging = (
        rendered(KUBERNETES / f"fastapi/overlays/{name}") for name in ("production", "staging")
    )
    server = of_kind(production, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert server["image"] == "registry.example/ssept-fastapi:0.1.0"
    variables = {each["name"]: each.get("value") for each in server["env"]}
    assert variables["SSEPT_VARIANT"] == "fused_int8_topk"
    assert variables["SSEPT_CHECKPOINT"] == "/models"  # of the base
    assert of_kind(staging, "HorizontalPodAutoscaler")["spec"]["maxReplicas"] == 2
    assert {each["metadata"]["namespace"] for each in (*production, *staging)} == {"ssept"}

    cpu, gpu = (rendered(KUBERNETES / f"triton/overlays/{name}") for name in ("cpu", "gpu"))
    server = of_kind(cpu, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert server["image"] == "ssept-triton-cpu:0.1.0"
    assert "args" not in server  # the image has its own command
    pod = of_kind(gpu, "Deployment")["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    written = {each["name"]: each["value"] for each in pod["initContainers"][0]["env"]}
    assert (written["INSTANCES"], written["GPUS"]) == ("2", "0,1")


@pytest.mark.parametrize(("name", "providers"), [("amd", "cpu"), ("intel", "cpu,openvino")])
def test_a_class_of_hardware_has_a_matrix_of_its_own_on_nodes_of_its_own(
    name: str, providers: str
) -> None:
    job = of_kind(rendered(KUBERNETES / f"matrix/{name}"), "Job")
    assert job["metadata"]["name"] == f"ssept-matrix-{name}"
    spec = job["spec"]["template"]["spec"]
    (matrix,) = spec["containers"]
    variables = {each["name"]: each["value"] for each in matrix["env"]}
    assert variables["CLASS"] == spec["nodeSelector"]["node.kubernetes.io/instance-type"]
    assert variables["PROVIDERS"] == providers
    # The job's controller adds the index to the variables.
    asked = {word for arg in matrix["args"] for word in re.findall(r"\$\((\w+)\)", arg)}
    assert asked <= variables.keys() | {"JOB_COMPLETION_INDEX"}
    (claim,) = yaml.safe_load_all((KUBERNETES / "matrix/results.yaml").read_text("utf-8"))
    volumes = [each.get("persistentVolumeClaim") for each in spec["volumes"]]
    assert {"claimName": claim["metadata"]["name"]} in volumes


@pytest.mark.parametrize("server", ["fastapi", "triton"])
def test_the_load_goes_to_a_service_that_is_there(server: str) -> None:
    job = of_kind(rendered(KUBERNETES / f"load/{server}"), "Job")
    service = of_kind(rendered(KUBERNETES / f"{server}/base"), "Service")
    (variable,) = job["spec"]["template"]["spec"]["containers"][0]["env"]
    port = service["spec"]["ports"][0]["port"]
    assert variable["value"] == f"{service['metadata']['name']}:{port}"
    assert job["metadata"]["name"] == f"ssept-load-{server}"

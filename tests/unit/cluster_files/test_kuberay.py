"""The Kubernetes manifests, against an excerpt of KubeRay's types."""

import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "cluster" / "kuberay"
SCHEMA = yaml.safe_load((Path(__file__).parent / "kuberay.schema.yaml").read_text())
PINNED_RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M).group(1)
VERSION = re.search(r'__version__ = "(.+)"', (ROOT / "automl" / "__init__.py").read_text()).group(1)
CLUSTERS = {
    "raycluster": lambda spec: spec,
    "rayjob": lambda spec: spec["rayClusterSpec"],
    "rayservice": lambda spec: spec["rayClusterConfig"],
}


def load(name: str) -> dict:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


def cluster(name: str) -> dict:
    return CLUSTERS[name](load(name)["spec"])


def groups(name: str) -> dict:
    return {group["groupName"]: group for group in cluster(name)["workerGroupSpecs"]}


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_manifest_is_what_the_operator_reads(name):
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    jsonschema.validate(load(name), SCHEMA)


def test_the_schema_tells_a_misspelt_key():
    manifest = load("raycluster")
    group = manifest["spec"]["workerGroupSpecs"][0]
    group["maxReplica"] = group.pop("maxReplicas")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(manifest, SCHEMA)


@pytest.mark.parametrize("name", CLUSTERS)
def test_every_pod_has_the_same_pinned_image_and_the_clusters_ray(name):
    spec = cluster(name)
    assert spec["rayVersion"] == PINNED_RAY
    assert spec["authOptions"] == {"mode": "token"}
    templates = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    images = {
        container["image"]
        for group in templates
        for container in group["template"]["spec"]["containers"]
    }
    assert images == {f"FILL_IN_REGISTRY/automl:{VERSION}"}


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_only_gpu_pods_train_and_none_of_them_stays(name):
    assert cluster(name)["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert cluster(name)["enableInTreeAutoscaling"] is True
    training = [g for g in groups(name).values() if g["rayStartParams"]["num-cpus"] != "0"]
    assert [group["groupName"] for group in training] == ["gpu-spot", "gpu-on-demand"]
    for group in training:
        assert group["minReplicas"] == group["replicas"] == 0
        pod = group["template"]["spec"]
        assert pod["nodeSelector"]
        assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert training[0]["priority"] > training[1]["priority"]


@pytest.mark.parametrize("name", ["raycluster", "rayjob"])
def test_the_probe_pod_times_and_does_nothing_else(name):
    probe = groups(name)["latency-probe"]
    params = probe["rayStartParams"]
    assert params["num-cpus"] == "0"
    # The operator puts the text into a shell command, so it is JSON within a JSON string.
    assert json.loads(json.loads(params["resources"])) == {"latency_probe": 1}
    resources = probe["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]


def test_job_and_cluster_are_the_same_cluster():
    assert cluster("rayjob") == cluster("raycluster")
    assert load("rayjob")["spec"]["shutdownAfterJobFinishes"] is True


def test_budgets_select_pods_that_there_are():
    budgets = list(yaml.safe_load_all((FOLDER / "disruption.yaml").read_text()))
    assert {budget["kind"] for budget in budgets} == {"PodDisruptionBudget"}
    head, probe = (budget["spec"]["selector"]["matchLabels"] for budget in budgets)
    assert head.pop("ray.io/node-type") == "head"
    assert probe.pop("ray.io/group") in groups("raycluster")
    labels = cluster("raycluster")["headGroupSpec"]["template"]["metadata"]["labels"]
    assert head == probe == labels


def test_the_volume_is_the_one_that_pods_mount_and_may_be_shared():
    claim = load("storage")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    volumes = cluster("raycluster")["headGroupSpec"]["template"]["spec"]["volumes"]
    assert volumes[0]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


@pytest.mark.parametrize("file", sorted(path.name for path in FOLDER.glob("*.yaml")))
def test_the_header_says_what_to_fill_in_and_what_it_costs(file):
    header = (FOLDER / file).read_text().partition("\napiVersion")[0]
    assert "# Fill in:" in header
    assert "Costs:" in header

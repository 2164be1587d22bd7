import pytest
import yaml

from automl.errors import UsageError
from automl.planning.cluster_file import read_cluster_file


@pytest.fixture
def changed(cluster_folder, tmp_path):
    """The AWS file with one change."""

    def write(change):
        plain = yaml.safe_load((cluster_folder / "aws.yaml").read_text())
        change(plain)
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(plain))
        return path

    return write


@pytest.mark.parametrize(
    ("name", "head", "gpu", "timer"),
    [
        ("aws", "m7i.large", "g6.2xlarge", "c7i.large"),
        ("gcp", "e2-standard-2", "g2-standard-8", "c3-standard-4"),
        ("azure", "Standard_D2s_v5", "Standard_NC8as_T4_v3", "Standard_F4s_v2"),
    ],
)
def test_our_own_files_are_understood(cluster_folder, name, head, gpu, timer):
    cluster = read_cluster_file(cluster_folder / f"{name}.yaml")
    assert cluster.provider == name
    assert cluster.region is None, "it is to be filled in"
    assert [node.instance for node in cluster.standing] == [head, timer]
    training = cluster.training(None)
    assert [(node.instance, node.market) for node in training] == [
        (gpu, "spot"),
        (gpu, "on_demand"),
    ]
    assert all(node.on_gpu for node in training)
    assert cluster.idle_timeout_s == 300


def other_machine(plain):
    plain["available_node_types"]["gpu_on_demand"]["node_config"]["InstanceType"] = "g5.2xlarge"


def test_of_several_kinds_one_has_to_be_named(changed):
    cluster = read_cluster_file(changed(other_machine))
    with pytest.raises(UsageError, match=r"several kinds.*--node-type \(gpu_spot, gpu_on_demand\)"):
        cluster.training(None)
    assert [n.instance for n in cluster.training("gpu_on_demand")] == ["g5.2xlarge"]
    with pytest.raises(UsageError, match=r"--node-type: given 'gpu_sport'.*did you mean gpu_spot"):
        cluster.training("gpu_sport")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: p["provider"].update(type="local"), "provider.type: given 'local'"),
        (lambda p: p.pop("available_node_types"), "available_node_types: missing"),
        (lambda p: p.update(head_node_type="hd"), "head_node_type: given 'hd'; allowed: one of"),
        (
            lambda p: p["available_node_types"]["gpu_spot"]["node_config"].pop("InstanceType"),
            "gpu_spot.node_config.InstanceType: missing",
        ),
        (
            lambda p: p["available_node_types"]["gpu_spot"].update(max_workers="many"),
            "gpu_spot: max_workers: given 'many'",
        ),
        (lambda p: p.update(idle_timeout_minutes=-1), "idle_timeout_minutes: given -1"),
    ],
)
def test_what_a_file_lacks_is_told_with_its_place(changed, change, told):
    with pytest.raises(UsageError, match=told):
        read_cluster_file(changed(change)).training(None)


def test_a_cluster_without_workers_that_train_is_refused(changed):
    def change(plain):
        for name in ("gpu_spot", "gpu_on_demand"):
            del plain["available_node_types"][name]

    with pytest.raises(UsageError, match="no worker has CPUs or GPUs"):
        read_cluster_file(changed(change)).training(None)


@pytest.mark.parametrize(("text", "told"), [("[1", "not valid YAML"), ("[]", "it is no mapping")])
def test_what_is_no_cluster_file_is_refused(tmp_path, text, told):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=told):
        read_cluster_file(file)
    with pytest.raises(UsageError, match="cannot be read"):
        read_cluster_file(tmp_path / "nowhere.yaml")

"""The files for `ray up`, against Ray's own schema and what this project needs of them."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
CLOUDS = ["aws", "gcp", "azure"]
PINNED_RAY = re.search(r"^ray==(.+)$", (ROOT / "constraints.txt").read_text(), re.M).group(1)


def text(cloud: str) -> str:
    return (ROOT / "cluster" / f"{cloud}.yaml").read_text()


def load(cloud: str) -> dict:
    return yaml.safe_load(text(cloud))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_accepts_the_file(cloud):
    from ray.autoscaler._private.util import prepare_config, validate_config

    validate_config(prepare_config(load(cloud)))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_ray_would_tell_a_misspelt_key(cloud):
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = load(cloud)
    config["idle_timeout_minute"] = config.pop("idle_timeout_minutes")
    with pytest.raises(Exception, match="idle_timeout_minute"):
        validate_config(prepare_config(config))


@pytest.mark.parametrize("cloud", CLOUDS)
def test_only_the_gpu_workers_train_and_none_of_them_stays(cloud):
    config = load(cloud)
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert "--num-cpus=0" in " ".join(config["head_start_ray_commands"])
    training = {name: kind for name, kind in types.items() if kind["resources"]["CPU"] > 0}
    assert set(training) == {"gpu_spot", "gpu_on_demand"}
    assert all(kind["min_workers"] == 0 for kind in training.values())
    assert training["gpu_spot"]["priority"] > training["gpu_on_demand"]["priority"]
    assert training["gpu_spot"]["resources"] == training["gpu_on_demand"]["resources"]
    assert config["idle_timeout_minutes"] <= 10
    assert not config["provider"]["cache_stopped_nodes"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_probe_is_one_that_a_search_takes(cloud):
    from automl.distributed.probe import find_probe

    probe = load(cloud)["available_node_types"]["latency_probe"]
    assert probe["min_workers"] == probe["max_workers"] == 1
    node = {
        "Alive": True,
        "NodeID": "a",
        "NodeManagerAddress": "10.0.0.1",
        "Resources": probe["resources"],
    }
    assert find_probe([node]).amount == 1


@pytest.mark.parametrize("cloud", CLOUDS)
def test_nothing_is_open_to_the_world_and_every_node_asks_for_the_token(cloud):
    config = load(cloud)
    assert config["provider"]["use_internal_ips"] is True
    assert "0.0.0.0" not in text(cloud)
    starts = [
        command
        for role in ("head", "worker")
        for command in config[f"{role}_start_ray_commands"]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert config["file_mounts"]["/home/ray/.ray/auth_token"] == "~/.ray/auth_token"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_image_and_project_have_the_ray_that_is_tested(cloud):
    config = load(cloud)
    assert config["docker"]["image"] == f"rayproject/ray:{PINNED_RAY}-py311-gpu"
    assert "--constraint ~/automl/constraints.txt ~/automl" in config["setup_commands"][-1]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_the_header_says_what_to_fill_in_and_what_it_costs(cloud):
    header = text(cloud).partition("\ncluster_name")[0]
    for word in ("Fill in:", "Costs:", "Least privilege", "Ports:", "Token:"):
        assert f"# {word}" in header
    assert text(cloud).count("FILL_IN") > 8

"""Prometheus, its alerts and Grafana: files that their programs read, about metrics that exist."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[3]
FOLDER = ROOT / "cluster" / "monitoring"
DASHBOARD = FOLDER / "grafana" / "automl.json"


def promtool(*words: str) -> str:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    done = subprocess.run(
        [program, *words], cwd=FOLDER, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("file", ["prometheus.yaml", "prometheus-compose.yaml"])
def test_prometheus_reads_its_configuration_and_the_rules(file):
    assert "5 rules found" in promtool("check", "config", file)


def test_each_alert_fires_when_it_should():
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml")


def test_every_alert_has_a_test():
    alerts = {rule["alert"] for rule in rules()}
    tests = yaml.safe_load((FOLDER / "alerts_test.yaml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests
        for case in test["alert_rule_test"]
        if case.get("exp_alerts")
    }
    # `up` is Prometheus' own, and needs no test of ours.
    assert alerts - fired == {"AutomlNodeUnreachable"}


def rules() -> list[dict]:
    groups = yaml.safe_load((FOLDER / "alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def expressions() -> list[str]:
    """Every query of the dashboard and of the alerts."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    shown = [target["expr"] for panel in panels for target in panel["targets"]]
    return shown + [rule["expr"] for rule in rules()]


def metrics_named() -> set[str]:
    return {name for text in expressions() for name in re.findall(r"\bray_\w+", text)}


def test_every_metric_of_ours_that_is_named_is_declared_and_every_declared_one_is_shown():
    from automl.distributed.study_metrics import COUNTERS, GAUGES

    declared = {f"ray_{name}" for name in GAUGES} | {f"ray_{name}_total" for name in COUNTERS}
    named = {name for name in metrics_named() if name.startswith("ray_automl_")}
    assert named == declared


def test_every_metric_of_rays_that_is_named_is_in_rays_own_dashboard():
    import ray

    panels = Path(ray.__file__).parent / "dashboard/modules/metrics/dashboards"
    own = (panels / "default_dashboard_panels.py").read_text()
    rays = {name for name in metrics_named() if not name.startswith("ray_automl_")}
    assert rays
    assert {name for name in rays if name not in own} == set()


def test_the_dashboard_is_whole():
    dashboard = json.loads(DASHBOARD.read_text())
    assert {variable["name"] for variable in dashboard["templating"]["list"]} == {"study", "price"}
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    cells = [
        (panel["gridPos"]["x"] + dx, panel["gridPos"]["y"] + dy)
        for panel in panels
        for dx in range(panel["gridPos"]["w"])
        for dy in range(panel["gridPos"]["h"])
    ]
    assert len(cells) == len(set(cells)), "panels overlap"
    assert max(x for x, _ in cells) < 24
    source = yaml.safe_load(
        (FOLDER / "grafana/provisioning/datasources/prometheus.yaml").read_text()
    )["datasources"][0]
    assert {panel["datasource"]["uid"] for panel in panels} == {source["uid"]}

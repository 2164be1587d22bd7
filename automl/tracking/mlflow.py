"""MLflow: an experiment for each study, a run for each trial, and its best bundle as a model.

The server is the one of $MLFLOW_TRACKING_URI, or else a SQLite file in the study's folder. A study
that goes on finds its runs again by their tags, and tells no epoch twice.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from automl.records import TrialConfig, TrialMessage, TrialStatus, short_hash

_TRIAL = "automl.trial_id"
_LAST_EPOCH = "automl.last_epoch"
_STATUS = "automl.status"
#: Of a registered version: the checksums of its bundle, by which it is known again.
_CHECKSUMS = "automl.checksums"
_ENDS = {TrialStatus.FAILED: "FAILED", TrialStatus.STOPPED: "KILLED"}


class MlflowTracker:
    """Follows the study called `name`; without a server of the user's, writes into `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        for module in ("mlflow", "alembic"):
            logging.getLogger(module).setLevel(logging.ERROR)
        here = None
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if uri is None:
            folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{folder}/mlflow.db"
            here = (folder / "artifacts").as_uri()
        registry = os.environ.get("MLFLOW_REGISTRY_URI", uri)
        self._client = MlflowClient(tracking_uri=uri, registry_uri=registry)
        self._name = name
        known = self._client.get_experiment_by_name(name)
        self._experiment = (
            self._client.create_experiment(name, artifact_location=here)
            if known is None
            else known.experiment_id
        )
        self._runs: dict[str, str] = {}
        self._told: dict[str, int] = {}
        self._waiting: set[str] = set()

    def on_message(self, config: TrialConfig, message: TrialMessage) -> None:
        """Log one message, unless it was logged already."""
        run_id = self._run_of(config)
        self._waiting.add(run_id)
        for measurement in message.measurements:
            self._client.log_metric(run_id, measurement.metric, measurement.value, step=0)
        if message.kind == "epoch" and message.epoch > self._told[run_id]:
            for name, value in message.metrics.items():
                self._client.log_metric(run_id, name, value, step=message.epoch)
            self._told[run_id] = message.epoch
            self._client.set_tag(run_id, _LAST_EPOCH, str(message.epoch))
        if message.status is not None:
            self._client.set_tag(run_id, _STATUS, str(message.status))
            if message.reason:
                self._client.set_tag(run_id, "automl.reason", message.reason)
            self._client.set_terminated(run_id, _ENDS.get(message.status, "FINISHED"))
            self._waiting.discard(run_id)

    def finish(self, study: Path) -> None:
        """Log report and picture, and register the best bundle, unless this one is registered."""
        for waiting in self._waiting:
            # At a rung that let others go on.
            self._client.set_tag(waiting, _STATUS, str(TrialStatus.STOPPED))
            self._client.set_terminated(waiting, _ENDS[TrialStatus.STOPPED])
        run_id = self._open("study", {_TRIAL: "study"})
        for name in ("report.md", "front.png", "experiment.json", "environment.json"):
            if (study / name).exists():
                self._client.log_artifact(run_id, str(study / name))
        best = study / "bundles" / "best"
        if best.exists():
            self._register(run_id, best)
        self._client.set_terminated(run_id)

    def close(self) -> None:
        """Nothing is held: each message is logged at once."""

    def _register(self, run_id: str, bundle: Path) -> None:
        model = f"automl-{self._name}"
        checksums = (bundle / "checksums.json").read_text(encoding="utf-8")
        key = short_hash(checksums)
        try:
            self._client.create_registered_model(model)
        except MlflowException as fault:
            if fault.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        versions = self._client.search_model_versions(f"name = '{model}'")
        if any(version.tags.get(_CHECKSUMS) == key for version in versions):
            return
        place = f"bundle-{key}"
        self._client.log_artifacts(run_id, str(bundle), place)
        self._client.create_model_version(
            model, source=f"runs:/{run_id}/{place}", run_id=run_id, tags={_CHECKSUMS: key}
        )

    def _run_of(self, config: TrialConfig) -> str:
        if config.trial_id in self._runs:
            return self._runs[config.trial_id]
        run_id = self._open(f"trial {config.number}", {_TRIAL: config.trial_id})
        run = self._client.get_run(run_id)
        self._runs[config.trial_id] = run_id
        self._told[run_id] = int(run.data.tags.get(_LAST_EPOCH, "0"))
        if not run.data.params:
            for name, value in config.params.items():
                self._client.log_param(run_id, name, value)
            self._client.log_param(run_id, "seed", config.seed)
        return run_id

    def _open(self, run_name: str, tags: dict[str, str]) -> str:
        """The run with these tags; a new one where there is none."""
        condition = " and ".join(f"tags.`{name}` = '{value}'" for name, value in tags.items())
        found = self._client.search_runs([self._experiment], condition, max_results=1)
        run = found[0] if found else None
        if run is None:
            run = self._client.create_run(self._experiment, tags=tags, run_name=run_name)
        return str(run.info.run_id)

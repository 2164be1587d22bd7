"""Event files for TensorBoard: a run for each trial, with its curves, parameters and costs.

The folder is made anew at each start from the study's journal, so nothing is there twice.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tensorboardX import SummaryWriter

from automl.records import TrialConfig, TrialMessage


class TensorBoardTracker:
    """Writes below `folder`; one open writer a trial that runs."""

    def __init__(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._folder = folder
        self._writers: dict[str, SummaryWriter] = {}

    def on_message(self, config: TrialConfig, message: TrialMessage) -> None:
        """Write one message."""
        writer = self._writer(config)
        for measurement in message.measurements:
            writer.add_scalar(f"cost/{measurement.metric}", measurement.value, 0)
        for name, value in message.metrics.items():
            writer.add_scalar(f"epoch/{name}", value, message.epoch)
        if message.status is not None:
            reason = f": {message.reason}" if message.reason else ""
            writer.add_text("end", f"{message.status}{reason}", message.epoch)
            self._writers.pop(config.trial_id).close()
            return
        writer.flush()

    def finish(self, study: Path) -> None:
        """Show the report."""
        with SummaryWriter(str(self._folder / "study")) as writer:
            report = study / "report.md"
            if report.exists():
                writer.add_text("report", report.read_text(encoding="utf-8"))

    def close(self) -> None:
        """Close what is open."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()

    def _writer(self, config: TrialConfig) -> SummaryWriter:
        if config.trial_id not in self._writers:
            folder = self._folder / config.trial_id
            is_new = not folder.exists()
            writer = SummaryWriter(str(folder))
            if is_new:
                params = json.dumps(dict(config.params), indent=1, sort_keys=True)
                writer.add_text("parameters", f"```json\n{params}\n```", 0)
            self._writers[config.trial_id] = writer
        return self._writers[config.trial_id]

"""The INT8 candidate of a network in a study: what its ladder chose, or why there is none.

`candidates/<network>-ladder/` holds a folder a rung and, at the end, `ladder.json`. The verdict
also stands in the recipe of the candidates that come of it, which bundles and model cards show.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from automl.compression.ladder import Ladder, Quality, Rung, Speed
from automl.jobs.candidates import ARTIFACT, CORE, RECORD, FinishedNetwork, candidate_record
from automl.jobs.context import JobContext
from automl.jobs.costs import size_measurements, timing_of, wrap_core
from automl.jobs.int8_ladder import (
    LADDER,
    LadderTask,
    calibration_images,
    climb_ladder,
    quality_of_measurements,
    read_ladder,
)
from automl.jobs.int8_rungs import Material
from automl.jobs.int8_tuning import KeepGoing, Tuning
from automl.jobs.scoring import score_file
from automl.records import Candidate, from_json, to_json
from automl.space.compression import Int8Settings
from automl.store.atomic import staged_folder, write_json
from automl.store.layout import StudyFolder

#: Where a candidate's recipe says what became of INT8.
VERDICT = "int8"


def ladder_of(folder: StudyFolder, network: str) -> Ladder | None:
    """The finished ladder of a network of a study."""
    return read_ladder(_place(folder, network) / LADDER)


def int8_id(network: str) -> str:
    """What the INT8 candidate of a network is called."""
    return f"{network}-int8"


def ladder_id(network: str) -> str:
    """What the folder of a network's ladder is called, among the candidates."""
    return f"{network}-ladder"


def tuning_id(network: str) -> str:
    """What the folder of its fine-tuning is called, among the trials."""
    return f"{network}-qat"


@dataclass(frozen=True, slots=True)
class StudyMeter:
    """Measures as the study's ranking does: in the target's runtime, by the study's stopwatch."""

    context: JobContext

    def runtime(self) -> str:
        """The runtime's name."""
        return self.context.experiment.target.runtime

    def cpu(self) -> str:
        """The processor that the stopwatch times on."""
        return self.context.stopwatch.cpu()

    def quality(self, artifact: Path) -> Quality:
        """What a file scores on val; kept beside the file, where the ranking finds it."""
        dataset = self.context.dataset()
        scored = score_file(
            artifact, dataset, "val", threads=self.context.threads, runtime=self.runtime()
        )
        return quality_of_measurements({m.metric: m.value for m in scored})

    def speed(self, float_artifact: Path, artifact: Path) -> Speed:
        """Time both files in interleaved rounds."""
        target = self.context.experiment.target
        timing = timing_of(self.context.dataset().info, target)
        pair = {"float": float_artifact, "int8": artifact}
        stats = self.context.stopwatch.time(pair, timing)
        return Speed.of(stats["float"], stats["int8"], threads=target.threads)


def write_int8_candidate(
    context: JobContext, network: FinishedNetwork, float_id: str, *, seed: int
) -> None:
    """Climb the ladder of a network whose float candidate is there; write what it chose, if any."""
    settings = context.experiment.compress.int8
    assert settings is not None
    folder = context.folder
    ladder = climb_ladder(_task(context, network, settings, float_id, seed), _told_later)
    if ladder.chosen is not None:
        _write_chosen(context, network, ladder, ladder.rung(ladder.chosen))
    else:  # one that was made before there was a gate must not ship
        shutil.rmtree(folder.candidate(int8_id(network.name)), ignore_errors=True)
    file = folder.candidate(float_id) / RECORD
    record = from_json(Candidate, json.loads(file.read_text(encoding="utf-8")))
    write_json(file, to_json(_with_verdict(record, ladder)))
    place = _place(folder, network.name)
    write_json(place / LADDER, to_json(ladder))


def _task(
    context: JobContext,
    network: FinishedNetwork,
    settings: Int8Settings,
    float_id: str,
    seed: int,
) -> LadderTask:
    dataset, float_folder = context.dataset(), context.folder.candidate(float_id)
    tuned = context.folder.trial(tuning_id(network.name))
    tuning = Tuning(
        network=network,
        dataset=dataset,
        experiment=context.experiment,
        settings=settings,
        seed=seed,
        checkpoints=tuned / "checkpoint",
        reporter=KeepGoing(lambda: context.keep(tuned)),
    )
    return LadderTask(
        network=network.name,
        folder=_place(context.folder, network.name),
        float_artifact=float_folder / ARTIFACT,
        rungs=settings.rungs_in(context.experiment.target.runtime),
        material=Material(
            core=float_folder / CORE,
            calibration=lambda count: calibration_images(dataset, network.normalisation, count),
            images=context.experiment.compress.calibration_images,
            tune=tuning,
        ),
        wrap=lambda artifact: wrap_core(artifact, dataset.info, network.normalisation),
        meter=StudyMeter(context),
        gates=settings,
    )


def _write_chosen(
    context: JobContext, network: FinishedNetwork, ladder: Ladder, rung: Rung
) -> None:
    """The chosen rung's files as a candidate, scores included."""
    candidate_id = int8_id(network.name)
    source = _place(context.folder, network.name) / rung.name
    lineage = replace(
        network.lineage,
        precision="int8",
        recipe={**network.lineage.recipe, "int8_rung": rung.name, **rung.recipe},
    )
    with staged_folder(context.folder.candidate(candidate_id)) as staged:
        for file in (source / CORE, source / ARTIFACT, *source.glob("scores-*.json")):
            shutil.copy2(file, staged / file.name)
        info = context.dataset().info
        sizes = size_measurements(network.model, staged / ARTIFACT, info)
        record = candidate_record(
            replace(network, lineage=lineage),
            candidate_id,
            sizes,
            for_size_alone=rung.outcome == "smaller",
        )
        write_json(staged / RECORD, to_json(_with_verdict(record, ladder)))


def _with_verdict(record: Candidate, ladder: Ladder) -> Candidate:
    recipe = {**record.lineage.recipe, VERDICT: ladder.reason}
    return replace(record, lineage=replace(record.lineage, recipe=recipe))


def _place(folder: StudyFolder, network: str) -> Path:
    return folder.candidate(ladder_id(network))


def _told_later(_rung: Rung) -> None:
    """A job in another process has no one to tell; its outcome says what the ladder came to."""

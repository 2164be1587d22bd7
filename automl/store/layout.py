"""What lies where in `results/<study>/`, and whose study a folder holds.

- `experiment.json`: what the user declared, with the study's key; it makes a folder a study
- `dataset.json`: the dataset that the results belong to
- `environment.json`: on what its trials were trained
- `plan.json`: what it was expected to take; made before it, and kept by `--overwrite`
- `journal.jsonl`: every event of the search; `journal.lock`: its one writer
- `trials/<id>/`: checkpoints and exports of one trial
- `candidates/<id>/`: the artifact of one candidate
- `costs/<architecture>.json`, `reference/`: latencies before training, and what they compare with;
  the latter says on which processor
- `beginning/`: the trained weights that trials go on from, where the study begins with some
- `weights/`, `continual.json`: what a single training leaves beside its bundles
- `finalists/seed<seed>/`: trials and candidates of finalists that were trained again
- `proxies/<architecture>.json`, `screening.json`: scores before training, and what they chose
- `bundles/<id>/`: what is shipped
- `tensorboard/`, `mlflow/`: what those programs show, where they follow the study
- `ray/`: what Ray writes, needed by nothing afterwards
- `trials.parquet`, `candidates.parquet`, `report.md`, `front.png`
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from automl.errors import StudyError, UsageError
from automl.records import DatasetInfo, canonical_json, from_json, to_json
from automl.store.atomic import STAGED_SUFFIX, write_json
from automl.store.declaration import (
    Declaration,
    different_study,
    read_declaration,
    write_declaration,
)
from automl.store.differences import differences
from automl.store.journal import JOURNAL_NAME, lock_path
from automl.store.lock import WriterLock
from automl.store.owned import OWNED, remove_owned

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True, slots=True)
class StudyFolder:
    """The folder of one study. Building the value touches no file."""

    root: Path

    @property
    def experiment_file(self) -> Path:
        """What the user declared, with the study's key."""
        return self.root / "experiment.json"

    @property
    def dataset_file(self) -> Path:
        """The `DatasetInfo` that the results belong to."""
        return self.root / "dataset.json"

    @property
    def environment_file(self) -> Path:
        """For `record_environment` and `read_environments`."""
        return self.root / "environment.json"

    @property
    def plan_file(self) -> Path:
        """What the study was expected to take, where somebody planned it."""
        return self.root / "plan.json"

    @property
    def journal_file(self) -> Path:
        """For `Journal` and `read_journal`."""
        return self.root / JOURNAL_NAME

    @property
    def optuna_file(self) -> Path:
        """The search as Optuna and its dashboard read it; made from the journal."""
        return self.root / "optuna.log"

    @property
    def lock_file(self) -> Path:
        """What the one writer of the study holds."""
        return lock_path(self.journal_file)

    @property
    def trials(self) -> Path:
        """The parent of the trials' folders."""
        return self.root / "trials"

    @property
    def candidates(self) -> Path:
        """The parent of the candidates' folders."""
        return self.root / "candidates"

    @property
    def finalists(self) -> Path:
        """The parent of one folder a seed, each laid out as a study's."""
        return self.root / "finalists"

    @property
    def teaching(self) -> Path:
        """What teachers said of training images, a folder each; only while students learn."""
        return self.root / "teaching"

    @property
    def costs(self) -> Path:
        """What networks cost, one file an architecture."""
        return self.root / "costs"

    @property
    def reference(self) -> Path:
        """The untrained default network that latencies are compared with."""
        return self.root / "reference"

    @property
    def proxies(self) -> Path:
        """What proxies say of untrained networks, one file an architecture."""
        return self.root / "proxies"

    @property
    def screening_file(self) -> Path:
        """The pool of the pre-screen, and what it chose."""
        return self.root / "screening.json"

    @property
    def gpu_share_file(self) -> Path:
        """The share of a GPU that trials take, where it was measured."""
        return self.root / "gpu_share.json"

    @property
    def beginning(self) -> Path:
        """The trained weights that trials go on from, where the study begins with some."""
        return self.root / "beginning"

    @property
    def weights(self) -> Path:
        """The trained network of a single training, to be trained further."""
        return self.root / "weights"

    @property
    def continual_file(self) -> Path:
        """What a training that went on from trained weights learnt and forgot."""
        return self.root / "continual.json"

    @property
    def ray(self) -> Path:
        """What Ray writes; nothing in it is needed once it ended."""
        return self.root / "ray"

    @property
    def bundles(self) -> Path:
        """The parent of the bundles."""
        return self.root / "bundles"

    @property
    def trials_table(self) -> Path:
        """One row a trial."""
        return self.root / "trials.parquet"

    @property
    def candidates_table(self) -> Path:
        """One row a candidate."""
        return self.root / "candidates.parquet"

    @property
    def report_file(self) -> Path:
        """The report, in Markdown."""
        return self.root / "report.md"

    @property
    def front_picture(self) -> Path:
        """The picture of the Pareto front."""
        return self.root / "front.png"

    def trial(self, trial_id: str) -> Path:
        """The folder of one trial; it may not exist yet."""
        return self.trials / _checked_id(trial_id)

    def candidate(self, candidate_id: str) -> Path:
        """The folder of one candidate; it may not exist yet."""
        return self.candidates / _checked_id(candidate_id)

    def bundle(self, bundle_id: str) -> Path:
        """The folder of one bundle; it may not exist yet."""
        return self.bundles / _checked_id(bundle_id)

    def absolute(self, relative: str) -> Path:
        """The path that a record names; raises StudyError on one that leads out of the study."""
        parts = PurePosixPath(relative)
        if parts.is_absolute() or ".." in parts.parts:
            raise StudyError(f"{self.root}: a record names {relative!r}, outside of the study")
        return self.root / parts

    @classmethod
    def open_or_create(
        cls, root: Path, experiment_json: Mapping[str, object], study_key: str
    ) -> StudyFolder:
        """Open the study that `study_key` names, or start it in a new or empty folder.

        `experiment_json` is kept; when the same study was declared otherwise before, in what does
        not change its key, the new declaration replaces the old one. Call this before opening the
        journal: writing takes the study's lock for a moment.

        Raises UsageError when the folder holds another study (naming each difference), or files
        that are no study, and when another process is writing to this study.
        """
        folder = cls(root)
        _make_folder(root)
        now = Declaration(study_key=study_key, experiment=dict(experiment_json))
        if folder.experiment_file.exists():
            before = read_declaration(folder.experiment_file)
            if before.study_key != study_key:
                raise UsageError(different_study(root, before, now))
            if canonical_json(before.experiment) == canonical_json(now.experiment):
                return folder
        else:
            folder._refuse_foreign_files()
        with WriterLock(folder.lock_file):
            write_declaration(folder.experiment_file, now)
        return folder

    def record_dataset(self, info: DatasetInfo) -> None:
        """Bind the study to a dataset, once.

        Raises UsageError when the study's results come from a dataset with another fingerprint.
        """
        if not self.dataset_file.exists():
            write_json(self.dataset_file, to_json(info))
            return
        known = self.dataset()
        if known.fingerprint != info.fingerprint:
            found = differences(to_json(known), to_json(info))
            raise UsageError(
                f"{self.root}: the dataset is not the one that this study's results come from:\n"
                f"{found}\nGive the old data back, choose another --out, or start anew with "
                "--overwrite (which deletes this study's results)."
            )

    def dataset(self) -> DatasetInfo:
        """The dataset that the results belong to; raises StudyError when it is unreadable."""
        try:
            return from_json(DatasetInfo, json.loads(self.dataset_file.read_bytes()))
        except (OSError, ValueError) as error:
            raise StudyError(f"{self.dataset_file}: not a readable dataset: {error}") from error

    def clear(self) -> None:
        """Remove what this program wrote, for `--overwrite`.

        A missing or empty folder is clear already. Symbolic links are removed, never followed.
        Raises UsageError, and removes nothing, when the folder holds files that are not a study's,
        or when another process is writing to the study.
        """
        # A plan is there before the study is.
        empty = self.root.is_dir() and set(self.root.iterdir()) <= {self.plan_file}
        if empty or not self.root.exists():
            return
        read_declaration(self.experiment_file)
        self._refuse_foreign_files()
        with WriterLock(self.lock_file):
            for name in OWNED:
                remove_owned(self.root / name)
            for staged in self.root.glob(f".*{STAGED_SUFFIX}"):
                remove_owned(staged)
            remove_owned(self.lock_file)

    def _refuse_foreign_files(self) -> None:
        foreign = sorted(
            entry.name
            for entry in self.root.iterdir()
            if entry not in (self.lock_file, self.plan_file)
            and entry.name not in OWNED
            and not entry.name.startswith(".")
        )
        if foreign:
            shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
            raise UsageError(
                f"{self.root}: holds what is not a study's (found {shown}); choose another --out: "
                "a new or an empty folder"
            )


def _make_folder(root: Path) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{root}: cannot be made a study's folder: {error.strerror}; choose another --out"
        ) from error


def _checked_id(name: str) -> str:
    if not _ID.fullmatch(name):
        raise ValueError(
            f"an id must start with a letter or digit and hold only letters, digits and . _ + -, "
            f"got {name!r}"
        )
    return name

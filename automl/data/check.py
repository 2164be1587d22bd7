"""A full check of a folder dataset before any training: every fault, each with its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from automl.data.declaration import DECLARATION_FILE
from automl.data.examine import Counts, Examined, class_pixels, examine
from automl.data.faults import Fault, describe
from automl.data.folders import FolderDataset, Sample, Survey, survey_folder
from automl.data.letterbox import Frame
from automl.records import SPLITS, Split

#: Told after each sample: how many are done, of how many.
Progress = Callable[[int, int], None]

#: Samples decoded ahead of the one being handled: bounds the memory.
_AHEAD = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """One class: its share of the labelled train pixels, and the images that hold it, by split."""

    name: str
    train_pixel_share: float
    images: Mapping[Split, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckReport:
    """What a check found.

    Counts and classes cover the sound samples only; where no classes are known, no sample can be
    sound, and `counts` are those of the samples found.
    """

    root: Path
    name: str
    counts: Mapping[Split, int]
    classes: tuple[ClassRow, ...]
    faults: tuple[Fault, ...]
    warnings: tuple[str, ...]

    def summary(self) -> str:
        """The report as lines of text: counts, one line a class, warnings, faults."""
        counts = ", ".join(f"{split} {self.counts[split]}" for split in SPLITS)
        lines = [f"{self.name} ({self.root}): {counts} images"]
        lines += [_class_line(row) for row in self.classes]
        lines += [f"  note: {warning}" for warning in self.warnings]
        if self.faults:
            lines.append(describe(self.faults))
        return "\n".join(lines)


@dataclass(slots=True)
class ClassCounts:
    """Pixels and images of each class in one split, and the number of its samples."""

    pixels: Counts
    images: Counts
    samples: int = 0

    def add(self, found: Counts) -> None:
        """Count one mask, given the pixels that each class has in it."""
        self.pixels += found
        self.images += found > 0
        self.samples += 1

    @property
    def is_blank(self) -> bool:
        """Whether there are samples, and none of their pixels has a class."""
        return self.samples > 0 and not self.pixels.any()


def no_counts(num_classes: int) -> dict[Split, ClassCounts]:
    """Counts of zero for every split."""
    zeros = np.zeros((2 * len(SPLITS), num_classes), dtype=np.int64)
    return {
        split: ClassCounts(pixels=zeros[2 * place], images=zeros[2 * place + 1])
        for place, split in enumerate(SPLITS)
    }


def pixel_shares(counts: ClassCounts) -> tuple[float, ...]:
    """The share of each class in the labelled pixels; zeros where there is none."""
    total = max(1, int(counts.pixels.sum()))
    return tuple(float(pixels) / total for pixels in counts.pixels)


@dataclass(slots=True)
class Tally:
    """What has been seen of a folder dataset so far.

    `held` is, for each class, the train image that has most pixels of it, and how many.
    """

    counts: dict[Split, ClassCounts]
    faults: list[Fault]
    seen: dict[bytes, tuple[Split, Path]] = field(default_factory=dict)
    held: dict[int, tuple[int, Path]] = field(default_factory=dict)
    repeats: list[str] = field(default_factory=list)

    def add(self, split: Split, examined: Examined) -> None:
        """Take one sample in, sound or not."""
        self.faults += examined.faults
        if examined.class_pixels is None or examined.digest is None:
            return
        self.counts[split].add(examined.class_pixels)
        path = examined.sample.image
        if split == "train":
            for index in np.flatnonzero(examined.class_pixels):
                pixels = int(examined.class_pixels[index])
                self.held[int(index)] = max(self.held.get(int(index), (0, path)), (pixels, path))
        first_split, first = self.seen.setdefault(examined.digest, (split, path))
        if first_split != split:
            self.repeats.append(f"{path}: the same image as {first}: scores on it mean little")


def check_folder(
    root: Path,
    *,
    split_seed: int = 0,
    frame: Frame | None = None,
    progress: Progress | None = None,
) -> CheckReport:
    """Read every file of a folder dataset and report; raises DataError only without a folder.

    With a `frame` the samples are brought into it as for training, too, and what is lost by that is
    a fault.
    """
    survey = survey_folder(root, split_seed)
    dataset = survey.dataset
    counted = None if frame is None else frame.for_counting()
    tally = Tally(counts=no_counts(len(dataset.classes)), faults=list(survey.faults))
    resized = no_counts(len(dataset.classes))
    for split, examined in examine_all(dataset, counted, progress):
        tally.add(split, examined)
        if examined.mask is not None:
            resized[split].add(class_pixels(examined.mask, len(dataset.classes)))
    tally.faults += absence_faults(dataset, tally)
    if frame is not None and not tally.faults:
        lost = [
            *lost_classes(resized, dataset.classes, frame.size, tally.held),
            *lost_splits(resized, frame.size),
        ]
        tally.faults += [Fault(path=root, problem=problem) for problem in lost]
    shares = pixel_shares(tally.counts["train"])
    rows = tuple(
        ClassRow(
            name=name,
            train_pixel_share=shares[index],
            images={split: int(tally.counts[split].images[index]) for split in SPLITS},
        )
        for index, name in enumerate(dataset.classes)
    )
    return CheckReport(
        root=root,
        name=dataset.name,
        counts={
            split: tally.counts[split].samples if rows else len(dataset.samples[split])
            for split in SPLITS
        },
        classes=rows,
        faults=tuple(tally.faults),
        warnings=all_warnings(survey, tally),
    )


def examine_all(
    dataset: FolderDataset, frame: Frame | None, progress: Progress | None
) -> Iterator[tuple[Split, Examined]]:
    """Read every sample, several at once, and give them in the order of the splits and names.

    `frame` is what `examine` brings them into.
    """
    tasks = [(split, sample) for split in SPLITS for sample in dataset.samples[split]]

    def work(task: tuple[Split, Sample]) -> tuple[Split, Examined]:
        return task[0], examine(task[1], dataset, frame)

    remaining, done = iter(tasks), 0
    with ThreadPoolExecutor() as pool:
        while chunk := list(islice(remaining, _AHEAD)):
            for result in pool.map(work, chunk):
                yield result
                done += 1
                if progress is not None:
                    progress(done, len(tasks))


def blank_faults(dataset: FolderDataset, tally: Tally) -> list[Fault]:
    """A fault for each split whose masks have no labelled pixel at all."""
    problem = "every pixel of its masks is ignored: there is nothing to learn or to score"
    return [
        Fault(path=dataset.root, problem=f"split {split}: {problem}")
        for split in SPLITS
        if tally.counts[split].is_blank
    ]


def absence_faults(dataset: FolderDataset, tally: Tally) -> list[Fault]:
    """Blank splits, and a fault for each class that no sound train mask holds.

    It names where the class does occur. Without any sound sample there is none: the other faults
    say enough.
    """
    faults = blank_faults(dataset, tally)
    train = tally.counts["train"]
    if train.samples == 0 or train.is_blank:
        return faults
    for index, name in enumerate(dataset.classes):
        if train.images[index] == 0:
            elsewhere = {split: int(tally.counts[split].images[index]) for split in ("val", "test")}
            found = ", ".join(f"{count} of {split}" for split, count in elsewhere.items())
            value = dataset.labels[index]
            problem = (
                f"class {name!r} (value {value}) is absent from the masks of train "
                f"(images that hold it: {found}): it cannot be learnt"
            )
            declared = dataset.root / DECLARATION_FILE
            path = declared if declared.is_file() else dataset.root
            faults.append(Fault(path=path, problem=problem))
    return faults


def lost_classes(
    resized: Mapping[Split, ClassCounts],
    classes: Sequence[str],
    size: tuple[int, int],
    held: Mapping[int, tuple[int, Path]],
) -> list[str]:
    """The classes whose last train pixel is lost by resizing to `size` (height, width).

    `held` is as in `Tally`.
    """
    problems = []
    for index, name in enumerate(classes):
        if resized["train"].images[index] == 0:
            pixels, path = held.get(index, (0, None))
            most = "" if path is None else f" (most of it had {path}, {pixels} pixels)"
            problems.append(f"no train pixel of class {name!r}{most} is left {_at(size)}")
    return problems


def lost_splits(resized: Mapping[Split, ClassCounts], size: tuple[int, int]) -> list[str]:
    """The splits whose last labelled pixel is lost by resizing to `size` (height, width)."""
    blank = [split for split in SPLITS if resized[split].is_blank]
    return [f"no labelled pixel of split {split} is left {_at(size)}" for split in blank]


def _at(size: tuple[int, int]) -> str:
    return f"at {size[0]}x{size[1]} (height x width): choose a larger size"


def all_warnings(survey: Survey, tally: Tally) -> tuple[str, ...]:
    """What is no fault but spoils scores, once every sample is in the tally."""
    return (*survey.warnings, *tally.repeats, *_thin_classes(survey.dataset, tally))


def _thin_classes(dataset: FolderDataset, tally: Tally) -> list[str]:
    held_out: tuple[Split, ...] = ("val", "test")
    images = {split: tally.counts[split].images for split in SPLITS}
    return [
        f"class {name!r} is absent from {split}: it is not scored there"
        for index, name in enumerate(dataset.classes)
        for split in held_out
        if images["train"][index] and images[split].any() and not images[split][index]
    ]


def _class_line(row: ClassRow) -> str:
    images = ", ".join(f"{split} {row.images[split]}" for split in SPLITS)
    return f"  {row.name}: {100 * row.train_pixel_share:.2f} % of train pixels; images: {images}"

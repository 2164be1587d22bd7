from __future__ import annotations

import threading
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from automl.data.augment import Augmentation
from automl.data.batching import (
    Batch,
    BatchSettings,
    epoch_batches,
    num_batches,
)
from automl.data.dataset import ArrowSplit, Dataset
from automl.data.mixing.cutmix import cutmix_box
from automl.data.writing import DatasetWriter

SIZE = (16, 24)
COUNT = 21


def write_numbered(root: Path) -> Dataset:
    """Sample n has grey level 10 n + 5, and label n % 2 everywhere."""
    with DatasetWriter(root, classes=("a", "b"), size=SIZE) as writer:
        for split in ("train", "val", "test"):
            for number in range(COUNT):
                image = np.full((*SIZE, 3), 10 * number + 5, np.uint8)
                writer.add(split, str(number), image, np.full(SIZE, number % 2, np.uint8))
        writer.finish("numbered", ignore_index=None)
    return Dataset(root)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> ArrowSplit:
    return write_numbered(tmp_path_factory.mktemp("numbered")).split("train")


def numbers_in(batch: Batch) -> list[int]:
    return [int(image[0, 0, 0]) // 10 for image in batch.images_nhwc]


def epoch_of(split: ArrowSplit, settings: BatchSettings, epoch: int = 0) -> list[Batch]:
    return list(epoch_batches(split, settings, epoch))


def same(first: list[Batch], second: list[Batch]) -> bool:
    return len(first) == len(second) and all(
        torch.equal(one.images_nhwc, two.images_nhwc) and torch.equal(one.masks_nhw, two.masks_nhw)
        for one, two in zip(first, second, strict=True)
    )


def test_batches_are_uint8_images_and_masks(split: ArrowSplit) -> None:
    batch = epoch_of(split, BatchSettings(batch_size=4))[0]
    assert (batch.images_nhwc.dtype, batch.images_nhwc.shape) == (torch.uint8, (4, 16, 24, 3))
    assert (batch.masks_nhw.dtype, batch.masks_nhw.shape) == (torch.uint8, (4, 16, 24))
    batch.images_nhwc[:] = 0  # a copy: the mapped file cannot be written
    assert numbers_in(epoch_of(split, BatchSettings(batch_size=4))[0]) == [0, 1, 2, 3]


@given(st.integers(1, 30), st.integers(1, 5))
def test_evaluation_covers_every_sample_once_over_all_processes(
    split: ArrowSplit, batch_size: int, world_size: int
) -> None:
    world_size = min(world_size, batch_size)
    settings = BatchSettings(batch_size=batch_size, world_size=world_size)
    seen: list[int] = []
    for global_rank in range(world_size):
        batches = epoch_of(split, replace(settings, global_rank=global_rank))
        assert len(batches) <= num_batches(COUNT, settings)
        seen += [number for batch in batches for number in numbers_in(batch)]
    assert sorted(seen) == list(range(COUNT))


@given(st.integers(1, 30), st.integers(1, 5), st.integers(0, 2))
def test_training_gives_each_process_as_many_batches_of_distinct_samples(
    split: ArrowSplit, batch_size: int, world_size: int, epoch: int
) -> None:
    world_size = min(world_size, batch_size)
    settings = BatchSettings(batch_size=batch_size, world_size=world_size, shuffle=True, seed=3)
    parts = [
        epoch_of(split, replace(settings, global_rank=rank), epoch) for rank in range(world_size)
    ]
    assert {len(part) for part in parts} == {num_batches(COUNT, settings)}
    whole = epoch_of(split, replace(settings, world_size=1), epoch)
    for number, batch in enumerate(whole):
        joined = [numbers_in(part[number]) for part in parts]
        assert sorted(chain(*joined)) == sorted(numbers_in(batch))
    seen = [number for batch in whole for number in numbers_in(batch)]
    assert len(set(seen)) == len(seen) == min(COUNT, max(1, COUNT // batch_size) * batch_size)


def test_incomplete_last_batch_of_training_is_left_out_unless_alone(split: ArrowSplit) -> None:
    sizes = [
        [
            len(batch.masks_nhw)
            for batch in epoch_of(split, BatchSettings(batch_size=size, shuffle=True))
        ]
        for size in (8, 21, 32)
    ]
    assert sizes == [[8, 8], [21], [21]]


def test_more_processes_than_samples_all_get_one(tmp_path: Path) -> None:
    split = write_numbered(tmp_path).split("train")
    parts = [
        epoch_of(split, BatchSettings(batch_size=64, world_size=30, global_rank=rank, shuffle=True))
        for rank in range(30)
    ]
    assert {len(part) for part in parts} == {1}
    assert {len(part[0].masks_nhw) for part in parts} == {1}


def test_order_changes_with_epoch_and_seed_only(split: ArrowSplit) -> None:
    settings = BatchSettings(batch_size=7, shuffle=True, seed=1)

    def order(settings: BatchSettings, epoch: int) -> list[int]:
        return list(chain(*(numbers_in(batch) for batch in epoch_of(split, settings, epoch))))

    assert order(settings, 0) == order(settings, 0)
    assert order(settings, 0) != order(settings, 1)
    assert order(settings, 0) != order(replace(settings, seed=2), 0)


@pytest.mark.parametrize("workers", [1, 3])
def test_loader_threads_change_nothing(split: ArrowSplit, workers: int) -> None:
    settings = BatchSettings(batch_size=4, augmentation="strong", cutmix=0.5, shuffle=True, seed=5)
    threaded = replace(settings, loader_workers=workers)
    for epoch in range(2):
        assert same(epoch_of(split, settings, epoch), epoch_of(split, threaded, epoch))


def test_what_is_augmented_is_the_mapped_file_itself(
    split: ArrowSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to there no byte of an image is copied."""
    given: list[tuple[np.ndarray, np.ndarray]] = []

    def keep(_self: Augmentation, image: np.ndarray, mask: np.ndarray, _seed: int) -> object:
        given.append((image, mask))
        return image, mask

    monkeypatch.setattr(Augmentation, "__call__", keep)
    settings = BatchSettings(batch_size=4, augmentation="medium", cutmix=0.5, shuffle=True)
    epoch_of(split, settings)
    assert len(given) >= 20
    stored = [(split.image(row), split.mask(row)) for row in range(COUNT)]
    for image, mask in given:
        number = int(image[0, 0, 0]) // 10
        assert np.shares_memory(image, stored[number][0])
        assert np.shares_memory(mask, stored[number][1])


@pytest.mark.parametrize("workers", [0, 2])
def test_pinned_batches_hold_the_same_in_memory_that_a_gpu_reads(
    workers: int, split: ArrowSplit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a machine with a GPU can pin memory, so that it is asked for is looked at."""
    pinned: list[torch.Tensor] = []

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    settings = BatchSettings(batch_size=4, shuffle=True, loader_workers=workers)
    usual = epoch_of(split, settings)
    assert not pinned
    batches = epoch_of(split, replace(settings, pinned=True))
    assert same(batches, usual)
    asked = {id(tensor) for tensor in pinned}
    assert all({id(one.images_nhwc), id(one.masks_nhw)} <= asked for one in batches)


def test_an_epoch_left_early_ends_its_threads(split: ArrowSplit) -> None:
    batches = epoch_batches(split, BatchSettings(batch_size=2, loader_workers=2), 0)
    next(iter(batches))
    batches.close()  # type: ignore[attr-defined]
    assert not [one for one in threading.enumerate() if one.name.startswith("automl-loader")]


def test_augmentation_and_cutmix_do_not_depend_on_the_number_of_processes(
    split: ArrowSplit,
) -> None:
    settings = BatchSettings(batch_size=6, augmentation="medium", cutmix=1.0, shuffle=True)
    whole = epoch_of(split, settings)
    parts = [
        epoch_of(split, replace(settings, world_size=3, global_rank=rank)) for rank in range(3)
    ]
    for number, batch in enumerate(whole):
        for rank, part in enumerate(parts):
            assert torch.equal(part[number].images_nhwc, batch.images_nhwc[rank::3])
            assert torch.equal(part[number].masks_nhw, batch.masks_nhw[rank::3])


def is_rectangle(chosen: torch.Tensor) -> bool:
    rows, columns = chosen.any(dim=1), chosen.any(dim=0)
    return int(chosen.sum()) == int(rows.sum() * columns.sum())


def test_cutmix_pastes_image_and_mask_from_one_partner(split: ArrowSplit) -> None:
    settings = BatchSettings(batch_size=10, cutmix=1.0, shuffle=True)
    mixed = 0
    for epoch in range(6):
        for batch in epoch_of(split, settings, epoch):
            sources = batch.images_nhwc[..., 0].to(torch.int64) // 10
            assert torch.equal(batch.masks_nhw, sources % 2)
            for source in sources:
                own = source == source[0, 0]
                assert len(source.unique()) <= 2
                if not own.all():
                    mixed += 1
                    assert is_rectangle(own) or is_rectangle(~own)
    assert mixed > 40


def test_cutmix_occurs_as_often_as_asked(split: ArrowSplit) -> None:
    settings = BatchSettings(batch_size=7, cutmix=0.3, shuffle=True)
    batches = [batch for epoch in range(60) for batch in epoch_of(split, settings, epoch)]
    mixed = [any(len(image.unique()) > 1 for image in batch.images_nhwc) for batch in batches]
    assert 0.2 < np.mean(mixed) < 0.35  # a box may be empty


def test_cutmix_boxes_cover_half_on_average_before_they_are_cut_off() -> None:
    rng = np.random.default_rng(0)
    areas = []
    for _ in range(2000):
        rows, columns = cutmix_box(rng, (100, 100))
        assert 0 <= rows.start <= rows.stop <= 100
        areas.append((rows.stop - rows.start) * (columns.stop - columns.start) / 1e4)
    # E[area] for a box of side s = sqrt(u) about an even centre: E[(s - s^2 / 4)^2] = 0.3208...
    assert np.mean(areas) == pytest.approx(0.5 - 0.5 * 0.4 + 1 / 48, abs=0.02)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch_size": 1, "world_size": 2}, "batch_size must be at least world_size"),
        ({"global_rank": 1}, "global_rank must be in"),
        ({"cutmix": 1.5}, "cutmix is a probability"),
        ({"seed": -1}, "must not be negative"),
    ],
)
def test_bad_settings_are_refused(changes: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        replace(BatchSettings(batch_size=4), **changes)


def by_sample(split: ArrowSplit, settings: BatchSettings, epoch: int) -> dict[int, bytes]:
    """The pictures and masks of an epoch, by the number of what they are."""
    found = {}
    for batch in epoch_of(split, settings, epoch):
        assert batch.samples_n is not None
        for place, sample in enumerate(batch.samples_n.tolist()):
            image, mask = batch.images_nhwc[place], batch.masks_nhw[place]
            found[sample] = image.numpy().tobytes() + mask.numpy().tobytes()
    return found


VIEWS = BatchSettings(batch_size=COUNT, augmentation="medium", seed=7, views=2, shuffle=True)


def test_epochs_go_through_the_views_in_turn(split: ArrowSplit) -> None:
    epochs = [by_sample(split, VIEWS, epoch) for epoch in range(4)]
    assert sorted(epochs[0]) == list(range(COUNT))
    assert sorted(epochs[1]) == list(range(COUNT, 2 * COUNT))
    assert (epochs[2], epochs[3]) == (epochs[0], epochs[1])
    pictures = [[epoch[row] for row in sorted(epoch)] for epoch in epochs[:2]]
    differing = [first != second for first, second in zip(*pictures, strict=True)]
    assert sum(differing) > COUNT // 2, "what is of one grey may look the same moved"


def test_views_are_what_the_first_epochs_would_have_made(split: ArrowSplit) -> None:
    fresh = replace(VIEWS, views=0)
    for epoch in range(2):
        assert same(epoch_of(split, VIEWS, epoch), epoch_of(split, fresh, epoch))
    assert not same(epoch_of(split, VIEWS, 2), epoch_of(split, fresh, 2))
    assert all(batch.samples_n is None for batch in epoch_of(split, fresh))


def test_the_order_changes_with_the_epoch_and_the_views_do_not_know_of_it(
    split: ArrowSplit,
) -> None:
    first, third = (epoch_of(split, VIEWS, epoch)[0].samples_n for epoch in (0, 2))
    assert first is not None
    assert third is not None
    assert first.tolist() != third.tolist()
    in_order = replace(VIEWS, shuffle=False, batch_size=4)
    assert by_sample(split, in_order, 1) == by_sample(split, VIEWS, 1)


def test_ranks_have_the_numbers_of_their_own_samples(split: ArrowSplit) -> None:
    ranks = [replace(VIEWS, global_rank=rank, world_size=2) for rank in range(2)]
    parts = [by_sample(split, settings, 1) for settings in ranks]
    assert not parts[0].keys() & parts[1].keys()
    assert parts[0] | parts[1] == by_sample(split, VIEWS, 1)


def test_a_row_that_is_drawn_again_is_the_same_view(split: ArrowSplit) -> None:
    drawn = replace(VIEWS, oversample="effective")
    plain = by_sample(split, VIEWS, 0)
    assert all(plain[sample] == seen for sample, seen in by_sample(split, drawn, 0).items())


def test_mixed_images_have_no_fixed_views() -> None:
    with pytest.raises(ValueError, match="0 where images are mixed, got 2 with cutmix, mixup"):
        BatchSettings(batch_size=1, views=2, mixup=0.1, cutmix=0.5)
    with pytest.raises(ValueError, match="views must be at least 0"):
        BatchSettings(batch_size=1, views=-1)

"""Rates over a run against torch's own schedulers, where torch has the same shape."""

import numpy as np
import pytest
import torch
from torch.optim import lr_scheduler

from automl.training.schedules import FINAL_FACTOR
from automl.training.shapes import (
    ONE_CYCLE_END,
    ONE_CYCLE_START,
    PLATEAU_FACTOR,
    PLATEAU_PATIENCE,
    PLATEAU_THRESHOLD,
    POLYNOMIAL_POWER,
    SHAPES,
    plateau_factor,
)


def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


def rates(scheduler, of, steps):
    found = []
    for _ in range(steps):
        found.append(of.param_groups[0]["lr"])
        of.step()
        scheduler.step()
    return found


def ours(name, total, warmup):
    return [SHAPES[name].factor(step, total, warmup) for step in range(total)]


@pytest.mark.parametrize("total", [10, 50, 370])
def test_one_cycle_is_torchs(total):
    of = optimizer()
    scheduler = lr_scheduler.OneCycleLR(
        of,
        max_lr=1.0,
        total_steps=total,
        div_factor=ONE_CYCLE_START,
        final_div_factor=ONE_CYCLE_END,
        cycle_momentum=False,
    )
    wanted = [of.param_groups[0]["lr"]]
    for _ in range(total - 1):
        of.step()
        scheduler.step()
        wanted.append(of.param_groups[0]["lr"])
    assert ours("one_cycle", total, 0) == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("total", "warmup"), [(30, 0), (30, 6), (101, 50)])
def test_polynomial_is_torchs_behind_a_warm_up(total, warmup):
    of = optimizer()
    scheduler = lr_scheduler.PolynomialLR(of, total_iters=total - warmup, power=POLYNOMIAL_POWER)
    wanted = rates(scheduler, of, total - warmup)
    assert ours("polynomial", total, warmup)[warmup:] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("total", "warmup"), [(70, 0), (150, 10)])
def test_each_cycle_of_restarts_is_torchs_cosine(total, warmup):
    seventh = (total - warmup) // 7
    wanted = []
    for length in (seventh, 2 * seventh, 4 * seventh):
        of = optimizer()
        scheduler = lr_scheduler.CosineAnnealingLR(of, T_max=length - 1, eta_min=FINAL_FACTOR)
        wanted += rates(scheduler, of, length)
    assert ours("cosine_restarts", total, warmup)[warmup:] == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize(("total", "warmup"), [(20, 5), (300, 100)])
def test_warm_ups_are_torchs_linear_ones(total, warmup):
    of = optimizer()
    scheduler = lr_scheduler.LinearLR(of, start_factor=1 / warmup, total_iters=warmup - 1)
    assert ours("constant", total, warmup) == pytest.approx(rates(scheduler, of, total), rel=1e-9)


@pytest.mark.parametrize("seed", range(5))
def test_plateau_is_torchs(seed):
    rng = np.random.default_rng(seed)
    scores = np.clip(np.cumsum(rng.normal(0.004, 0.03, 60)), 0, 1).tolist()
    of = optimizer()
    scheduler = lr_scheduler.ReduceLROnPlateau(
        of,
        mode="max",
        factor=PLATEAU_FACTOR,
        patience=PLATEAU_PATIENCE,
        threshold=PLATEAU_THRESHOLD,
        min_lr=FINAL_FACTOR,
    )
    for count, score in enumerate(scores, start=1):
        scheduler.step(score)
        assert plateau_factor(scores[:count]) == pytest.approx(of.param_groups[0]["lr"])
    assert plateau_factor(scores) < 1

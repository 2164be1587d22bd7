"""What the rates, the rest and the average of the weights really are, for `jobs/applied.py`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from torch import nn

from automl.jobs.applied_loss import equal
from automl.jobs.live import Live, listed
from automl.training.deep_supervision import DeepSupervision
from automl.training.self_distillation import teaches_from
from automl.training.shapes import SHAPES, level_after

#: Steps of the run at which the optimizer's rate is read.
_READINGS = 32

#: Scores of epochs that get no better, which a schedule may or may not answer.
_FLAT = (0.5,) * 8


def other_warmup(live: Live) -> str | None:
    """The rates around the warm-up, beside the one that follows it.

    They are compared with the shape that is live: whether it is the sampled one is for
    `other_schedule` to say.
    """
    stepper, total = live.run.stepper, live.run.stepper.timetable.total
    warmup = _wanted_warmup(live)
    factor = SHAPES[stepper.settings.recipe.schedule].factor
    for step in (0, warmup // 2, max(0, warmup - 1), min(warmup + 1, total - 1)):
        wanted = factor(step, total, warmup) / factor(warmup, total, warmup)
        found = _rate_at(live, step) / _rate_at(live, warmup)
        if not equal(found, wanted):
            rates = f"{found:.4g} times that of step {warmup + 1} instead of {wanted:.4g} times"
            return f"at step {step + 1} of {total} a rate {rates}"
    return None


def other_schedule(live: Live) -> str | None:
    """The rates over the run, relative to the peak, and what flat scores do to them."""
    stepper, name = live.run.stepper, live.params.schedule
    total, warmup = stepper.timetable.total, _wanted_warmup(live)
    peak = _rate_at(live, SHAPES[name].peak(total, warmup))
    for step in range(0, total, max(1, total // _READINGS)):
        wanted, found = SHAPES[name].factor(step, total, warmup), _rate_at(live, step) / peak
        if not equal(found, wanted):
            return f"{found:.4g} of the peak at step {step + 1} of {total} instead of {wanted:.4g}"
    scores = (*live.run.scores, *_FLAT)
    wanted, found = level_after(name, scores), live.run.level_after(scores)
    return None if equal(found, wanted) else f"{found:g} of the rate after flat scores"


def other_learning_rate(live: Live) -> str | None:
    """Has the schedule set its peak, as a step does, and reads the decoder's groups."""
    stepper = live.run.stepper
    rates = _rates_at(live, stepper.peak_step)
    encoder = set(live.model.encoder.parameters())
    found = {rate for parameter, rate in rates.items() if parameter not in encoder}
    wanted = live.params.learning_rate * level_after(live.params.schedule, live.run.scores)
    right = all(equal(rate, wanted) for rate in found)
    return None if right else f"a peak of {listed(found)}"


def other_encoder_factor(live: Live) -> str | None:
    """The rate of the encoder's deepest stage beside the decoder's."""
    found = _shares(live)[-1]
    right = all(equal(share, live.params.encoder_lr_factor) for share in found)
    return None if right else f"{listed(found)} of the decoder's"


def other_layer_decay(live: Live) -> str | None:
    """The rate of each stage of the encoder beside the next deeper one's."""
    shares = _shares(live)
    steps = {
        round(shallow / deep, 9)
        for stage, deeper in pairwise(shares)
        for shallow in stage
        for deep in deeper
    }
    right = all(equal(step, live.params.layer_decay) for step in steps)
    return None if right else f"{listed(steps)} of the next deeper stage's"


def other_freezing(live: Live) -> str | None:
    """Which parameters of the encoder rest in the epoch that comes, and that none is forgotten."""
    freeze_epochs, epoch = live.params.freeze_epochs, live.run.epochs_done
    trained = {p for g in live.run.stepper.optimizer.param_groups for p in g["params"]}
    encoder = [p for p in live.model.encoder.parameters() if p in trained]
    resting = {p for p in encoder if not p.requires_grad}
    wanted = set()
    if freeze_epochs > 0:
        stages = live.stages
        deepest = max(stages.values())
        wanted = {p for p in encoder if epoch < freeze_epochs + deepest - stages[p]}
    if resting == wanted:
        return None
    return f"{len(resting)} tensors of the encoder rest in epoch {epoch + 1} and not {len(wanted)}"


def other_average(live: Live) -> str | None:
    """The decay of the average, and that it is what is scored and kept."""
    average, wanted = live.run.stepper.average, live.params.ema_decay
    if average is None:
        return None if wanted == 0 else "no average"
    if not equal(average.decay, wanted):
        return f"a decay of {average.decay:g}"
    return None if live.run.trained_model is average.model else "an average that nothing scores"


def other_self_distillation(live: Live) -> str | None:
    """Who teaches, and by which weight, at the last step before the second half and at the first.

    Both are set as a step does.
    """
    stepper, module, wanted = live.run.stepper, live.run.module, live.params.ema_distillation
    first = teaches_from(stepper.timetable.total)
    tutors = []
    for step in (first - 1, first):
        stepper.set_tutor(step)
        tutors.append(module.tutor)
    module.tutor = None
    early, tutor = tutors
    if early is not None and first > 0:
        return f"a teacher at step {first} of {stepper.timetable.total} already"
    if tutor is None:
        return None if wanted == 0 else "no teacher"
    if stepper.average is None or tutor.model is not stepper.average.model:
        return "another teacher than the average"
    return None if equal(tutor.weight, wanted) else f"{tutor.weight:g}"


def other_deep_supervision(live: Live) -> str | None:
    """The weight of the loss's heads, which the optimizer has to train."""
    loss, wanted = live.run.module.step_loss, live.params.deep_supervision
    if not isinstance(loss, DeepSupervision):
        return None if wanted == 0 else "no heads"
    trained = {p for g in live.run.stepper.optimizer.param_groups for p in g["params"]}
    if not trained.issuperset(loss.heads.parameters()) or not len(loss.heads):
        return "heads that nothing trains"
    return None if equal(loss.weight, wanted) else f"{loss.weight:g}"


def _wanted_warmup(live: Live) -> int:
    """The steps of the warm-up that was asked for, in the epochs that are live."""
    return live.run.stepper.timetable.warmup_steps(live.sample.steps.warmup_epochs)


def _rate_at(live: Live, step: int) -> float:
    """The decoder's rate at a step: the fastest."""
    return max(_rates_at(live, step).values())


def _rates_at(live: Live, step: int) -> Mapping[nn.Parameter, float]:
    """What the optimizer's groups have as their rate at a step, by parameter."""
    stepper = live.run.stepper
    stepper.set_learning_rate(step)
    groups = stepper.optimizer.param_groups
    return {p: float(group["lr"]) for group in groups for p in group["params"]}


def _shares(live: Live) -> list[set[float]]:
    """The rates of each stage of the encoder as shares of the decoder's, deepest last."""
    rates = _rates_at(live, live.run.stepper.peak_step)
    head = max(rates[parameter] for parameter in live.model.head.parameters())
    stages = live.stages
    found: list[set[float]] = [set() for _ in range(1 + max(stages.values()))]
    for parameter, stage in stages.items():
        if parameter in rates:
            found[stage].add(rates[parameter] / head)
    return [shares for shares in found if shares]

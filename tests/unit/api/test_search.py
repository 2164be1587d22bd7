import math
import subprocess
import sys
from functools import partial

import numpy as np
import pytest

import automl
from automl.errors import SpaceError, StudyError, UsageError
from automl.records import TrialStatus

SPACE = {
    "speed": {"float": [0.0, 1.0], "default": 0.5},
    "kind": {"choice": ["plain", "fine"]},
    "depth": {"int": [1, 4], "when": {"kind": ["fine"]}},
}
OBJECTIVES = {"quality": "maximize", "cost": "minimize"}
#: As `automl.search`, with proposals that take milliseconds.
search = partial(automl.search, sampler="tpe")


def costs(params):
    return {"cost": 1 + 10 * params["speed"]}


def quality(params, epoch):
    gain = 0.1 * params.get("depth", 0)
    return (params["speed"] + gain) * (1 - 0.5**epoch)


def learn(trial):
    for epoch in range(trial.epochs_done + 1, trial.epochs + 1):
        yield {"quality": quality(trial.params, epoch)}


def found(result):
    return [(t.config.params, t.status, t.epochs, t.value("quality")) for t in result.trials]


def test_trials_are_compared_at_rungs_and_one_in_eta_goes_on():
    result = search(SPACE, learn, objectives=OBJECTIVES, costs=costs, trials=28, epochs=9)
    assert len(result.trials) == 28
    # Trial 0 is beside the rungs: 27, 9 and 3 of the others reach 1, 3 and 9 epochs.
    reached = [sum(trial.epochs >= epoch for trial in result.trials[1:]) for epoch in (1, 3, 9)]
    assert reached == [27, 9, 3]
    assert result.epochs == sum(trial.epochs for trial in result.trials)
    assert result.trials[0].config.params == {"speed": 0.5, "kind": "plain"}
    assert all(("depth" in t.config.params) == (t.config.params["kind"] == "fine")
               for t in result.trials)  # fmt: skip


def test_the_front_holds_what_no_trial_beats():
    result = search(SPACE, learn, objectives=OBJECTIVES, costs=costs, trials=20, epochs=3)
    pairs = [(t.value("quality"), t.value("cost")) for t in result.trials]
    for trial in result.front:
        mine = (trial.value("quality"), trial.value("cost"))
        assert not any(q >= mine[0] and c <= mine[1] and (q, c) != mine for q, c in pairs)
    assert result.best.value("quality") == max(quality for quality, _ in pairs)
    assert result.best == result.front[0]


def test_a_plain_function_of_one_objective_is_the_special_case():
    def square(trial):
        return {"loss": (trial.params["x"] - 0.3) ** 2}

    space = {"x": {"float": [-5.0, 5.0]}}
    result = search(space, square, objectives={"loss": "minimize"}, trials=40)
    assert [trial.status for trial in result.trials] == [TrialStatus.COMPLETED] * 40
    (best,) = {trial.value("loss") for trial in result.front}
    assert best == min(trial.value("loss") for trial in result.trials) < 0.1


def test_what_costs_too_much_is_never_evaluated():
    evaluated = []

    def watched(trial):
        evaluated.append(trial.params["speed"])
        yield from learn(trial)

    result = search(
        SPACE, watched, objectives=OBJECTIVES, costs=costs, constraints={"cost": 6}, trials=12
    )
    dear = [t for t in result.trials if t.config.params["speed"] > 0.5]
    assert dear
    assert {t.status for t in dear} == {TrialStatus.INFEASIBLE}
    assert {t.epochs for t in dear} == {0}
    assert max(evaluated) <= 0.5
    assert all(t.reason == f"cost {t.value('cost'):.4g} > 6" for t in dear)


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ({"quality": math.nan}, "evaluate gave quality = nan; it must be finite"),
        ({"quality": "good"}, "no number"),
        ({"other": 1.0}, "evaluate gave no value of the objective 'quality'; it gave: other"),
        (3.0, "evaluate gave 3.0; allowed: a mapping of metrics, or a generator"),
        (iter([]), "evaluate gave no metrics at all"),
        (iter([3.0]), "evaluate gave 3.0; allowed: a mapping"),
    ],
)
def test_a_wrong_answer_fails_its_trial_only(answer, problem):
    def evaluate(trial):
        return answer if trial.number == 1 else {"quality": trial.params["speed"]}

    result = search(SPACE, evaluate, objectives={"quality": "maximize"}, trials=3)
    statuses = [trial.status for trial in result.trials]
    assert statuses == [TrialStatus.COMPLETED, TrialStatus.FAILED, TrialStatus.COMPLETED]
    assert problem in result.trials[1].reason


def test_ten_failures_of_one_kind_end_the_search():
    def broken(trial):
        raise RuntimeError("no such file")

    with pytest.raises(StudyError, match="RuntimeError: no such file"):
        search(SPACE, broken, objectives={"quality": "maximize"}, trials=30)


def test_costs_that_leave_out_a_constraint_fail_their_trial():
    result = search(
        SPACE, learn, objectives=OBJECTIVES, costs=costs, constraints={"weight": 6}, trials=2
    )
    assert "costs gave no value of the constraint 'weight'; it gave: cost" in (
        result.trials[0].reason
    )


def test_all_faults_are_told_at_once_before_any_trial():
    with pytest.raises(SpaceError) as error:
        search(
            {"speed": {"float": [1.0, 0.0]}},
            learn,
            objectives={"quality": "most"},
            constraints={"cost": -1},
            epochs=0,
            trials=0,
        )
    text = str(error.value)
    for place in ("space.speed", "objectives.quality", "constraints.cost", "epochs", "trials"):
        assert f"{place}: given " in text or f"{place}: " in text
    with pytest.raises(SpaceError, match=r"points\[0\].sped: unknown key.*speed"):
        search(SPACE, learn, objectives=OBJECTIVES, points=[{"sped": 1.0}])


class Killed(BaseException):
    """As a kill: nothing of ours catches it."""


def dying(epochs_before_death):
    """`learn` with a checkpoint of its own; it dies once, after so many epochs of all trials."""
    trained = []

    def evaluate(trial):
        state = trial.folder / "epoch"
        kept = int(state.read_text()) if state.exists() else 0
        assert kept >= trial.epochs_done
        for epoch in range(trial.epochs_done + 1, trial.epochs + 1):
            if len(trained) == epochs_before_death:
                raise Killed
            trained.append((trial.number, epoch))
            state.write_text(str(epoch))
            yield {"quality": quality(trial.params, epoch)}

    return evaluate, trained


@pytest.mark.parametrize("death", [0, 1, 7, 20])
def test_a_kill_loses_no_epoch_and_changes_nothing(tmp_path, death):
    def run(evaluate, folder):
        return search(
            SPACE,
            evaluate,
            objectives=OBJECTIVES,
            costs=costs,
            trials=14,
            epochs=9,
            folder=folder,
        )

    whole = run(learn, tmp_path / "whole")
    first, before = dying(death)
    with pytest.raises(Killed):
        run(first, tmp_path / "cut")
    second, after = dying(-1)
    assert found(run(second, tmp_path / "cut")) == found(whole)
    assert len(set(before + after)) == len(before + after) == whole.epochs
    # Once more: nothing is left to do.
    third, nothing = dying(-1)
    assert found(run(third, tmp_path / "cut")) == found(whole)
    assert nothing == []


def test_a_folder_belongs_to_one_search(tmp_path):
    search(SPACE, learn, objectives=OBJECTIVES, costs=costs, trials=2, folder=tmp_path)
    more = search(SPACE, learn, objectives=OBJECTIVES, costs=costs, trials=4, folder=tmp_path)
    assert len(more.trials) == 4
    with pytest.raises(UsageError, match="holds a different study"):
        search(SPACE, learn, objectives=OBJECTIVES, costs=costs, trials=2, seed=1, folder=tmp_path)


def test_it_tells_of_each_change():
    seen = []
    search(SPACE, learn, objectives=OBJECTIVES, costs=costs, trials=3, on_change=seen.append)
    assert seen[-1].ended == 3
    assert [snapshot.epochs for snapshot in seen] == sorted(snapshot.epochs for snapshot in seen)


def test_it_needs_neither_torch_nor_ray():
    code = (
        "import sys, automl\n"
        "automl.search({'x': {'float': [0, 1]}}, lambda t: {'y': t.params['x']},"
        " objectives={'y': 'minimize'}, trials=12, sampler='tpe')\n"
        "assert not {'torch', 'ray'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="has no attribute 'serach'"):
        _ = automl.serach


def test_constraints_need_costs_and_settings_are_plain():
    with pytest.raises(SpaceError, match="costs: given null; allowed: a function that gives"):
        search(SPACE, learn, objectives=OBJECTIVES, constraints={"cost": 6})
    with pytest.raises(SpaceError, match='concurrent: given "auto"; allowed: a whole number'):
        search(SPACE, learn, objectives=OBJECTIVES, concurrent="auto")
    with pytest.raises(SpaceError, match=r"points: allowed: plain values; .*int64"):
        search(SPACE, learn, objectives=OBJECTIVES, points=[{"depth": np.int64(2)}])

"""Trials that end by themselves before their last epoch."""

from automl.records import TrialStatus, Verdict


def until(tell, conductor, config, epochs):
    tell(conductor, config, "costs")
    for epoch in range(1, epochs + 1):
        verdict = tell(conductor, config, "epoch", 10.0 * epoch, epoch=epoch, metrics={"miou": 0.4})
        assert verdict is Verdict.CONTINUE


def ended(tell, conductor, config, epochs):
    until(tell, conductor, config, epochs)
    why = f"stopped early at epoch {epochs} of 9, best 1"
    tell(conductor, config, "end", 99.0, status=TrialStatus.COMPLETED, reason=why)


def test_an_early_end_is_complete_and_keeps_its_reason(start, experiment, tell):
    conductor = start(experiment(train={"epochs": 9}, search={"trials": 1}))
    ended(tell, conductor, conductor.next_trial(), 4)
    (result,) = conductor.results()
    assert (result.status, result.epochs) == (TrialStatus.COMPLETED, 4)
    assert result.reason == "stopped early at epoch 4 of 9, best 1"
    assert conductor.next_trial() is None
    assert conductor.is_over


def test_its_last_scores_count_at_every_later_comparison(start, experiment, tell, monkeypatch):
    """The rungs are after epochs 1 and 3, and the last comparison after 9."""
    of = experiment(train={"epochs": 9}, search={"trials": 1}, objectives={"miou": "maximize"})
    conductor = start(of)
    heard = []
    proposer = conductor._state.proposer
    honest = proposer.observe
    monkeypatch.setattr(
        proposer,
        "observe",
        lambda number, epoch, values: (heard.append(epoch), honest(number, epoch, values)),
    )
    ended(tell, conductor, conductor.next_trial(), 2)
    assert heard == [1, 3, 9]


def test_a_restarted_study_knows_the_same(start, experiment, tell):
    of = experiment(train={"epochs": 9}, search={"trials": 3, "sampler": "tpe"})
    conductor = start(of)
    ended(tell, conductor, conductor.next_trial(), 2)
    following = conductor.next_trial()
    again = start(of)
    assert again.results()[0].reason == "stopped early at epoch 2 of 9, best 1"
    assert again.next_trial().params == following.params

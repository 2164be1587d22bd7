"""What a search asks a growing cluster for."""

import pytest

from automl.space.experiment import Experiment


@pytest.mark.parametrize(
    ("sections", "demand"),
    [
        ({}, [[{"CPU": 1.0}]]),
        ({"search": {"concurrent": 2}}, [[{"CPU": 1.0}]] * 2),
        (
            {"search": {"concurrent": 2}, "train": {"device": "cuda", "workers": 2}},
            [[{"CPU": 1.0, "GPU": 1.0}] * 2] * 2,
        ),
    ],
)
def test_demand_is_that_of_the_trials_at_a_time(sections, demand):
    from automl.distributed.growth import demand_of

    wanted = demand_of(Experiment.from_json({"space": {"alpha": 0.5}, **sections}))
    assert [wanted.group.bundles(1)] * wanted.trials == demand

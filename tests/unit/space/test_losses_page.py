"""The page on losses has every option of the tables, and its examples are experiments."""

import re
from pathlib import Path

import pytest

from automl.space.loading import load_experiment
from automl.space.parameter_table import PARAMETERS
from automl.space.parameter_table.loss import LOSS

PAGE = (Path(__file__).parents[3] / "docs" / "recipes-losses.md").read_text(encoding="utf-8")
NAMES = [*LOSS, "oversample"]
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_on_the_page_with_its_bounds(name):
    limits = PARAMETERS[name]
    told = [line for line in PAGE.splitlines() if f"`{name}: " in line]
    assert told
    if limits.kind == "text":
        assert all(
            any(f"`{name}: {each}`" in line for line in told) or each == "none"
            for each in limits.options
        )
    else:
        assert any(f"to {limits.high:g}" in line for line in told)


def test_the_examples_are_experiments(tmp_path):
    assert len(EXAMPLES) == 2
    for number, example in enumerate(EXAMPLES):
        file = tmp_path / f"{number}.yaml"
        file.write_text("task: segmentation\ndata: {source: builtin:surface-defects}\n" + example)
        assert set(load_experiment(str(file)).space.domains) <= set(NAMES)
    whole = load_experiment(str(tmp_path / "0.yaml")).space.domains
    assert set(whole) == set(NAMES)

"""The page on augmentation tells what the table of transforms says."""

from pathlib import Path

import pytest

from automl.space.parameter_table import PARAMETERS
from automl.space.policies.transforms import TRANSFORMS

PAGE = Path(__file__).parents[3] / "docs" / "augmentation.md"


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_every_transform_is_on_the_page_with_its_settings(kind):
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    first = next(index for index, row in enumerate(rows) if row.startswith(f"| `{kind}` |"))
    for row, (name, setting) in zip(rows[first:], TRANSFORMS[kind].settings.items(), strict=False):
        assert f"| `{name}`: " in row
        assert row.endswith(f"| {setting.full:g} | {setting.limits.high:g} |")


def test_every_policy_is_on_the_page():
    page = PAGE.read_text(encoding="utf-8")
    for name in PARAMETERS["augmentation"].options:
        assert f"| `{name}` |" in page

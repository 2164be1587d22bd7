import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.store.markdown import markdown_table

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\\"))
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=5)
)


def read(line):
    """The cells of a row: what lies between bars that no backslash stands before."""
    start, *cells, end = re.split(r"(?<!\\)\|", line)
    assert (start, end) == ("", "")
    return [cell.strip().replace("\\|", "|") for cell in cells]


def test_a_table_has_a_head_a_rule_and_its_rows():
    assert markdown_table([["a", "b"], ["1", ""], ["2", "3"]]) == [
        "| a | b |",
        "| --- | --- |",
        "| 1 |  |",
        "| 2 | 3 |",
    ]


@given(rows=TABLES)
def test_every_cell_comes_back_with_its_whitespace_made_one_space(rows):
    head, rule, *body = markdown_table(rows)
    assert [read(line) for line in (head, *body)] == [
        [" ".join(cell.split()) for cell in row] for row in rows
    ]
    assert read(rule) == ["---"] * len(rows[0])
    assert all(len(line.splitlines()) == 1 for line in (head, rule, *body))


@pytest.mark.parametrize(("rows", "lengths"), [([], "[]"), ([["a", "b"], ["1"]], "[2, 1]")])
def test_what_is_no_table_is_refused(rows, lengths):
    with pytest.raises(ValueError, match="needs a head and rows of its length") as caught:
        markdown_table(rows)
    assert lengths in str(caught.value)

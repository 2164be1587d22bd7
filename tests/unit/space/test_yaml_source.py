import math

import pytest

from automl.errors import SpaceError
from automl.space.yaml_source import read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E4", 1e4),
        (".5", 0.5),
        ("3.", 3.0),
        ("12", 12),
        ("-3", -3),
        ("010", 10),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("no", "no"),
        ("on", "on"),
        ("none", "none"),
        ("true", True),
        ("False", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("2020-01-01", "2020-01-01"),
        ("30m", "30m"),
        ("'1'", "1"),
    ],
)
def test_scalars_are_read_as_yaml_1_2_has_them(text, value):
    plain = read_yaml(f"key: {text}").plain
    assert plain == {"key": value}
    assert type(plain["key"]) is type(value)


def test_infinities_are_numbers():
    assert read_yaml("a: .inf").plain == {"a": math.inf}


def test_every_key_and_item_knows_its_line():
    source = read_yaml("a:\n  b: 1\n  c:\n    - x\n    - y: 2\n")
    assert source.line(("a",)) == 1
    assert source.line(("a", "c")) == 3
    assert source.line(("a", "c", 1)) == 5
    assert source.line(("a", "c", 1, "y")) == 5


def test_a_key_that_is_not_there_has_the_line_of_the_one_above():
    assert read_yaml("a: 1\nb:\n  c: 2\n").line(("b", "missing", 0)) == 2
    assert read_yaml("a: 1").line(("space",)) == 1


def test_a_key_given_twice_is_a_fault_with_both_lines():
    source = read_yaml("a:\n  b: 1\n  b: 2\n")
    assert [str(fault) for fault in source.faults] == [
        "a.b: this key is given twice, in line 2 and in line 3"
    ]


def test_aliases_are_followed_unless_they_contain_themselves():
    assert read_yaml("a: &x [1]\nb: *x\n").plain == {"a": [1], "b": [1]}
    assert "contain itself" in str(read_yaml("a: &x [*x]").faults[0])


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: [1\nb: 2", 2),
        ("a: 1\n b: 2", 2),
        ("a: *x", 1),
        ("a: !!int x", 1),
        ("a: 1\n---\nb: 2", 2),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(text, line):
    with pytest.raises(SpaceError, match=f"^{line}: not valid YAML"):
        read_yaml(text)


def test_a_python_object_is_not_built():
    with pytest.raises(SpaceError, match="not valid YAML"):
        read_yaml("a: !!python/object/apply:os.getcwd []\nb: !!python/name:os.sep x")

from __future__ import annotations

from pathlib import Path

import pytest

from automl.data.declaration import read_declaration


def declared(root: Path, text: str) -> list[str]:
    (root / "dataset.yaml").write_text(text)
    return [str(fault) for fault in read_declaration(root).faults]


def test_list_and_mapping_of_classes(tmp_path: Path) -> None:
    assert declared(tmp_path, "name: x\nclasses: [a, b]\nignore_index: 7\n") == []
    found = read_declaration(tmp_path)
    assert (found.name, found.labels, found.ignore_index) == ("x", {0: "a", 1: "b"}, 7)
    assert declared(tmp_path, "classes: {255: scratch, 0: ground}") == []
    assert read_declaration(tmp_path).labels == {0: "ground", 255: "scratch"}


def test_words_that_yaml_1_1_takes_for_something_else_are_names(tmp_path: Path) -> None:
    assert declared(tmp_path, "name: 2024\nclasses: [no, yes, off, 1:30, 7]\n") == []
    found = read_declaration(tmp_path)
    assert found.labels == {0: "no", 1: "yes", 2: "off", 3: "1:30", 4: "7"}
    assert found.name == "2024"


def test_without_a_file_the_folder_gives_the_name(tmp_path: Path) -> None:
    found = read_declaration(tmp_path)
    assert (found.name, found.labels, found.faults) == (tmp_path.name, None, ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("clases: [a, b]", "did you mean 'classes'?"),
        ("task: detection", "task must be 'segmentation', got 'detection'"),
        ("classes: [a]", "classes must be 2 to 255, got 1"),
        ("classes: [a, a]", "names of classes must differ, got a"),
        ("classes: [a, 1.5]", "the name of a class must be text of one line, got 1.5"),
        ("classes: [true, b, c]", "the name of a class must be text of one line, got True"),
        ('classes: [a, "b\\nc"]', "the name of a class must be text of one line, got 'b\\nc'"),
        ("classes: [a, ' ']", "the name of a class must be text of one line, got ' '"),
        ("classes: [a, 1, '1']", "names of classes must differ, got 1"),
        ("classes: {0: a, 0: b, 1: c}", "classes.0: this key is given twice, in line 1"),
        ("classes: {0: a, 00: b}", "values in masks are 0 to 65535, got '00'"),
        ("classes: {0: a, 0x1: b}", "values in masks are 0 to 65535, got '0x1'"),
        ("name: a\nname: b", "name: this key is given twice, in line 1 and in line 2"),
        ("name: [x]", "name must be text of one line, got ['x']"),
        ('name: ""', "name must be text of one line, got ''"),
        ("classes: {a: 0, b: 1}", "values in masks are 0 to 65535, got 'a'"),
        ("classes: a, b", "classes must be a list"),
        ("ignore_index: -1", "ignore_index must be a value of masks"),
        ("ignore_index: true", "ignore_index must be a value of masks"),
        ("classes: [a, b]\nignore_index: 1", "ignore_index 1 is also class 'b'"),
        ("[a, b]", "must be a mapping"),
        ("name: x\na: [b", "line 2: not valid YAML"),
    ],
)
def test_faults_name_the_file_and_what_is_allowed(tmp_path: Path, text: str, told: str) -> None:
    (fault,) = declared(tmp_path, text)
    assert told in fault
    assert fault.startswith(str(tmp_path / "dataset.yaml"))


def test_all_faults_are_told_together(tmp_path: Path) -> None:
    assert len(declared(tmp_path, "clases: []\ntask: x\nclasses: [a]\nignore_index: x\n")) == 4

from pathlib import Path

import pytest

from automl.bundle.inputs import find_inputs
from automl.errors import UsageError


@pytest.fixture
def tree(tmp_path):
    names = [
        "b.jpg",
        "a.PNG",
        "notes.txt",
        "film.mp4",
        "deep/c.tif",
        "deep/deeper/d.jpeg",
        "x/b.jpg",
    ]
    for name in names:
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "tree"


def stems(inputs):
    return [str(each.stem) for each in inputs]


def test_a_folder_gives_its_images_and_videos_in_the_order_of_their_names(tree):
    found = find_inputs([str(tree)], recursive=False)
    assert stems(found) == ["a", "b", "film"]
    assert [each.is_video for each in found] == [False, False, True]


def test_folders_below_keep_their_place(tree):
    found = find_inputs([str(tree)], recursive=True)
    assert stems(found) == ["a", "b", "film", "deep/c", "deep/deeper/d", "x/b"]


def test_files_and_patterns_are_taken_by_their_names_and_once(tree):
    given = [str(tree / "notes.txt"), str(tree / "*.jpg"), str(tree / "**" / "d.*"), str(tree)]
    assert stems(find_inputs(given, recursive=False)) == ["notes", "b", "d", "a", "film"]


def test_a_name_with_brackets_is_a_name_where_it_exists(tree):
    (tree / "e[1].jpg").touch()
    assert stems(find_inputs([str(tree / "e[1].jpg")], recursive=False)) == ["e[1]"]


def test_a_file_that_is_not_there_is_told_when_it_is_read():
    assert find_inputs(["none.jpg"], recursive=False)[0].path == Path("none.jpg")


def test_nothing_found_is_told_with_what_to_do(tree):
    (tree / "empty" / "below").mkdir(parents=True)
    with pytest.raises(UsageError, match="no image or video in this folder; --recursive looks"):
        find_inputs([str(tree / "empty")], recursive=False)
    with pytest.raises(UsageError, match=r"no image or video in this folder$"):
        find_inputs([str(tree / "empty")], recursive=True)
    with pytest.raises(UsageError, match="no file has a name of this pattern"):
        find_inputs([str(tree / "*.gif")], recursive=False)


def test_two_inputs_of_one_place_are_refused(tree):
    (tree / "b.png").touch()
    with pytest.raises(UsageError, match=r"b\.jpg and .*b\.png would both be b in --out"):
        find_inputs([str(tree)], recursive=False)
    with pytest.raises(UsageError, match="would both be b"):
        find_inputs([str(tree / "b.jpg"), str(tree / "x" / "b.jpg")], recursive=False)

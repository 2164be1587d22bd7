import copy
import json

import jsonschema
import pytest

from automl.errors import SpaceError
from automl.space.experiment import Experiment
from automl.space.loading import (
    Overrides,
    find_space,
    json_schema,
    load_experiment,
    shipped_spaces,
)
from automl.space.parameters import parameters_from
from automl.space.yaml_source import read_yaml

SHIPPED = ["lightweight", "quickstart", "unet_resnet50"]


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "my.yaml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write_text


def faults(path, overrides=None):
    with pytest.raises(SpaceError) as caught:
        load_experiment(path, overrides)
    return str(caught.value).splitlines()


def test_a_file_is_read(write):
    experiment = load_experiment(write("space:\n  learning_rate: 1e-3\n  decoder: unet\n"))
    assert experiment.space.default() == {"learning_rate": 1e-3, "decoder": "unet"}


def test_every_fault_has_file_line_key_value_limits_and_spelling(write):
    path = write(
        "data:\n"
        "  size: [96, 100]\n"
        "space:\n"
        "  encodr: resnet18\n"
        "  decoder: {choice: [fpn,\n"
        "                     unett]}\n"
        "  pretrained: yes\n"
        "  gamma: {float: [0, 1e-4], log: true}\n"
        "search:\n"
        "  trials: 3\n"
        "  trials: 4\n"
        "  points:\n"
        "    - {decoder: fpn}\n"
        "    - alpha: 0.5\n"
        "trian: {}\n"
    )
    lines = faults(path)
    expected = [
        "2: data.size[1]: given 100; allowed: a multiple of 32",
        "4: space.encodr: unknown key; allowed: encoder, ",
        '6: space.decoder.choice[1]: given "unett"; allowed: one of fpn_lite, fpn, unet, ',
        '7: space.pretrained: given "yes"; allowed: true, false, or the path',
        "8: space.gamma: log needs low > 0, given [0.0, 0.0001]",
        "10: search.trials: this key is given twice, in line 10 and in line 11",
        "15: trian: unknown key; allowed: task, data, ",
    ]
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(f"{path}:{start}")
    assert lines[1].endswith("did you mean encoder?")
    assert lines[2].endswith("did you mean unet?")
    assert lines[6].endswith("did you mean train?")


def test_faults_in_points_are_found_beside_other_faults(write):
    lines = faults(
        write("space:\n  decoder: fpn\nsearch:\n  eta: 0\n  points:\n    - decodr: fpn\n")
    )
    assert [line.split(":")[1] for line in lines] == ["4", "6"]


def test_overrides_replace_what_the_file_says(write):
    path = write("space: {decoder: fpn}\nsearch: {trials: 3, seed: 1}\n")
    overrides = Overrides(
        trials=5, epochs=2, time_budget="10m", data="elsewhere", seed=7, workers=2
    )
    experiment = load_experiment(path, overrides)
    assert (experiment.search.trials, experiment.search.seed) == (5, 7)
    assert (experiment.train.epochs, experiment.train.workers) == (2, 2)
    assert experiment.search.time_budget_s == 600
    assert experiment.data.source == "elsewhere"
    assert load_experiment(path).search.seed == 1


def test_a_fault_in_an_override_names_the_option(write):
    path = write("space: {decoder: fpn}\n")
    lines = faults(path, Overrides(trials=0, workers=-1, time_budget="soon"))
    assert lines[0].startswith("--trials (search.trials): given 0; allowed: >= 1")
    assert lines[1].startswith("--time-budget (search.time_budget): given")
    assert lines[2].startswith("--workers-per-trial (train.workers): given -1")


def test_a_section_with_all_lines_commented_out_has_its_defaults(write):
    experiment = load_experiment(write("space: {decoder: fpn}\nsearch:\n  # trials: 3\nexport:\n"))
    assert experiment.search.trials == 12


@pytest.mark.parametrize("text", ["", "# nothing\n", "- a\n", "text"])
def test_a_file_without_a_mapping_is_refused(write, text):
    assert "an experiment is a mapping" in faults(write(text))[0]


def test_a_file_that_is_no_yaml_is_refused_with_its_line(write):
    path = write("space: {decoder: fpn\nsearch: 3\n")
    assert faults(path)[0].startswith(f"{path}:2: not valid YAML: ")


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "my.yaml"
    path.write_bytes(b"\xff\xfe\x00space")
    assert "cannot be read" in faults(str(path))[0]


def test_shipped_spaces_are_found_by_name_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert list(shipped_spaces()) == SHIPPED
    for name in SHIPPED:
        assert find_space(name) == find_space(f"{name}.yaml")
    (tmp_path / "quickstart.yaml").write_text("space: {decoder: unet}", encoding="utf-8")
    assert load_experiment("quickstart.yaml").space.default() == {"decoder": "unet"}


def test_an_unknown_name_lists_the_shipped_ones_and_the_nearest():
    with pytest.raises(SpaceError) as caught:
        find_space("lightwieght.yaml")
    assert "shipped: lightweight, quickstart, unet_resnet50" in str(caught.value)
    assert "did you mean lightweight?" in str(caught.value)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_space_loads_and_its_default_is_a_full_configuration(name):
    experiment = load_experiment(name)
    params = parameters_from(experiment.space.default())
    assert params.pretrained is False
    assert Experiment.from_json(experiment.to_json()) == experiment


@pytest.mark.parametrize("name", SHIPPED)
def test_an_expanded_experiment_is_itself_a_valid_file(name, write):
    experiment = load_experiment(name)
    assert load_experiment(write(json.dumps(experiment.to_json(), indent=2))) == experiment


def test_the_schema_is_a_valid_schema():
    jsonschema.Draft202012Validator.check_schema(json_schema())


def test_the_schema_says_once_what_a_condition_is():
    assert json.dumps(json_schema()).count("exists only where each parent") == 1


@pytest.mark.parametrize("name", SHIPPED)
def test_the_schema_accepts_the_shipped_files(name):
    source = read_yaml(find_space(name).read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator(json_schema()).validate(source.plain)


@pytest.mark.parametrize(
    "change",
    [
        lambda plain: plain.update(srch={}),
        lambda plain: plain["space"].update(encodr="a"),
        lambda plain: plain["space"].update(decoder={"choise": ["fpn"]}),
        lambda plain: plain["space"].update(decoder="fpnn"),
        lambda plain: plain["space"].update(decoder={"choice": ["fpnn"]}),
        lambda plain: plain["space"].update(decoder_width=20),
        lambda plain: plain["space"].update(alpha={"float": [0, 2]}),
        lambda plain: plain["space"].update(alpha={"int": [0, 1]}),
        lambda plain: plain["space"].update(alpha={"float": [0, 1], "whem": {}}),
        lambda plain: plain["space"].update(alpha={"float": [0, 1], "when": {"decodr": "fpn"}}),
        lambda plain: plain["search"].update(trial=3),
        lambda plain: plain["search"].update(sampler="tpee"),
        lambda plain: plain["search"].update(concurrent="many"),
        lambda plain: plain["search"].update(points=[{"encodr": "a"}]),
        lambda plain: plain["objectives"].update(iou="maximize"),
        lambda plain: plain["constraints"].update(latency=3),
        lambda plain: plain["compress"].update(students=[{"ratio": 0.5}]),
        lambda plain: plain["train"].update(epochs="12"),
        lambda plain: plain["data"].update(size=[96, 97]),
        lambda plain: plain.pop("space"),
    ],
)
def test_the_schema_rejects_what_the_parser_rejects(change):
    plain = read_yaml(find_space("quickstart").read_text(encoding="utf-8")).plain
    changed = copy.deepcopy(plain)
    change(changed)
    assert not jsonschema.Draft202012Validator(json_schema()).is_valid(changed)
    with pytest.raises(SpaceError):
        Experiment.from_json(changed)

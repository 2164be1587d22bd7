import json
import pickle

import pytest
from pydantic import ValidationError

from automl.errors import SpaceError
from automl.fidelity import FULL, Fidelity, Stretch
from automl.measurement.proxies import PROXIES
from automl.records import Objective, short_hash
from automl.space.experiment import Experiment, shaping
from automl.space.faults import FaultsError
from automl.space.fields import seconds_of
from automl.space.loading import json_schema
from automl.space.screening import PROXY_NAMES
from automl.space.training import TRAIN_BEFORE

LEARNING_RATE = {"float": [1e-4, 1e-2]}
SPACE = {"decoder": {"choice": ["fpn", "unet"]}, "learning_rate": LEARNING_RATE}


def experiment(**sections):
    return Experiment.from_json({"space": SPACE, **sections})


def faults_of(**sections):
    with pytest.raises(FaultsError) as caught:
        experiment(**sections)
    return [str(fault) for fault in caught.value.faults]


def test_a_space_alone_is_an_experiment_with_sound_defaults():
    plain = experiment()
    assert plain.objectives == (
        Objective(metric="miou", direction="maximize"),
        Objective(metric="latency_ms", direction="minimize"),
    )
    assert plain.search.trials == plain.train.epochs == 12
    assert plain.search.time_budget_s is None
    assert plain.constraints == {}


def test_an_experiment_survives_json_and_pickling():
    given = experiment(
        constraints={"latency_ms": 30},
        search={"points": [{"decoder": "unet"}], "time_budget": "30m", "concurrent": 2},
        compress={"students": [{"decoder_width_factor": 0.5}], "learning_rate": 1e-3},
        data={"size": [96, 128]},
        objectives={"dice": "maximize", "size_mb": "minimize", "macs_g": "minimize"},
    )
    again = Experiment.from_json(json.loads(json.dumps(given.to_json())))
    assert again == given
    assert again.key() == given.key()
    assert [o.metric for o in again.objectives] == ["dice", "size_mb", "macs_g"]
    assert again.data.size == (96, 128)
    assert pickle.loads(pickle.dumps(given)) == given


def test_a_pre_screen_is_off_or_has_settings_and_survives_json():
    assert experiment(search={"screen": "off"}).search.screen is None
    given = experiment(search={"screen": {"pool": 9, "keep": 9}})
    assert (given.search.screen.pool, given.search.screen.keep) == (9, 9)
    for screen in ("off", {"pool": 8, "keep": 2, "proxy": "params"}):
        whole = experiment(search={"screen": screen})
        assert whole.to_json()["search"]["screen"] == screen
        assert Experiment.from_json(whole.to_json()) == whole
    kinds = json_schema()["$defs"]["SearchSettings"]["properties"]["screen"]
    assert kinds["anyOf"][0] == {"const": "off"}
    assert kinds["default"] == "off"


def test_every_proxy_can_be_declared():
    assert tuple(PROXIES) == PROXY_NAMES


def test_an_experiment_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        experiment().search.trials = 3


@pytest.mark.parametrize(
    "section",
    [
        {"search": {"seed": 1}},
        {"search": {"points": [{"decoder": "unet"}]}},
        {"search": {"screen": {}}},
        {"search": {"fidelity": {"data_share": [0.2, 0.5, 0.5, 1]}}},
        {"search": {"fidelity": {"size": [0.5, 0.5, 0.5, 1]}}},
        {"train": {"inherit": True}},
        {"space": {"decoder": "unet"}},
        {"train": {"epochs": 3}},
        {"train": {"workers": 2}},
        {"train": {"precision": "fastest"}},
        {"train": {"compile": True}},
        {"train": {"deterministic": True}},
        {"data": {"size": [64, 64]}},
        {"constraints": {"size_mb": 3}},
        {"compress": {"int8": False}},
        {"compress": {"int8": {"max_drop": 0.01}}},
        {"target": {"threads": 2}},
        {"data": {"resize": "letterbox"}},
        {"objectives": {"dice": "maximize"}},
    ],
)
def test_the_key_follows_what_shapes_results(section):
    assert Experiment.from_json({"space": SPACE, **section}).key() != experiment().key()


@pytest.mark.parametrize(
    "section",
    [
        {"search": {"trials": 50, "time_budget": "2h", "concurrent": 4, "max_failures": 3}},
        {"export": {"golden_samples": 1, "finalist_seeds": 3}},
        {"export": {"tta": {"scales": [0.75, 1, 1.25], "flip": True}}},
        {"data": {"source": "elsewhere"}},
        {"train": {"loader_workers": 3}},
        {"train": {"placement": "strict_spread", "gpu_share": 1}},
        {"train": {"gpu_share": "auto"}},
        {"train": {"loader_workers": "fastest"}},
    ],
)
def test_the_key_ignores_how_much_is_searched_what_is_exported_and_where_the_data_lies(section):
    assert experiment(**section).key() == experiment().key()


@pytest.mark.parametrize(
    ("tta", "told"),
    [
        ({}, 'export.tta: given {"scales": [1.0], "flip": false}; allowed: other scales than 1'),
        ({"scales": [1, 9]}, "export.tta.scales: given [1.0, 9.0]; allowed: different numbers"),
        ({"scales": [1, 1]}, "export.tta.scales: given [1.0, 1.0]; allowed: different numbers"),
        ({"scales": []}, "export.tta.scales: given []; allowed: different numbers from 0.25 to 4"),
        ({"flip": "yes"}, "export.tta.flip: given"),
        ({"mirror": True}, "export.tta.mirror"),
    ],
)
def test_views_that_cannot_be_are_told(tta, told):
    with pytest.raises(SpaceError) as caught:
        experiment(export={"tta": tta})
    assert str(caught.value).startswith(told)


def test_settings_that_were_added_later_leave_the_keys_of_earlier_studies():
    plain = experiment().to_json()
    for name, before in TRAIN_BEFORE.items():
        assert plain["train"].pop(name) == before
    assert plain.pop("augmentation_policies") == {}
    assert plain["data"].pop("resize") == "stretch"
    del plain["data"]["source"], plain["export"], plain["train"]["loader_workers"]
    del plain["train"]["placement"], plain["train"]["gpu_share"]
    plain["search"] = shaping(plain["search"])
    assert experiment().key() == short_hash(plain)
    stopping = experiment(train={"early_stop": {"patience": 2}})
    assert stopping.key() != experiment().key()


@pytest.mark.parametrize(
    ("sections", "expected"),
    [
        ({"data": {"size": [96, 97]}}, ["data.size[1]: given 97; allowed: a multiple of 32"]),
        ({"data": {"size": [0, 96]}}, ["data.size[0]: given 0; allowed: >= 32"]),
        ({"data": {"size": [96]}}, ["data.size[1]: missing, and it has no default"]),
        ({"train": {"epochs": "3"}}, ['train.epochs: given "3"; allowed: a whole number']),
        (
            {"train": {"clip_norm": float("nan")}},
            ["train.clip_norm: given NaN; allowed: a number > 0, or none"],
        ),
        (
            {"train": {"clip_norm": "nono"}},
            ['train.clip_norm: given "nono"; allowed: a number > 0, or none; did you mean none?'],
        ),
        ({"train": {"clip_norm": 0}}, ["train.clip_norm: given 0; allowed: a number > 0, or none"]),
        ({"train": {"clip_norm": True}}, ["train.clip_norm: given true; allowed: a number > 0"]),
        ({"train": {"epochs": True}}, ["train.epochs: given true; allowed: a whole number"]),
        (
            {"train": {"loader_workers": -1}},
            ["train.loader_workers: given -1; allowed: auto, fastest, or a whole number >= 0"],
        ),
        (
            {"train": {"gpu_share": 0.3}},
            ["train.gpu_share: given 0.3; allowed: auto, 1, 0.5, 0.33 or 0.25"],
        ),
        (
            {"train": {"gpu_share": "aut"}},
            [
                (
                    'train.gpu_share: given "aut"; allowed: auto, 1, 0.5, 0.33 or 0.25; '
                    "did you mean auto?"
                )
            ],
        ),
        (
            {"train": {"gpu_share": 0.5, "workers": 2}},
            [
                (
                    "train.gpu_share: given 0.5; allowed: 1 where train.workers is 2 or more, "
                    "since NCCL takes one process a GPU"
                )
            ],
        ),
        (
            {"train": {"placement": "strict-pack"}},
            ['train.placement: given "strict-pack"; allowed: '],
        ),
        (
            {"train": {"loader_workers": "fasted"}},
            ['train.loader_workers: given "fasted"; allowed: auto, fastest, or a whole number'],
        ),
        ({"search": {"eta": 1}}, ["search.eta: given 1; allowed: >= 2"]),
        (
            {"train": {"early_stop": {"patience": 0}}},
            ["train.early_stop.patience: given 0; allowed: >= 1"],
        ),
        ({"train": {"early_stop": {}}}, ["train.early_stop.patience: missing"]),
        ({"train": {"early_stop": 5}}, ["train.early_stop: given 5; allowed: "]),
        (
            {"search": {"sampler": "tpe2"}},
            ["search.sampler: given", "one of auto, tpe, nsga2, nsga3, gp, random, qmc"],
        ),
        ({"search": {"concurrent": 0}}, ["search.concurrent: given 0; allowed: auto, or"]),
        ({"search": {"time_budget": "soon"}}, ['time_budget: given "soon"; allowed: a time such']),
        ({"compress": {"int8": "on"}}, ['compress.int8: given "on"; allowed: true, false, or a']),
        (
            {"compress": {"int8": {"min_speedup": 0.9}}},
            ["compress.int8.min_speedup: given 0.9; al"],
        ),
        (
            {"compress": {"int8": {"max_drop": -1}}},
            ["compress.int8.max_drop: given -1; allowed: >="],
        ),
        (
            {"compress": {"int8": {"rungs": []}}},
            ["compress.int8.rungs: given []; allowed: one or m"],
        ),
        (
            {"compress": {"int8": {"rungs": ["qat", "qat"]}}},
            ["compress.int8.rungs: given", "each once"],
        ),
        ({"compress": {"int8": {"max_drp": 0.1}}}, ["compress.int8.max_drp: unknown", "max_drop?"]),
        ({"search": {"screen": "on"}}, ['search.screen: given "on"; allowed: off, or a mapping']),
        ({"search": {"screen": None}}, ["search.screen: given null; allowed: off, or a mapping"]),
        ({"search": {"screen": {"pool": 3}}}, ["search.screen.keep: given 4; allowed: <= 3, the"]),
        ({"search": {"screen": {"keep": 0}}}, ["search.screen.keep: given 0; allowed: >= 1"]),
        ({"search": {"screen": {"poool": 9}}}, ["search.screen.poool: unknown", "mean pool?"]),
        (
            {"search": {"screen": {"proxy": "naswt"}}},
            ["search.screen.proxy: given", "allowed: one of naswot, synflow", "mean naswot?"],
        ),
        (
            {"search": {"fidelity": {"data_share": [0.5, 1]}}},
            [
                "search.fidelity.data_share: given [0.5, 1.0]; allowed: 4 values",
                "4 values: one for each of 3 rungs (after epoch 1, 3, 9), the last to the end",
            ],
        ),
        (
            {"search": {"fidelity": {"size": [1]}}, "train": {"epochs": 3}},
            ["search.fidelity.size: given", "2 values: one for each of 1 rung (after epoch 1)"],
        ),
        (
            {"search": {"fidelity": {"size": [0.5, 1]}}, "train": {"epochs": 1}},
            ["search.fidelity.size: given", "allowed: 1 value: there is no rung in 1 epochs"],
        ),
        (
            {"search": {"fidelity": {"size": [0.5, 0.25, 1, 1]}}},
            ["search.fidelity.size: given", "shares above 0 that do not fall, the last one 1"],
        ),
        (
            {"search": {"fidelity": {"data_share": [0.5, 0.5, 0.5, 0.9]}}},
            ["search.fidelity.data_share: given", "the last one 1"],
        ),
        ({"search": {"fidelity": {"size": []}}}, ["fidelity.size: given []", "the last one 1"]),
        (
            {"search": {"fidelity": {"size": [0, 0.5, 0.5, 1]}}},
            ["search.fidelity.size[0]: given 0; allowed: > 0"],
        ),
        ({"search": {"fidelity": {"size": 0.5}}}, ["fidelity.size: given 0.5; allowed: a list"]),
        (
            {"search": {"fidelity": {"datashare": [1]}}},
            ["search.fidelity.datashare: unknown key", "did you mean data_share?"],
        ),
        ({"search": {"points": {}}}, ["search.points: given {}; allowed: a list of mappings"]),
        ({"search": {"points": [{}]}}, ["search.points[0]: given {}; allowed: a mapping"]),
        (
            {"search": {"points": [{"decoder": ["unet"]}]}},
            ['search.points[0].decoder: given ["unet"]; allowed: a plain value'],
        ),
        (
            {"search": {"points": [{"decoder": "unet"}, {"decoder": "unett"}]}},
            ["search.points[1].decoder", "did you mean unet?"],
        ),
        ({"constraints": {"latency": 3}}, ["constraints.latency: unknown", "mean latency_ms?"]),
        ({"constraints": {"size_mb": 0}}, ["constraints.size_mb: given 0; allowed: a number > 0"]),
        ({"constraints": []}, ["constraints: given []; allowed: a mapping"]),
        ({"objectives": {"miou": "minimize"}}, ['objectives.miou: given "minimize"', "maximize"]),
        ({"objectives": {"iou": "maximize"}}, ["objectives.iou: unknown key", "mean miou?"]),
        ({"objectives": {"size_mb": "minimize"}}, ["objectives: given", "pixel_accuracy first"]),
        (
            {"objectives": {"size_mb": "minimize", "miou": "maximize"}},
            ["objectives: given", "pixel_accuracy first"],
        ),
        (
            {"objectives": {"dice": "maximize", "miou": "maximize"}},
            ["objectives: given", "then any of latency_ms"],
        ),
        ({"compress": {"students": [{"ratio": 1}]}}, ["compress.students[0].ratio: unknown key"]),
        ({"compress": {"students": [{"pruning_ratio": 1}]}}, ["given 1; allowed: <= 0.9"]),
        ({"target": {"batch": 2}}, ["target.batch: given 2; allowed: 1"]),
        (
            {"srch": {}},
            [
                "srch: unknown key; allowed: task, data, augmentation_policies, space",
                "did you mean search?",
            ],
        ),
        ({"train": {"epoch": 3}}, ["train.epoch: unknown key", "did you mean epochs?"]),
        ({"space": {}}, ["space: given {}; allowed: a mapping"]),
    ],
)
def test_a_fault_names_its_key_the_value_and_what_is_allowed(sections, expected):
    (fault,) = faults_of(**sections)
    for part in expected:
        assert part in fault


def test_faults_of_all_sections_come_together_points_included():
    paths = [
        fault.partition(":")[0]
        for fault in faults_of(
            search={"trials": 0, "points": [{"decodr": "unet"}]},
            train={"epochs": 0},
            space={**SPACE, "batch_size": 8},
            export={"bundle": "best"},
        )
    ]
    assert sorted(paths) == [
        "export.bundle",
        "search.points[0].decodr",
        "search.trials",
        "train.epochs",
    ]


def test_a_fidelity_of_the_wrong_length_is_told_with_other_faults():
    faults = faults_of(search={"trials": 0, "eta": 2, "fidelity": {"size": [1]}})
    assert [fault.partition(":")[0] for fault in faults] == [
        "search.trials",
        "search.fidelity.size",
    ]
    assert "one for each of 4 rungs (after epoch 1, 2, 4, 8)" in faults[1]
    # How many rungs there are is not known here.
    faults = faults_of(search={"fidelity": {"size": [1]}}, train={"epochs": 0})
    assert [fault.partition(":")[0] for fault in faults] == ["train.epochs"]


def test_the_stretches_of_a_trial_end_at_its_rungs():
    of = experiment(
        search={"seed": 9, "min_epochs": 2, "fidelity": {"data_share": [0.25, 0.5, 1]}},
        train={"epochs": 12},
    )
    assert of.fidelity == Fidelity(
        stretches=(
            Stretch(last_epoch=2, data_share=0.25),
            Stretch(last_epoch=6, data_share=0.5),
            Stretch(last_epoch=12),
        ),
        seed=9,
    )
    assert Experiment.from_json(of.to_json()) == of
    assert experiment(search={"seed": 9}).fidelity == FULL


def test_faults_inside_the_space_keep_their_own_paths():
    faults = faults_of(space={"decodr": "fpn", "gamma": {"float": [0, 9]}})
    assert [fault.partition(":")[0] for fault in faults] == ["space.decodr", "space.gamma.float[1]"]


def test_a_missing_space_is_a_space_error():
    with pytest.raises(SpaceError, match="space: missing"):
        Experiment.from_json({})


@pytest.mark.parametrize(
    ("budget", "seconds"),
    [
        ("30m", 1800),
        ("2h", 7200),
        ("1h30m", 5400),
        ("90s", 90),
        ("1.5h", 5400),
        (45, 45),
        (0.5, 0.5),
    ],
)
def test_a_time_budget_is_read_in_seconds(budget, seconds):
    assert seconds_of(budget) == seconds
    assert experiment(search={"time_budget": budget}).search.time_budget_s == seconds


@pytest.mark.parametrize("budget", ["", "0m", "m", "30", "30 minutes", "30m2h", 0, -1, True])
def test_what_is_no_time_budget_is_refused(budget):
    with pytest.raises(ValueError, match="allowed: a time such as"):
        seconds_of(budget)


def test_a_study_of_before_there_were_settings_for_speed_goes_on():
    """The key is what it was before them, and a declaration without them is read."""
    then = {"channel_weight": 1.0}  # the default of then
    plain = Experiment.from_json({"space": {"encoder": "resnet18"}, "compress": then}).to_json()
    for name in ("compile", "deterministic", "loader_workers"):
        del plain["train"][name]
    assert Experiment.from_json(plain).key() == "3ca6040edc"


@pytest.mark.parametrize("workers", ["auto", "fastest", 0, 7])
def test_loader_workers_survive_json_and_are_in_the_schema(workers):
    given = experiment(train={"loader_workers": workers})
    assert given.train.loader_workers == workers
    assert Experiment.from_json(given.to_json()) == given
    schema = json_schema()["$defs"]["TrainSettings"]["properties"]["loader_workers"]
    assert schema["anyOf"] == [{"enum": ["auto", "fastest"]}, {"type": "integer", "minimum": 0}]


def test_int8_is_a_switch_or_its_gates_and_the_switch_keeps_its_short_form():
    assert experiment(compress={"int8": False}).compress.int8 is None
    defaults = experiment(compress={"int8": True})
    assert defaults.compress.int8.rungs is None
    assert defaults.compress.int8.rungs_in("onnxruntime")[0] == "per_channel"
    spelt_out = ["per_channel", "entropy", "percentile", "mixed"]
    assert experiment(compress={"int8": {"rungs": spelt_out}}).key() == defaults.key()
    assert defaults.to_json()["compress"]["int8"] is True
    assert defaults.key() == experiment(compress={"int8": {}}).key() == experiment().key()
    given = experiment(compress={"int8": {"max_drop": 0.01, "rungs": ["per_tensor", "qat"]}})
    again = Experiment.from_json(given.to_json())
    assert again == given
    assert again.compress.int8.rungs == ("per_tensor", "qat")
    kinds = json_schema()["$defs"]["CompressSettings"]["properties"]["int8"]
    assert {"type": "boolean"} in kinds["anyOf"]


@pytest.mark.parametrize(
    ("compress", "key"),
    [
        ({}, "c0f05b8ce6"),
        ({"int8": False}, "8afb837551"),
        ({"int8": {"max_drop": 1}}, "9f15b8c154"),
        ({"int8": {"rungs": ["qat"]}}, "aa099cc629"),
    ],
)
def test_studies_from_before_rungs_and_resizes_had_a_choice_keep_their_keys(compress, key):
    space = {"encoder": "resnet18", "decoder_width": {"choice": [16, 24]}}
    compress = {"channel_weight": 1.0, **compress}  # the default of then
    assert Experiment.from_json({"space": space, "compress": compress}).key() == key


def test_a_study_in_another_runtime_is_another_study_with_its_own_rungs():
    target = {"runtime": "openvino"}
    given = experiment(target=target)
    assert given.key() != experiment().key()
    assert given.compress.int8.rungs_in("openvino")[:2] == ("per_channel", "nncf")
    assert Experiment.from_json(given.to_json()) == given
    named = experiment(target=target, compress={"int8": {"rungs": ["nncf"]}})
    assert named.compress.int8.rungs_in("openvino") == ("nncf",)


def test_forms_of_openvino_go_with_openvino_alone():
    (fault,) = faults_of(compress={"int8": {"rungs": ["per_channel", "nncf"]}})
    assert fault.startswith('compress.int8.rungs: given ["per_channel", "nncf"]; allowed: rungs of')
    assert "target: {runtime: openvino}" in fault
    (fault,) = faults_of(target={"runtime": "opnvino"})
    assert 'target.runtime: given "opnvino"' in fault
    assert "openvino" in fault

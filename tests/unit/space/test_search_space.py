import itertools
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from automl.errors import SpaceError
from automl.space.domains import Choice, FloatRange, IntRange
from automl.space.forms import parse_space
from automl.space.parameters import parameters_from
from automl.space.search_space import SearchSpace, point_faults

NESTED = SearchSpace(
    domains={
        # Declared before its parent: order must not matter.
        "gamma": Choice(options=(0.0, 1.0, 2.0), when={"decoder_width": (64,)}),
        "decoder": Choice(options=("fpn", "fpn_lite", "unet")),
        "decoder_width": Choice(options=(32, 64), when={"decoder": ("fpn", "fpn_lite")}),
        "optimizer": Choice(options=("adamw", "sgd")),
    }
)


def brute_force(space):
    """All different configurations, from the definition of a condition."""
    names = list(space.domains)
    seen = set()
    for values in itertools.product(*(space.domains[name].options for name in names)):
        params = dict(zip(names, values, strict=True))
        active = {n: v for n, v in params.items() if space.is_active(n, params)}
        seen.add(tuple(active.items()))
    return seen


def test_size_counts_configurations_under_nested_conditions():
    # unet: 1; fpn and fpn_lite: width 32, or width 64 with 3 gammas; each with 2 optimizers.
    assert NESTED.size == (1 + 2 * (1 + 3)) * 2 == len(brute_force(NESTED))
    assert NESTED.describe() == "18 configurations"


def test_assigning_every_choice_reaches_exactly_the_active_configurations():
    reached = set()
    for digits in itertools.product(range(3), repeat=4):
        choose = dict(zip(NESTED.domains, digits, strict=True))

        def pick(name, domain, choose=choose):
            return domain.options[choose[name] % len(domain.options)]

        reached.add(tuple(NESTED.assign(pick).items()))
    assert reached == brute_force(NESTED)


@st.composite
def spaces(draw):
    names = ["decoder", "augmentation", "class_weights", "optimizer"]
    options = {
        "decoder": ("fpn_lite", "fpn", "unet"),
        "augmentation": ("none", "light"),
        "class_weights": ("none", "balanced"),
        "optimizer": ("adamw", "sgd"),
    }
    domains = {}
    for index, name in enumerate(draw(st.permutations(names))):
        when = {}
        if index and draw(st.booleans()):
            parent = draw(st.sampled_from(list(domains)))
            when = {parent: tuple(draw(st.sets(st.sampled_from(options[parent]), min_size=1)))}
        domains[name] = Choice(options=options[name], when=when)
    order = draw(st.permutations(names))
    return SearchSpace(domains={name: domains[name] for name in order})


@given(space=spaces())
def test_size_equals_the_count_of_all_different_configurations(space):
    assert space.size == len(brute_force(space))


@given(space=spaces())
def test_a_configuration_holds_the_active_parameters_in_order_of_declaration(space):
    params = space.default()
    assert list(params) == [n for n in space.domains if space.is_active(n, params)]
    assert space.restrict(params) == params


def test_describe_counts_dimensions_of_a_continuous_space():
    space = SearchSpace(
        domains={
            "encoder": Choice(options=("a",)),
            "decoder": Choice(options=("fpn", "unet")),
            "decoder_width": IntRange(low=16, high=64, step=8),
            "learning_rate": FloatRange(low=1e-4, high=1e-2, log=True),
        }
    )
    assert space.size is None
    assert space.describe() == "1 continuous and 2 discrete parameters"
    assert SearchSpace(domains={"encoder": Choice(options=("a",))}).describe() == "1 configuration"


def test_a_point_is_completed_with_defaults_and_its_inactive_names_left_out():
    assert NESTED.complete({"decoder_width": 64}) == {
        "gamma": 0.0,
        "decoder": "fpn",
        "decoder_width": 64,
        "optimizer": "adamw",
    }
    assert NESTED.complete({"decoder": "unet"}) == {"decoder": "unet", "optimizer": "adamw"}


def test_restricting_full_parameters_forgets_inactive_and_foreign_values():
    full = {
        "decoder": "unet",
        "decoder_width": 64,
        "gamma": 1.0,
        "optimizer": "rmsprop",
        "alpha": 1,
    }
    assert NESTED.restrict(full) == {"decoder": "unet"}


def test_point_faults_name_what_is_unknown_out_of_domain_or_inactive():
    point = {"decodr": "fpn", "optimizer": "sdg", "decoder": "unet", "decoder_width": 64}
    texts = [str(fault) for fault in point_faults(NESTED, point)]
    assert len(texts) == 3
    assert texts[0].startswith("decodr: unknown key")
    assert texts[0].endswith("did you mean decoder?")
    assert texts[1] == 'optimizer: given "sdg"; allowed: one of adamw, sgd; did you mean sgd?'
    assert texts[2] == "decoder_width: given 64, but its condition does not hold here"


@pytest.mark.parametrize(
    ("domains", "message"),
    [
        ({"encodr": Choice(options=("a",))}, "encodr: unknown key.*did you mean encoder"),
        ({"decoder": Choice(options=("fpn", "unett"))}, r"decoder.choice\[1\].*mean unet"),
        ({"decoder_width": IntRange(low=16, high=64)}, "step: given 1; allowed: a multiple of 8"),
        ({"decoder_width": IntRange(low=8, high=64, step=8)}, r"decoder_width.int\[0\]: given 8"),
        ({"gamma": IntRange(low=0, high=2)}, "gamma.int: this parameter takes float"),
        ({"accumulate": FloatRange(low=1.0, high=2.0)}, "accumulate.float: .* takes int or choice"),
        ({"accumulate": IntRange(low=0, high=2)}, r"accumulate.int\[0\]: given 0; .* number >= 1"),
        ({"warmup_epochs": IntRange(low=-1, high=2)}, r"warmup_epochs.int\[0\]: given -1"),
        (
            {"clip_norm": Choice(options=("nine", 0.5))},
            r"clip_norm.choice\[0\]: given .nine.; allowed: a number > 0, or none; did you mean",
        ),
        ({"clip_norm": FloatRange(low=0.0, high=1.0)}, r"clip_norm.float\[0\]: given 0.0"),
        ({"clip_norm": Choice(options=(0.0,))}, "clip_norm: given 0.0; allowed: a number > 0, or"),
        ({"encoder": FloatRange(low=0.0, high=2.0)}, "encoder.float: this parameter takes choice"),
        (
            {"alpha": FloatRange(low=0.0, high=2.0)},
            r"alpha.float\[1\]: given 2.0; allowed: a number",
        ),
        ({"gamma": Choice(options=(1.0,), when={"decoder": ("fpn",)})}, "gamma.when.decoder"),
        (
            {
                "learning_rate": FloatRange(low=0.1, high=1.0),
                "gamma": Choice(options=(1.0,), when={"learning_rate": (0.1,)}),
            },
            "needs a parent that is a choice",
        ),
        (
            {
                "decoder": Choice(options=("fpn", "unet")),
                "gamma": Choice(options=(1.0,), when={"decoder": ("fpn_lite",)}),
            },
            r"gamma.when.decoder\[0\]: given .fpn_lite.; allowed: one of fpn, unet",
        ),
        (
            {
                "decoder": Choice(options=("fpn",), when={"optimizer": ("sgd",)}),
                "optimizer": Choice(options=("sgd",), when={"decoder": ("fpn",)}),
            },
            "conditions in a ring: ",
        ),
    ],
)
def test_a_bad_space_is_refused(domains, message):
    with pytest.raises(SpaceError, match=message):
        SearchSpace(domains=domains)


def test_a_space_survives_pickling_and_its_written_form():
    from automl.space.forms import space_form

    assert pickle.loads(pickle.dumps(NESTED)) == NESTED
    assert parse_space(space_form(NESTED)) == NESTED


@pytest.mark.parametrize(
    "space",
    [
        {"ema_distillation": 0.5, "ema_decay": 0.99},
        {"ema_distillation": {"float": [0, 1]}, "ema_decay": {"float": [0.9, 0.999]}},
        {"ema_distillation": 0.0},
        {"ema_distillation": 0.0, "ema_decay": {"choice": [0.0, 0.99]}},
        {
            "ema_distillation": {"choice": [0.0, 0.5], "when": {"ema_decay": [0.99]}},
            "ema_decay": {"choice": [0.0, 0.99]},
        },
        {
            "optimizer": {"choice": ["adamw", "sgd"]},
            "ema_decay": {"float": [0.9, 0.99], "when": {"optimizer": ["adamw", "sgd"]}},
            "ema_distillation": {"choice": [0.2, 0.5], "when": {"optimizer": ["sgd"]}},
        },
    ],
)
def test_what_needs_another_parameter_is_taken_where_it_is_always_there(space):
    made = parse_space(space)
    for share in range(10):
        params = made.assign(lambda _name, domain, share=share: domain.at(share / 10))
        parameters_from(params)


@pytest.mark.parametrize(
    "space",
    [
        {"ema_distillation": 0.5},
        {"ema_distillation": {"float": [0, 1]}, "ema_decay": 0.0},
        {"ema_distillation": {"choice": [0.0, 0.5]}, "ema_decay": {"choice": [0.0, 0.99]}},
        {"ema_distillation": 0.5, "ema_decay": {"float": [0, 0.99]}},
        {
            "ema_distillation": {"choice": [0.5], "when": {"ema_decay": [0.0]}},
            "ema_decay": {"choice": [0.0, 0.99]},
        },
        {
            "optimizer": {"choice": ["adamw", "sgd"]},
            "ema_decay": {"float": [0.9, 0.99], "when": {"optimizer": ["sgd"]}},
            "ema_distillation": 0.5,
        },
    ],
)
def test_what_needs_another_parameter_is_refused_where_that_may_be_missing(space):
    with pytest.raises(SpaceError, match=r"ema_distillation: needs ema_decay above 0.*when: "):
        parse_space(space)

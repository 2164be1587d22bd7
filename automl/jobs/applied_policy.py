"""The proof that a declared augmentation policy is built with what was declared and sampled."""

from __future__ import annotations

from typing import Any

from automl.data.augment import Augmentation, policy_transforms
from automl.space.policies.policy import Policy, Step
from automl.space.policies.searched import parameter_name

_CLASS = "__class_fullname__"


def policy_faults(policy: Policy | None, augmentation: Augmentation) -> dict[str, str]:
    """What the built pipeline has instead of a policy's values, by the names of parameters.

    Says nothing where the transforms are others: that is a fault of `augmentation`.
    """
    if policy is None:
        return {}
    live = augmentation.transforms()
    wanted = policy_transforms(policy, augmentation.size)
    if class_names(live) != class_names(wanted):
        return {}
    faults: dict[str, str] = {}
    for step, built, right in zip(policy.steps, live, wanted, strict=True):
        if built["p"] != step.p:
            name = parameter_name(policy.name, step.kind, "p")
            faults[name] = f"sampled {step.p:g}, live {built['p']:g}"
        others = [key for key in right if key != "p" and built.get(key) != right[key]]
        if others:
            name = parameter_name(policy.name, step.kind, _keys_text(step))
            faults[name] = f"sampled {_values_text(step)}, live {_live_text(built, others)}"
    return faults


def class_names(transforms: list[dict[str, Any]]) -> list[str]:
    """The names of built transforms."""
    return [str(transform[_CLASS]) for transform in transforms]


def _keys_text(step: Step) -> str:
    return "|".join(step.values)


def _values_text(step: Step) -> str:
    return ", ".join(f"{value:g}" for value in step.values.values())


def _live_text(built: dict[str, Any], keys: list[str]) -> str:
    return ", ".join(f"{key} {built.get(key)}" for key in keys)

"""What differs between two JSON values, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from automl.records import canonical_json

_MOST_LINES = 12
_MOST_CHARACTERS = 60


def differences(before: Mapping[str, object], now: Mapping[str, object]) -> str:
    """One indented line for each differing key, `  train.epochs: was 12, now 24`, in key order."""
    old, new = dict(_leaves(before, "")), dict(_leaves(now, ""))
    lines = [
        f"  {key}: was {_shown(old, key)}, now {_shown(new, key)}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    if not lines:
        return "  (the declarations are equal: another version of automl may have written it)"
    hidden = len(lines) - _MOST_LINES
    if hidden > 0:
        lines[_MOST_LINES:] = [f"  and {hidden} more"]
    return "\n".join(lines)


def _leaves(plain: Mapping[str, object], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in plain.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", canonical_json(value)


def _shown(leaves: Mapping[str, str], key: str) -> str:
    text = leaves.get(key, "absent")
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 3] + "..."

"""The names of the files in a bundle."""

from __future__ import annotations

MODEL = "model.onnx"
MANIFEST = "bundle.json"
CARD = "MODEL_CARD.md"
CHECKSUMS = "checksums.json"

#: A signature of the checksums, in minisign's format and under the name that it looks for. It is
#: the one file that the checksums do not list.
SIGNATURE = "checksums.json.minisig"

#: Without these a folder is no bundle; golden samples come on top, at least one.
REQUIRED = (MODEL, MANIFEST, CARD)

_GOLDEN = "golden"
_INPUT, _MASK = ".input.png", ".mask.png"


def golden_input(index: int) -> str:
    """The image of a golden sample."""
    return f"{_GOLDEN}/{index:02d}{_INPUT}"


def golden_mask(index: int) -> str:
    """The mask that the model makes of a golden sample's image."""
    return f"{_GOLDEN}/{index:02d}{_MASK}"


def golden_pairs(names: set[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The (input, mask) pairs among a bundle's file names, and the names without their partner."""
    inputs = {name.removesuffix(_INPUT) for name in names if name.endswith(_INPUT)}
    masks = {name.removesuffix(_MASK) for name in names if name.endswith(_MASK)}
    pairs = [(stem + _INPUT, stem + _MASK) for stem in sorted(inputs & masks)]
    lonely = [stem + _INPUT for stem in inputs - masks] + [stem + _MASK for stem in masks - inputs]
    return pairs, sorted(lonely)

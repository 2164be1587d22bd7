"""No file of this program can run code when it is read: pickle and its like are nowhere."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "automl").rglob("*.py"))
MODULES = {"cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
CALLS = {"torch.load", "torch.save", "yaml.load", "yaml.unsafe_load"}
CALLS |= {"np.load", "np.save", "np.savez", "numpy.load", "eval", "exec", "__import__"}
#: The error of those who read a foreign file with nothing but tensors in it.
HARMLESS = {"pickle.UnpicklingError"}


def faults(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [each.name for each in node.names if each.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [m for m in [node.module or ""] if m.split(".")[0] in MODULES | {"pickle"}]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle":
            found += {ast.unparse(node)} - HARMLESS
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in CALLS:
            tensors_only = "weights_only=True" in map(ast.unparse, node.keywords)
            found += [] if tensors_only else [ast.unparse(node.func)]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_nothing_unpickles(path):
    assert faults(path.read_text()) == []


def test_the_search_finds_what_it_looks_for():
    source = (
        "import pickle, dill\nfrom pickle import loads\nfrom joblib import load\n"
        "torch.load('x')\ntorch.load('x', weights_only=False)\nyaml.load(f)\neval('1')\n"
        "pickle.loads(b'')\n"
    )
    assert sorted(faults(source)) == sorted(
        ["dill", "eval", "joblib", "pickle", "pickle.loads"] + 2 * ["torch.load"] + ["yaml.load"]
    )
    assert faults("torch.load('x', weights_only=True)\npickle.UnpicklingError\n") == []

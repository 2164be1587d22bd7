"""The formats by name, and what is told where a library or a GPU is missing."""

import importlib.util

import pytest
import torch

from automl.errors import UsageError
from automl.formats.registry import FORMATS, wanted_formats


def test_names_are_taken_once_and_in_the_order_given():
    assert wanted_formats("pt2, openvino,pt2") == ("pt2", "openvino")
    assert wanted_formats("all") == tuple(FORMATS)


@pytest.mark.parametrize("given", ["onnx", "", "pt2,", "all,pt2"])
def test_other_names_are_refused_with_those_allowed(given):
    with pytest.raises(UsageError, match="allowed: all, or some of openvino, pt2"):
        wanted_formats(given)


@pytest.mark.parametrize("name", ["openvino", "tflite", "pte", "tensorrt"])
def test_a_missing_library_is_told_with_what_to_install(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "pip install" in str(FORMATS[name].absence())


@pytest.mark.parametrize("name", ["openvino", "tflite", "pte"])
def test_libraries_that_are_there_are_enough(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert FORMATS[name].absence() is None


def test_tensorrt_needs_a_gpu_as_well(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "NVIDIA GPU" in str(FORMATS["tensorrt"].absence())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert FORMATS["tensorrt"].absence() is None

"""An exported file in each runtime that a study may name as its target."""

from typing import get_args

import numpy as np
import onnx
import pytest

from automl.bundle import runtimes
from automl.bundle.in_runtime import batch_of, clock_of, form_of, open_call, open_labeller
from automl.bundle.runtimes import RUNTIMES, TITLES, versions
from automl.errors import BundleError
from automl.jobs.stopwatch import Timing, time_files
from automl.measurement.latency import process_clock, thread_clock
from automl.space.compression import RuntimeName

SIZE = (32, 48)

#: Those that are installed here; ONNX Runtime always is.
PRESENT = [name for name in RUNTIMES if name in versions()]


def noise(seed):
    return np.random.default_rng(seed).integers(0, 256, (*SIZE, 3), dtype=np.uint8)


def test_a_study_may_name_every_runtime_that_there_is():
    assert set(get_args(RuntimeName)) == set(RUNTIMES) == set(TITLES)


@pytest.mark.parametrize("runtime", PRESENT)
def test_a_file_labels_the_same_in_every_runtime(artifact, runtime):
    own = open_labeller(artifact, "onnxruntime", SIZE, threads=1)
    other = open_labeller(artifact, runtime, SIZE, threads=1)
    masks = [other.run(noise(seed)) for seed in range(3)]
    for seed, mask in enumerate(masks):  # kept although the runtime has run again since
        assert mask.shape == SIZE
        assert mask.dtype == np.uint8
        assert (mask == own.run(noise(seed))).mean() > 0.999
    assert len({mask.tobytes() for mask in masks}) == 3
    assert len(np.unique(masks[0])) >= 3


@pytest.mark.parametrize("runtime", PRESENT)
def test_every_runtime_is_timed(artifact, runtime):
    open_call(artifact, runtime, SIZE, threads=1)()
    timing = Timing(size=SIZE, threads=1, rounds=2, warmup=1, runtime=runtime)
    stats = time_files({"one": artifact, "two": artifact}, timing)
    assert set(stats) == {"one", "two"}
    assert stats["one"].p50_ms > 0
    # Where it computes, its time is seen: the clock is none that stands still meanwhile.
    assert stats["one"].cpu_p50_ms > 0


def test_onnx_runtime_has_the_file_itself_and_openvino_the_network_in_it(artifact):
    content = artifact.read_bytes()
    assert form_of(content, "onnxruntime", SIZE) == content
    form = onnx.load_from_string(form_of(content, "openvino", SIZE))
    kinds = {node.op_type for node in form.graph.node}
    assert not kinds & {"Resize", "If", "Scan"}
    assert {"BatchNormalization", "ArgMax", "Conv"} <= kinds
    assert (batch_of("onnxruntime"), batch_of("openvino")) == ((), (1,))
    assert clock_of("onnxruntime") is thread_clock
    assert clock_of("openvino") is process_clock


def test_an_absent_runtime_is_named_with_its_extra(artifact, monkeypatch):
    monkeypatch.setattr(runtimes, "versions", lambda: {"onnxruntime": "1"})
    with pytest.raises(BundleError, match=r"openvino: not available .*automl\[openvino\]"):
        open_labeller(artifact, "openvino", SIZE, threads=1)

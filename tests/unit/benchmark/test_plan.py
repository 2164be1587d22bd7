import dataclasses

import pyarrow.parquet as pq
import pytest

from automl.benchmark.device import Device, this_device
from automl.benchmark.job import Entry, Job, Outcome, Timing, digest
from automl.benchmark.measure import picture
from automl.benchmark.plan import Grid, benchmark, check_threads, load_subjects, usable_runtimes
from automl.benchmark.table import report_lines, write_parquet
from automl.errors import BundleError, UsageError
from automl.measurement.contention import Contention
from automl.measurement.latency import LatencyStats

DEVICE = Device(
    cpu="A Processor",
    cores=2,
    machine="x86_64",
    system="Linux 6.0",
    python="3.11.0",
    automl="0.1.0",
    runtimes={"onnxruntime": "1.23.0", "openvino": "2026.1.0"},
)
GRID = Grid(runtimes=("onnxruntime", "openvino"), threads=(1, 2), batches=(1, 2), rounds=7)
QUIET = Contention(wall_s=1.0, cpu_s=1.0, waited_s=0.0, load=0.1)


def timing(ms, agreement=1.0):
    return Timing(
        stats=LatencyStats(
            p50_ms=ms,
            p95_ms=ms + 1,
            p99_ms=ms + 2,
            cpu_p50_ms=ms / 2,
            spread_ms=0.5,
            cpu_spread_ms=0.25,
        ),
        agreement=agreement,
    )


class FakeDevice:
    """The n-th entry of a job takes 10 n ms; remembers what it was asked."""

    def __init__(self, contention=QUIET, agreement=1.0):
        self.jobs, self.contention, self.agreement = [], contention, agreement

    def measure(self, job, artifacts):
        self.jobs.append((job, dict(artifacts)))
        return Outcome(
            timings=tuple(timing(10.0 * n, self.agreement) for n, _ in enumerate(job.entries, 1)),
            device=DEVICE,
            cores=tuple(range(job.threads)),
            contention=self.contention,
        )


def run(bundle, device=None, grid=GRID):
    device = FakeDevice() if device is None else device
    return benchmark(load_subjects([bundle, bundle]), grid, device.measure, say=lambda _: None)


def test_every_combination_is_measured_once_and_what_has_the_same_threads_takes_turns(
    pristine_bundle,
):
    device = FakeDevice()
    report = run(pristine_bundle, device)
    assert [job.threads for job, _ in device.jobs] == [1, 2]
    combinations = {(row.bundle, row.runtime, row.threads, row.batch) for row in report.rows}
    assert len(combinations) == len(report.rows) == 16
    assert {row.bundle for row in report.rows} == {"bundle", "bundle (2)"}


def test_a_batch_of_one_in_onnxruntime_is_the_bundles_own_file(pristine_bundle):
    device = FakeDevice()
    run(pristine_bundle, device)
    job, artifacts = device.jobs[0]
    own = digest((pristine_bundle / "model.onnx").read_bytes())
    shapes = {(e.runtime, e.shape): e.artifact for e in job.entries}
    assert shapes["onnxruntime", (32, 48, 3)] == own
    assert shapes["openvino", (1, 32, 48, 3)] != own
    assert shapes["onnxruntime", (2, 32, 48, 3)] == shapes["openvino", (2, 32, 48, 3)]
    assert all(digest(content) == name for name, content in artifacts.items())
    assert artifacts.keys() == set(shapes.values())


def test_ratios_are_to_the_first_bundle_at_the_same_threads_and_batch(pristine_bundle):
    rows = run(pristine_bundle).rows
    firsts = [r for r in rows if (r.bundle, r.runtime) == ("bundle", "onnxruntime")]
    assert [row.cpu_ratio for row in firsts] == [row.wall_ratio for row in firsts] == [1.0] * 4
    by_batch = [row.wall_ratio for row in rows if row.threads == 1]
    assert by_batch == pytest.approx([1, 2, 3, 4, 1, 6 / 5, 7 / 5, 8 / 5])
    assert rows[4].images_per_s == pytest.approx(2 * 1000 / 50)


def test_what_disturbed_or_disagrees_is_told_once(pristine_bundle):
    busy = dataclasses.replace(QUIET, wall_s=1.5)
    notes = run(pristine_bundle, FakeDevice(busy, agreement=0.9)).notes
    assert "bundle in openvino: 90.00% of the pixels are those of onnxruntime" in notes
    assert sum("wall times are 50% above CPU times" in note for note in notes) == 1
    assert len(set(notes)) == len(notes)
    assert run(pristine_bundle).notes == ()


def test_runtimes_that_the_device_lacks_are_left_out_with_a_note():
    few = dataclasses.replace(DEVICE, runtimes={"onnxruntime": "1.23.0"})
    usable, notes = usable_runtimes(["onnxruntime", "openvino", "torch"], few)
    assert usable == ("onnxruntime",)
    assert notes[0] == "openvino: not available here: install the extra automl[openvino]"
    assert notes[1].startswith("torch: a bundle holds an ONNX graph")
    with pytest.raises(UsageError, match="no runtime to measure in: torch: a bundle holds"):
        usable_runtimes(["torch"], few)


def test_more_threads_than_cores_are_refused():
    check_threads([1, 2], DEVICE)
    with pytest.raises(UsageError, match="at most the 2 cores of the device, got 3"):
        check_threads([1, 3], DEVICE)


def test_a_damaged_bundle_is_not_measured(write, tmp_path):
    bundle = write(tmp_path / "bundle")
    (bundle / "model.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match="damaged bundle"):
        load_subjects([bundle])


def test_the_table_has_a_line_a_row_and_says_what_it_compares_with(pristine_bundle):
    report = run(pristine_bundle)
    lines = report_lines(report)
    heads, rows = lines[:3], lines[3:19]
    assert "p99" in heads[0]
    assert set(heads[2]) == {"─"}
    for line, row in zip(rows, report.rows, strict=True):
        assert line.split()[-5] == f"{row.timing.stats.spread_ms:.2f}"
        assert f"{row.timing.stats.p99_ms:.2f}" in line
        assert line.endswith(f"{row.wall_ratio:.2f}")
    assert any(line.startswith("x: times bundle in onnxruntime") for line in lines)
    assert "1 thread(s): kept on core(s) 0" in lines


def test_parquet_holds_every_number_and_the_device(pristine_bundle, tmp_path):
    report = run(pristine_bundle)
    write_parquet(report, tmp_path / "new" / "times.parquet", target="here")
    table = pq.read_table(tmp_path / "new" / "times.parquet").to_pylist()
    assert len(table) == len(report.rows)
    last, row = table[-1], report.rows[-1]
    assert (last["bundle"], last["threads"], last["batch"], last["rounds"]) == (
        row.bundle,
        row.threads,
        row.batch,
        7,
    )
    for name in ("p50_ms", "p95_ms", "p99_ms", "spread_ms", "cpu_p50_ms", "cpu_spread_ms"):
        assert last[name] == getattr(row.timing.stats, name)
    assert last["runtime_version"] == "2026.1.0"
    assert last["cpu"] == "A Processor"
    assert last["pinned_cores"] == [0, 1]


def test_pictures_are_the_same_each_time_and_differ_within_a_batch():
    first, second = picture((3, 40, 50, 3)), picture((3, 40, 50, 3))
    assert first.shape == (3, 40, 50, 3)
    assert (first == second).all()
    assert not (first[0] == first[1]).all()


@pytest.mark.parametrize("shape", [(5,), (1, 2, 3, 4, 5), (0, 4, 3), (1, 1 << 20, 4, 3)])
def test_an_impossible_shape_is_refused(shape):
    with pytest.raises(ValueError, match="a shape has 3 or 4 sides"):
        Entry(label="a", artifact="b", runtime="onnxruntime", shape=shape)


@pytest.mark.parametrize("change", [{"threads": 0}, {"rounds": 0}, {"warmup": -1}, {"entries": ()}])
def test_an_impossible_job_is_refused(change):
    entry = Entry(label="a", artifact="b", runtime="onnxruntime", shape=(4, 4, 3))
    with pytest.raises(ValueError, match=r"at least|must be"):
        Job(**({"entries": (entry,), "threads": 1, "rounds": 1} | change))


def test_this_device_says_what_it_is():
    device = this_device()
    assert device.cores >= 1
    assert device.cpu in device.line()

from types import SimpleNamespace

from automl.benchmark.job import digest
from automl.measurement.latency import LatencyStats
from automl.measurement.processor import cpu_model
from automl.stages.bench_meter import BenchMeter


def stats(ms):
    return LatencyStats(
        p50_ms=ms, p95_ms=ms, p99_ms=ms, cpu_p50_ms=ms, spread_ms=0, cpu_spread_ms=0
    )


class FakeAgent:
    """Times the first file at 6 ms and the second at 2 ms."""

    processor = "a processor"

    def __init__(self):
        self.asked = []

    def measure(self, job, artifacts):
        self.asked.append((job, artifacts))
        return SimpleNamespace(timings=[SimpleNamespace(stats=stats(ms)) for ms in (6, 2)])


def meter(agent):
    dataset = SimpleNamespace(info=SimpleNamespace(size=(32, 64)))
    return BenchMeter(name="onnxruntime", dataset=dataset, threads=1, rounds=5, agent=agent)


def test_an_agent_times_where_there_is_one(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_bytes(name.encode())
    agent = FakeAgent()
    assert meter(agent).speed(tmp_path / "a", tmp_path / "b").ratio == 3
    ((job, artifacts),) = agent.asked
    assert artifacts == {digest(b"a"): b"a", digest(b"b"): b"b"}
    assert (job.threads, job.rounds) == (1, 5)
    assert {entry.shape for entry in job.entries} == {(32, 64, 3)}


def test_it_says_on_which_processor_it_times():
    assert meter(FakeAgent()).cpu() == "a processor"
    assert meter(None).cpu() == cpu_model()

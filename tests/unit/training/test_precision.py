import pytest
import torch

from automl.errors import UsageError
from automl.training.precision import resolve_precision
from automl.training.ranks import compute_device

CPU = torch.device("cpu")
CUDA = torch.device("cuda")


def test_auto_on_a_cpu_is_full_precision():
    assert resolve_precision("auto", CPU).name == "fp32"


@pytest.mark.parametrize(("has_bf16", "name"), [(True, "bf16"), (False, "fp16")])
def test_auto_on_cuda_is_bf16_where_the_hardware_has_it(monkeypatch, has_bf16, name):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bf16)
    assert resolve_precision("auto", CUDA).name == name


@pytest.mark.parametrize(("name", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_operations_run_in_the_precision(name, dtype):
    with resolve_precision(name, CPU).autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == dtype


def test_only_fp16_scales_the_loss():
    assert not resolve_precision("bf16", CPU).grad_scaler().is_enabled()
    assert not resolve_precision("fp32", CPU).grad_scaler().is_enabled()


def test_fp16_without_cuda_is_refused():
    with pytest.raises(UsageError, match="given 'fp16' on cpu; allowed there: auto, fp32, bf16"):
        resolve_precision("fp16", CPU)


def test_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="given 'int8'; allowed auto, fp32, bf16, fp16"):
        resolve_precision("int8", CPU)


def test_missing_gpu_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert compute_device("auto") == CPU
    with pytest.raises(UsageError, match="no CUDA device"):
        compute_device("cuda")


def test_unknown_device_is_refused():
    with pytest.raises(UsageError, match="given 'tpu'; allowed auto, cpu, cuda"):
        compute_device("tpu")


def test_local_rank_picks_the_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert compute_device("auto") == torch.device("cuda", 3)

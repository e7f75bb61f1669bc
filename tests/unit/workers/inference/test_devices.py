"""Which device networks run on, whether it is sound, and what torch's errors say of it."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from structlog.testing import capture_logs

from retint.errors import DeviceFailed, InvalidRequest, OutOfMemory
from retint_workers.inference import devices

without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")

DEVICE_ERRORS = [
    torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …"),
    RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm( handle, opa, opb, …)`"),
    RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR"),
    RuntimeError("Unexpected error from cudaGetDeviceCount(). … Error 804: No CUDA GPUs are available"),
    RuntimeError("Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU"),
]

TEST_WITH_LITTLE_MEMORY = """
import resource, sys
import psutil, torch
from retint.errors import OutOfMemory
from retint_workers.inference import devices

devices.prove_device("cpu")
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + (64 << 20), hard))
try:
    devices.prove_device("cpu")
except OutOfMemory:
    sys.exit(0)
sys.exit("the test passed without memory")
"""


@pytest.mark.parametrize("error", DEVICE_ERRORS, ids=range(len(DEVICE_ERRORS)))
def test_errors_of_the_device_are_told_by_their_class_or_their_words(error: RuntimeError) -> None:
    with pytest.raises(DeviceFailed) as failed, devices.translate_errors():
        raise error
    assert failed.value.__cause__ is error
    assert "\n" not in failed.value.message


def test_a_bug_or_an_unfit_input_is_not_the_devices_fault() -> None:
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), devices.translate_errors():
        torch.zeros(2, 3) @ torch.zeros(2, 3)
    with pytest.raises(ZeroDivisionError), devices.translate_errors():
        raise ZeroDivisionError


def test_too_little_memory_is_told_whether_the_gpus_or_the_machines() -> None:
    with pytest.raises(OutOfMemory, match="The GPU's memory"), devices.translate_errors():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
    with pytest.raises(OutOfMemory, match="not enough memory"), devices.translate_errors():
        torch.empty(1 << 50, dtype=torch.uint8)


def test_a_sound_device_is_proved() -> None:
    devices.prove_device(devices.resolve_device("auto"))


def test_a_device_that_calculates_wrongly_is_not_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = torch.nn.Linear.forward
    monkeypatch.setattr(torch.nn.Linear, "forward", lambda layer, x: forward(layer, x) + 1)
    with pytest.raises(DeviceFailed, match="wrongly"):
        devices.prove_device("cpu")


@without_gpu
@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_a_gpu_that_is_asked_for_and_not_there_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(
        DeviceFailed, match=f"run on {name}, and there is no such GPU.*set RETINT_DEVICE to auto or cpu"
    ):
        devices.describe_device(name)


def test_a_name_of_no_device_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="No device is called 'graphics card'"):
        devices.resolve_device("graphics card")


@without_gpu
@pytest.mark.parametrize(("device", "is_warned"), [("auto", True), ("cpu", False)])
def test_a_gpu_without_a_driver_is_told_where_it_might_have_been_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str, is_warned: bool
) -> None:
    monkeypatch.setattr(devices, "NODES", tmp_path)
    (tmp_path / "nvidia0").touch()
    with capture_logs() as lines:
        assert devices.describe_device(device).startswith("cpu (")
    assert [line["event"] for line in lines] == ["gpu_not_used"] * is_warned


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_a_processor_without_memory_is_no_sound_device() -> None:
    done = subprocess.run([sys.executable, "-c", TEST_WITH_LITTLE_MEMORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

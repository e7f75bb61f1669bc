"""The test of a device."""

import subprocess
import sys

import pytest

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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits a process's memory")
def test_a_processor_without_memory_is_no_sound_device() -> None:
    done = subprocess.run([sys.executable, "-c", TEST_WITH_LITTLE_MEMORY], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

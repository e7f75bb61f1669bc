"""Tests that need a GPU: none of them is collected where torch finds none.

    pytest --confcutdir tests/gpu tests/gpu

They need neither servers nor a database.
"""

import pytest
import torch


def pytest_ignore_collect() -> bool | None:
    return None if torch.cuda.is_available() else True


@pytest.fixture(autouse=True)
def _free_memory() -> None:
    torch.cuda.empty_cache()

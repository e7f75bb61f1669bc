"""Mixed precision: where networks are trained in bfloat16."""

from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import nn

from retint_models.acceleration.prepare import fastest_precision


def device_of(network: nn.Module) -> torch.device:
    """Return the device that holds a network's parameters."""
    return next(network.parameters()).device


def uses_bfloat16(device: torch.device) -> bool:
    """Return whether networks are trained in bfloat16 on a device.

    They are on GPUs that have it. On CPUs it made the backward pass no faster.
    """
    return device.type == "cuda" and fastest_precision(str(device)) == "bfloat16"


def autocast(device: torch.device) -> AbstractContextManager[Any]:
    """Run a network's forward pass in bfloat16 where that pays; loss, weights and gradients stay in float32."""
    return torch.autocast(device.type, torch.bfloat16, enabled=uses_bfloat16(device))

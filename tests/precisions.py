"""The precisions that this machine's CPU can run networks in."""

from retint_models.acceleration.prepare import Precision, supports_bfloat16


def on_this_cpu() -> list[Precision]:
    """Return what to parametrize a test by: bfloat16 is left out where the CPU cannot run it."""
    return ["float32", "bfloat16"] if supports_bfloat16("cpu") else ["float32"]

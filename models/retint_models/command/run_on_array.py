"""A bare network on a bare array: what tests and others compare with what the original gives."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from retint_models.networks import registry
from retint_models.weights import cards, checkpoints
from retint_models.weights.loading import load_tensors

TENSORS = {
    **dict.fromkeys(
        ("artistic", "stable", "video"),
        "(N, 3, H, W), even sides, gray, normalised by ImageNet's mean and deviation -> (N, 3, H, W), RGB, -3..3",
    ),
    **dict.fromkeys(("deoldify-2018", "defade-deoldify"), "(N, 3, H, W), gray in -1..1 -> (N, 3, H, W), RGB in -1..1"),
    "yuv-gan": "(N, 1, H, W), sides above 40, luma minus .5 -> (N, 2, 4 ceil(H/4), 4 ceil(W/4)), U/.436 and V/.615",
    "lab-resnet18": "(N, 1, H, W), gray in 0..1 -> (N, 2, 8 ceil(H/8), 8 ceil(W/8)), (a + 128)/255 and (b + 128)/255",
}
"""What each network is given and gives, all in float32."""


def run(
    name: str,
    given: Path,
    made: Path,
    *,
    file: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    imported: Path = cards.IMPORTED,
) -> None:
    """Run a network, plain and in float32, on an array in a file, and write its answer to another.

    Args:
        name: One of `registry.NETWORKS`.
        given: A .npy file with what the network is given, see `TENSORS`.
        made: The .npy file that is written.
        file: Weights, as `checkpoints.read` takes them; the imported ones by default.
        device: Where it runs.
        threads: On the CPU; all cores by default.
        imported: Folder of imported weights.

    Raises:
        FileNotFoundError: no such file, or no imported weights; says how to get them.
        OSError: the answer cannot be written.
        ValueError: no such network, not its weights, or not what it is to be given; says what was expected.
    """
    if name not in registry.NETWORKS:
        raise ValueError(f"no network {name!r} can be run bare; there are {', '.join(registry.NETWORKS)}")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"there is no GPU here to run on {device}")
    if threads:
        torch.set_num_threads(threads)
    x = torch.from_numpy(array(given)).to(device)
    tensors = checkpoints.read(file) if file else load_tensors(registry.card(name, imported))
    network = registry.NETWORKS[name](name, tensors).to(device)
    with torch.inference_mode():
        y = network(x).cpu().numpy()
    with made.open("wb") as target:
        np.save(target, y)


def array(path: Path) -> NDArray[np.float32]:
    """Read a float32 array.

    Raises:
        FileNotFoundError: no such file.
        ValueError: no .npy file, or another type.
    """
    try:
        held = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(held, np.ndarray) or held.dtype != np.float32:
        raise ValueError(f"{path}: expected a float32 array, not {getattr(held, 'dtype', type(held).__name__)}")
    return np.ascontiguousarray(held)

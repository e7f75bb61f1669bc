"""A network on an array from a file, without the pipeline: for comparing its output with the original's."""

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
    **dict.fromkeys(
        ("ddcolor", "ddcolor-tiny", "ddcolor-artistic"),
        "(N, 3, H, W), sides multiples of 32, gray in 0..1 -> (N, 2, H, W), a and b of CIELAB",
    ),
    **dict.fromkeys(("deoldify-2018", "defade-deoldify"), "(N, 3, H, W), gray in -1..1 -> (N, 3, H, W), RGB in -1..1"),
    "yuv-gan": "(N, 1, H, W), sides above 40, luma minus .5 -> (N, 2, 4 ceil(H/4), 4 ceil(W/4)), U/.436 and V/.615",
    "lab-resnet18": "(N, 1, H, W), gray in 0..1 -> (N, 2, 8 ceil(H/8), 8 ceil(W/8)), (a + 128)/255 and (b + 128)/255",
}
"""Input and output of each network, in float32."""


def run_on_array(
    name: str,
    input_file: Path,
    output_file: Path,
    *,
    weights_file: Path | None = None,
    device: str = "cpu",
    threads: int | None = None,
    imported: Path = cards.IMPORTED,
) -> None:
    """Run a network in float32, without any acceleration, on an array from a file; write its output to another.

    Args:
        name: One of `registry.NETWORKS`.
        input_file: A .npy file with the input of the network, see `TENSORS`.
        output_file: The .npy file to write.
        weights_file: Weights in a format that `checkpoints.read` reads; the imported ones by default.
        device: The device to run on.
        threads: CPU threads; all cores by default.
        imported: Folder of imported weights.

    Raises:
        FileNotFoundError: a file is missing, or the network's weights are not imported; the message says how to get
            them.
        OSError: the output cannot be written.
        ValueError: the network is unknown, or weights or input do not fit it; the message says what was expected.
    """
    if name not in registry.NETWORKS:
        raise ValueError(f"no network {name!r} can be run on an array; there are {', '.join(registry.NETWORKS)}")
    if device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"there is no GPU here to run on {device}")
    if threads:
        torch.set_num_threads(threads)
    x = torch.from_numpy(read_array(input_file)).to(device)
    tensors = checkpoints.read(weights_file).tensors if weights_file else load_tensors(registry.card(name, imported))
    network = registry.NETWORKS[name](name, tensors).to(device)
    with torch.inference_mode():
        y = network(x).cpu().numpy()
    with output_file.open("wb") as file:
        np.save(file, y)


def read_array(path: Path) -> NDArray[np.float32]:
    """Read a float32 array.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not a .npy file of float32 numbers.
    """
    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npy file of numbers: {error}") from error
    if not isinstance(array, np.ndarray) or array.dtype != np.float32:
        raise ValueError(f"{path}: expected a float32 array, not {getattr(array, 'dtype', type(array).__name__)}")
    return np.ascontiguousarray(array)

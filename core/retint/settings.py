"""The settings of an operator. An entry point reads them once and passes them on; only here is the environment read."""

import os
import sys
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from retint.lifecycle import MOST_WORKERS
from retint_models.weights.cards import IMPORTED


class Driver(StrEnum):
    """Who starts and stops workers."""

    UP = "up"
    COMPOSE = "compose"
    KUBERNETES = "kubernetes"
    HAND = "hand"


class Settings(BaseSettings):
    """All settings with their defaults. The environment variable is `RETINT_` and the name in capitals."""

    model_config = SettingsConfigDict(env_prefix="RETINT_", env_ignore_empty=True, frozen=True, extra="ignore")

    data: Annotated[Path, Field(description="Folder of a single machine's data: database, photographs, logs.")] = Path(
        "data"
    )
    database_url: Annotated[
        str | None,
        Field(
            description="`postgresql+psycopg://…` (with `?pgbouncer=true` behind PgBouncer) or `sqlite:///…`; "
            "by default SQLite in the data folder."
        ),
    ] = None
    store_url: Annotated[
        str | None,
        Field(description="`s3://bucket` or `file:///folder`; by default a directory in the data folder."),
    ] = None
    s3_endpoint: Annotated[str | None, Field(description="Address of an S3 service that is not Amazon's.")] = None
    s3_public_endpoint: Annotated[
        str | None,
        Field(description="Address at which browsers reach the same service; set it to let them download directly."),
    ] = None
    s3_region: Annotated[str, Field(description="Region of the bucket.")] = "us-east-1"
    s3_key: Annotated[str | None, Field(description="Access key; by default boto3 searches for credentials.")] = None
    s3_secret: Annotated[SecretStr | None, Field(description="Secret of the access key.")] = None
    broker_url: Annotated[str, Field(description="Redis or Valkey, 6.2 or newer, as Celery's broker.")] = (
        "redis://127.0.0.1:6379/0"
    )
    secret: Annotated[
        SecretStr | None,
        Field(
            description="Key that signs sessions and links. `retint up` creates one in the data folder, else required."
        ),
    ] = None
    former_secrets: Annotated[
        SecretStr | None,
        Field(
            description="Earlier values of `RETINT_SECRET`, with commas, the newest first: "
            "what they signed and sealed stays valid."
        ),
    ] = None
    public_url: Annotated[str | None, Field(description="Address of the portal for people.")] = None
    smtp_url: Annotated[
        SecretStr | None,
        Field(
            description="Server that sends e-mail: `smtp://name:password@host:587` (with STARTTLS where it is offered; "
            "a password is sent over TLS only) or `smtps://…`; without it there is no e-mail."
        ),
    ] = None
    mail_from: Annotated[str | None, Field(description="Sender of e-mail, such as `retint@example.org`.")] = None
    webhook_hosts: Annotated[
        str | None,
        Field(
            description="Receivers of webhooks inside your network, or without TLS: exact `host:port`, with commas. "
            "All others must be public and speak https."
        ),
    ] = None
    provider_hosts: Annotated[
        str | None,
        Field(
            description="Sign-in providers inside your network, or without TLS: exact `host:port`, with commas. "
            "All others must be public and speak https."
        ),
    ] = None
    provider_ca: Annotated[
        Path | None,
        Field(description="Certificates (PEM) that sign-in providers may have beside the public ones."),
    ] = None
    trusted_proxies: Annotated[
        str | None,
        Field(
            description="Reverse proxies whose X-Forwarded headers are believed: addresses or networks, with commas."
        ),
    ] = None
    metrics_token: Annotated[
        SecretStr | None,
        Field(description="Bearer token with which `/metrics` is read; without it there are no metrics."),
    ] = None
    audit_address_days: Annotated[
        int,
        Field(
            ge=0,
            description="How many days pages and exports of the audit record show network addresses; "
            "`retint admin audit forget-addresses` deletes older ones.",
        ),
    ] = 90
    upload_limit_mib: Annotated[int, Field(ge=1, description="Largest file that the portal accepts.")] = 4096
    incoming_limit_mib: Annotated[
        int, Field(ge=1, description="Most that may be on its way to a portal at once; further uploads are to wait.")
    ] = 16384
    pixel_limit_mp: Annotated[int, Field(ge=1, description="Largest picture that is opened, in megapixels.")] = 1000
    film_limit_gp: Annotated[
        int, Field(ge=1, description="Largest film, in gigapixels: the pixels of all its frames together.")
    ] = 20
    child_memory_mib: Annotated[
        int,
        Field(
            ge=256,
            description="Memory that the child process that opens one foreign file may take, beside its libraries.",
        ),
    ] = 1536
    child_timeout_s: Annotated[int, Field(ge=1, description="Time limit of that child process.")] = 900
    lease_s: Annotated[float, Field(gt=0, description="How long a worker keeps its jobs without a heartbeat.")] = 60
    requeue_s: Annotated[
        float, Field(gt=0, description="How long a sent job may stay unclaimed before it is sent again.")
    ] = 30
    backoff_s: Annotated[
        float, Field(gt=0, description="Wait after the first fault; doubles with each fault, with jitter.")
    ] = 2
    tick_s: Annotated[float, Field(gt=0, description="Pause between two rounds of the dispatcher.")] = 0.25
    bundle_size: Annotated[int, Field(ge=1, le=256, description="Most jobs in one message.")] = 64
    fleet_driver: Annotated[
        Driver,
        Field(
            description="Who starts and stops workers: `kubernetes` (KEDA, by demand), `compose`, `up` (set by "
            "`retint up`), or `hand`."
        ),
    ] = Driver.HAND
    most_cpu_workers: Annotated[
        int, Field(ge=0, le=MOST_WORKERS, description="Most cpu workers that this installation can have.")
    ] = MOST_WORKERS
    most_gpu_workers: Annotated[int, Field(ge=0, le=MOST_WORKERS, description="Most gpu workers, likewise.")] = (
        MOST_WORKERS
    )
    pod_name: Annotated[
        str | None, Field(description="Name of the worker's pod in Kubernetes; by default the name of its host.")
    ] = None
    device: Annotated[str, Field(description="Where networks run: `auto`, `cpu`, `cuda`, `cuda:1` …")] = "auto"
    weights: Annotated[Path, Field(description="Folder of imported weights; workers and portal must share it.")] = (
        IMPORTED
    )
    log_json: Annotated[bool, Field(description="Log JSON lines instead of text for people.")] = False
    log_file: Annotated[
        Path | None,
        Field(description="File that a process logs to, also after it was renamed; by default standard error."),
    ] = None

    @property
    def database(self) -> str:
        """Address of the database, or the default."""
        return self.database_url or f"sqlite:///{self.data.resolve()}/retint.db"

    @property
    def store(self) -> str:
        """Address of the store, or the default."""
        return self.store_url or f"file://{self.data.resolve()}/store"

    @field_validator("trusted_proxies")
    @classmethod
    def _are_networks(cls, text: str | None) -> str | None:
        _parse_networks(text)
        return text

    @field_validator("webhook_hosts")
    @classmethod
    def _are_hosts(cls, text: str | None) -> str | None:
        for host in _split_hosts(text):
            if urlsplit(f"//{host}").port is None:
                raise ValueError(f"{host} is no host:port")
        return text

    @property
    def private_receivers(self) -> frozenset[str]:
        """The `webhook_hosts`, in lower case."""
        return frozenset(_split_hosts(self.webhook_hosts))

    @model_validator(mode="after")
    def _check_mail(self) -> Self:
        if (self.smtp_url is None) != (self.mail_from is None):
            raise ValueError("RETINT_SMTP_URL and RETINT_MAIL_FROM need each other: set both, or none")
        if self.smtp_url is not None:
            url = urlsplit(self.smtp_url.get_secret_value())
            if url.scheme not in ("smtp", "smtps") or not url.hostname:
                raise ValueError("RETINT_SMTP_URL is no address such as smtp://mail.example.org:587")
        if self.mail_from is not None and ("@" not in self.mail_from or not self.mail_from.isprintable()):
            raise ValueError("RETINT_MAIL_FROM is no email address")
        return self

    @property
    def proxies(self) -> list[IPv4Network | IPv6Network]:
        """The networks of `trusted_proxies`."""
        return _parse_networks(self.trusted_proxies)

    @property
    def secrets_before(self) -> list[str]:
        """The values of `former_secrets`, the newest first."""
        text = self.former_secrets.get_secret_value() if self.former_secrets else ""
        return [part.strip() for part in text.split(",") if part.strip()]

    @property
    def portal_url(self) -> str:
        """Address of the portal for people: the operator's, else the one that `retint up` keeps in the data folder."""
        if self.public_url:
            return self.public_url.rstrip("/")
        return self.url_file.read_text() if self.url_file.exists() else "http://127.0.0.1:8000"

    @property
    def url_file(self) -> Path:
        """Where `retint up` keeps the portal's address."""
        return self.data / "url"

    def most_workers(self, fleet: str) -> int:
        """Return how many workers of a fleet this installation can have."""
        return {"cpu": self.most_cpu_workers, "gpu": self.most_gpu_workers}[fleet]

    @property
    def spool(self) -> Path:
        """Folder for parts of uploads in progress. Whoever writes there creates it; its files have no names."""
        return self.data / "spool"

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment for a child process: this one's, these settings, and `more`."""
        values = self.model_dump(exclude_none=True)
        own = {
            f"RETINT_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in values.items()
        }
        return dict(os.environ) | own | more  # noqa: TID251


LIBRARY_VARIABLES = (
    "PATH", "HOME", "TMPDIR", "TZ", "LANG", "LC_", "LD_LIBRARY_PATH", "XDG_CACHE_HOME",
    "NUMBA_", "OMP_", "VIPS_", "MALLOC_", "FONTCONFIG_", "CUDA_", "NVIDIA_",
)  # fmt: skip
"""Begin of the names of environment variables that libraries read and that hold no secrets."""


def library_environment() -> dict[str, str]:
    """Return the environment for a process that opens foreign files: what libraries need, and no secrets."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(LIBRARY_VARIABLES)}  # noqa: TID251
    # Where this process imports from; and one thread, since a process with several cannot be forked safely.
    return kept | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OPENBLAS_NUM_THREADS": "1"}


def _split_hosts(text: str | None) -> list[str]:
    return [part.strip().lower() for part in (text or "").split(",") if part.strip()]


def _parse_networks(text: str | None) -> list[IPv4Network | IPv6Network]:
    return [ip_network(part.strip()) for part in (text or "").split(",") if part.strip()]

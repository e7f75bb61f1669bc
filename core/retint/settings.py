"""What an operator can set. Read once by an entry point and passed on; nothing else reads the environment."""

import os
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from retint_models.weights.cards import IMPORTED


class Settings(BaseSettings):
    """Every setting, with its default. The environment variable is the name in capitals after `RETINT_`."""

    model_config = SettingsConfigDict(env_prefix="RETINT_", frozen=True, extra="ignore")

    data: Annotated[Path, Field(description="Folder of what one machine keeps: database, photographs, logs.")] = Path(
        "data"
    )
    database_url: Annotated[
        str | None,
        Field(description="`postgresql+psycopg://…`, or `sqlite:///…`; without it SQLite in the data folder."),
    ] = None
    store_url: Annotated[
        str | None,
        Field(description="`s3://bucket`, or `file:///folder`; without it a directory in the data folder."),
    ] = None
    s3_endpoint: Annotated[str | None, Field(description="Address of an S3 service that is not Amazon's.")] = None
    s3_public_endpoint: Annotated[
        str | None,
        Field(description="The same service as browsers reach it; set it to let them download directly."),
    ] = None
    s3_region: Annotated[str, Field(description="Region of the bucket.")] = "us-east-1"
    s3_key: Annotated[str | None, Field(description="Access key; without it boto3's own search.")] = None
    s3_secret: Annotated[SecretStr | None, Field(description="Secret of the access key.")] = None
    broker_url: Annotated[str, Field(description="Redis or Valkey, 6.2 or newer, as Celery's broker.")] = (
        "redis://127.0.0.1:6379/0"
    )
    secret: Annotated[
        SecretStr | None,
        Field(description="Signs sessions and links. `retint up` makes one in the data folder; else required."),
    ] = None
    public_url: Annotated[str | None, Field(description="The portal's address as people type it.")] = None
    behind_proxy: Annotated[bool, Field(description="Trust one reverse proxy's X-Forwarded headers.")] = False
    upload_limit_mib: Annotated[int, Field(ge=1, description="Largest file that the portal accepts.")] = 4096
    pixel_limit_mp: Annotated[int, Field(ge=1, description="Largest picture that is opened, in megapixels.")] = 1000
    film_limit_gp: Annotated[
        int, Field(ge=1, description="Longest film that a job may be: gigapixels of all its frames together.")
    ] = 20
    child_memory_mib: Annotated[
        int, Field(ge=256, description="Memory that a process opening one foreign file may take.")
    ] = 1536
    child_timeout_s: Annotated[int, Field(ge=1, description="Time that such a process may take.")] = 900
    lease_s: Annotated[float, Field(gt=0, description="How long a worker holds a job without a heartbeat.")] = 60
    requeue_s: Annotated[
        float, Field(gt=0, description="How long a sent job may stay unclaimed before it is sent again.")
    ] = 30
    backoff_s: Annotated[float, Field(gt=0, description="Wait after the first fault; doubles, with jitter.")] = 2
    tick_s: Annotated[float, Field(gt=0, description="The dispatcher's pause between two looks.")] = 0.25
    bundle_size: Annotated[int, Field(ge=1, le=256, description="Most jobs that travel in one message.")] = 16
    device: Annotated[str, Field(description="Where networks run: `auto`, `cpu`, `cuda`, `cuda:1` …")] = "auto"
    weights: Annotated[Path, Field(description="Folder of imported weights; workers and portal share it.")] = IMPORTED
    log_json: Annotated[bool, Field(description="Log JSON lines instead of text for people.")] = False

    @property
    def database(self) -> str:
        """The database's address, the default filled in."""
        return self.database_url or f"sqlite:///{self.data.resolve()}/retint.db"

    @property
    def store(self) -> str:
        """The store's address, the default filled in."""
        return self.store_url or f"file://{self.data.resolve()}/store"

    def environment(self, **more: str) -> dict[str, str]:
        """The environment of a child process that shall see these settings, and some variables more."""
        values = self.model_dump(exclude_none=True)
        own = {
            f"RETINT_{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
            for name, value in values.items()
        }
        return dict(os.environ) | own | more  # noqa: TID251

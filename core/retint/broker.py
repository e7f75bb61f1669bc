"""The sending side of Celery's broker: a bundle travels as a chain of task names, one link a stage.

Messages are hints; the database is the truth. Messages are acknowledged on receipt, have no results and no ETA, and
what Redis forgets is sent again. The broker holds only Celery's queues, one canary key, and for a minute which zooms
were asked for. All names begin with the installation's: so several may share one Redis.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import dropwhile
from typing import Any
from uuid import UUID, uuid4

import redis
from celery import Celery, chain
from kombu.exceptions import OperationalError

from retint.errors import QueueUnavailable
from retint.lifecycle import FLEETS, QUEUES, STAGES, Stage

PRIORITIES = 10
TIMEOUT_S = 4
GENERATION = 2
"""Raised where workers of the version before would refuse, or do wrong, what this version sends them: so each version's
dispatcher sends to its own workers while both run. 2: layers are tone first, and lie over a region."""
CANARY = "canary"
"""Key whose absence shows that the broker lost its contents."""
ZOOM_TASK = "retint.zoom"
ZOOM_PRIORITY = 8
"""That of trials: a person waits."""
ZOOM_AGAIN_S = 60
"""How long the same zoom is not asked for again."""
MOST_URGENT = 100
"""No zoom is asked for while so many messages of its priority wait for the cpu fleet."""


def task_name(stage: Stage) -> str:
    """Return the name of the task that runs a stage."""
    return f"retint.{stage}"


def celery_app(url: str, prefix: str) -> Celery:
    """Make the Celery application: the dispatcher sends by task names, workers add the tasks.

    Args:
        url: `redis://…`.
        prefix: what the names of its keys in Redis begin with.
    """
    app = Celery("retint", broker=url, set_as_current=False, loader="celery.loaders.default:Loader")
    app.conf.update(
        accept_content=["json"],
        broker_connection_max_retries=None,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=TIMEOUT_S,
        broker_pool_limit=2,
        broker_transport_options={
            "global_keyprefix": prefix,
            "priority_steps": list(range(PRIORITIES)),
            "queue_order_strategy": "priority",
            "socket_timeout": TIMEOUT_S,
            "socket_connect_timeout": TIMEOUT_S,
            "socket_keepalive": True,
            # Concerns sending only; workers wait for the broker without end.
            "max_retries": 1,
        },
        enable_utc=True,
        task_acks_late=False,
        task_create_missing_queues=True,
        task_default_queue=FLEETS[0],
        task_ignore_result=True,
        task_inherit_parent_priority=True,
        task_publish_retry=False,
        task_store_errors_even_if_ignored=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
    )
    return app


@dataclass(frozen=True)
class Broker:
    """The sending side.

    Attributes:
        app: Celery's application.
        redis: a client of the same Redis.
        prefix: what the names of this installation's keys begin with.
    """

    app: Celery
    redis: "redis.Redis"
    prefix: str

    def send(self, first: Stage, job_ids: Sequence[UUID], priority: int = 0) -> str:
        """Send a bundle on its way: the stages from `first` on, each to its queue.

        Args:
            first: the stage of the jobs.
            job_ids: the bundle.
            priority: 0 bulk to 9 at once; what is higher is received first.

        Returns:
            The bundle's id, which every task of the chain has as Celery's `root_id`.

        Raises:
            QueueUnavailable: the broker did not answer; whether it got the message is unknown.
        """
        names = [str(job_id) for job_id in job_ids]
        # On Redis, Celery's scale is reversed: 0 is received first.
        options: dict[str, Any] = {"priority": PRIORITIES - 1 - priority}
        links = [
            self.app.signature(task_name(stage), args=(names,), immutable=True, queue=QUEUES[stage], **options)
            for stage in dropwhile(lambda stage: stage is not first, STAGES)
        ]
        bundle_id = str(uuid4())
        links[0].set(task_id=bundle_id)
        with _translate_errors():
            chain(*links, app=self.app).apply_async(**options)
        return bundle_id

    def ask_for_zoom(self, tenant_id: UUID, job_id: UUID, page: int) -> bool:
        """Ask the cpu fleet to make the zoom of a page of a result; return whether a message was sent.

        None is sent where the same was asked for within `ZOOM_AGAIN_S`, or many messages wait: who needs the zoom asks
        again, as often as it likes.

        Raises:
            QueueUnavailable: the broker did not answer.
        """
        queue, priority = QUEUES[Stage.RENDER], PRIORITIES - 1 - ZOOM_PRIORITY
        with _translate_errors():
            if self.redis.llen(self._list_keys(queue)[priority]) >= MOST_URGENT:
                return False
            if not self.redis.set(f"{self.prefix}zoom:{job_id}:{page}", 1, nx=True, ex=ZOOM_AGAIN_S):
                return False
            self.app.send_task(ZOOM_TASK, (str(tenant_id), str(job_id), page), queue=queue, priority=priority)
        return True

    def count_messages(self) -> dict[str, int]:
        """Count the messages that wait in each queue.

        Raises:
            QueueUnavailable: the broker did not answer.
        """
        return {fleet: sum(lengths) for fleet, lengths in self._ask_lists("LLEN").items()}

    def list_waiting_jobs(self) -> set[UUID]:
        """List the jobs that waiting messages name. Reads every message: the dispatcher keeps them few.

        Raises:
            QueueUnavailable: the broker did not answer.
        """
        lists = [messages for answers in self._ask_lists("LRANGE", 0, -1).values() for messages in answers]
        return {job_id for messages in lists for message in messages for job_id in _read_job_ids(message)}

    def _ask_lists(self, command: str, *arguments: int) -> dict[str, list[Any]]:
        """Send a command about every list of every queue in one round trip; return the answers by queue.

        One by one they take seconds where the broker is far: longer than the dispatcher keeps its lead.
        """
        with _translate_errors(), self.redis.pipeline(transaction=False) as pipeline:
            for fleet in FLEETS:
                for key in self._list_keys(fleet):
                    pipeline.execute_command(command, key, *arguments)  # type: ignore[no-untyped-call]
            answers = pipeline.execute()
        return {fleet: answers[n * PRIORITIES : (n + 1) * PRIORITIES] for n, fleet in enumerate(FLEETS)}

    def is_intact(self) -> bool:
        """Whether the broker has kept its contents since the last call; False once after it lost them.

        Raises:
            QueueUnavailable: the broker did not answer.
        """
        with _translate_errors():
            return not self.redis.set(f"{self.prefix}{CANARY}", 1, nx=True)

    def _list_keys(self, queue: str) -> list[str]:
        """Return the names of a queue's Redis lists, one a priority, as kombu spells them."""
        name = f"{self.prefix}{queue}"
        return [f"{name}\x06\x16{priority}" if priority else name for priority in range(PRIORITIES)]


def connect(url: str, installation: str) -> Broker:
    """Make the sending side, without contacting it.

    Args:
        url: `redis://…`.
        installation: whose messages are sent and received; those of others on the same Redis are not touched.
    """
    prefix = f"retint:{installation}:{GENERATION}:"
    client = redis.Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    return Broker(celery_app(url, prefix), client, prefix)


def _read_job_ids(message: bytes | str) -> list[UUID]:
    """Read the first argument of a Celery message (protocol 2) that lies in Redis."""
    try:
        body = json.loads(base64.b64decode(json.loads(message)["body"]))
        return [UUID(job_id) for job_id in body[0][0]]
    except (ValueError, LookupError, TypeError, AttributeError):  # another program's message
        return []


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (redis.RedisError, OperationalError, OSError) as error:
        raise QueueUnavailable(f"The broker did not answer ({type(error).__name__}).") from error

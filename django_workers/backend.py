"""Where enqueueing enters: the backends that `TASKS` names.

Django builds a backend once per thread, at import time of the first task: building one
imports no model and opens nothing.
"""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.core import checks
from django.db import connections
from django.utils import timezone

from . import carriers, codec, compat
from .compat import (
    BaseTaskBackend,
    InvalidTask,
    TaskError,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from .conf import (
    Options,
    build_options,
    check_database,
    queues_mistake,
    runtime_settings,
)
from .exceptions import (
    ConfigurationError,
    JobCancelled,
    UnknownTask,
    WaitInTransaction,
)
from .ids import uuid7
from .results import JobResult
from .signals import job_created
from .task import Call, Deadline, Task, get_task
from .task import get_task as find_task

if TYPE_CHECKING:
    from .brokers import Broker, NewJob

LATEST_RUN_AFTER: Final = datetime(9000, 1, 1, tzinfo=UTC)

# Django knows four statuses and asks backends with more to compress them.
_STATUS: Final = {
    "scheduled": TaskResultStatus.READY,
    "blocked": TaskResultStatus.READY,
    "ready": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "successful": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
}
_CHARGED: Final = ("successful", "failed", "timed_out")


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that has passed every check and only needs storing."""

    task: Any
    job: "NewJob"


class PolicyRules(BaseTaskBackend):
    """What every backend of ours refuses and allows beyond Django's own rules."""

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        queues = params.get("QUEUES", ())
        # Kept for check() to say: raising here would stop `manage.py check` itself.
        self.queues_mistake = queues_mistake(alias, queues)
        if self.queues_mistake:
            params = {**params, "QUEUES": []}
        super().__init__(alias, params)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """What `manage.py check` says of this backend's settings."""
        from .checks import check_queues

        return [*super().check(**kwargs), *check_queues(self.queues_mistake)]

    def validate_task(self, task: Any) -> None:
        """Refuse a task this backend cannot run; see Django's own rules.

        Raises InvalidTask. Beyond Django's: `run_after` may be a timedelta, and lies
        before the year 9000.
        """
        run_after = task.run_after
        if isinstance(run_after, timedelta):
            run_after = None
        elif isinstance(run_after, datetime) and not timezone.is_aware(run_after):
            raise InvalidTask("run_after must be an aware datetime.")
        stripped: Any = (
            task
            if run_after is task.run_after
            else SimpleNamespace(
                func=task.func,
                takes_context=task.takes_context,
                priority=task.priority,
                queue_name=task.queue_name,
                run_after=None,
            )
        )
        super().validate_task(stripped)
        _due(task.run_after)


class DatabaseBackend(PolicyRules):
    """Jobs are rows of the database; `manage.py runworkers` runs them."""

    task_class = Task
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    @cached_property
    def settings(self) -> Options:
        """This backend's options with their defaults.

        Raises ConfigurationError for one that does not exist or cannot work.
        """
        if self.queues_mistake:
            raise ConfigurationError(
                f"{self.queues_mistake.message} {self.queues_mistake.hint}"
            )
        return build_options(self.alias, self.options)

    @property
    def database(self) -> str:
        """The alias of the queue's database.

        Raises ConfigurationError for one that is not in `DATABASES`.
        """
        database = self.settings.DATABASE
        check_database(self.alias, database)
        return database

    @property
    def broker(self) -> "Broker":
        """The broker of this backend's database."""
        from .brokers import broker_for

        return broker_for(self.database)

    # Enqueue

    def enqueue(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> JobResult[Any, Any]:
        """Store a job in the caller's transaction; see Task.enqueue()."""
        return self.store(self.prepare(task, args, kwargs))

    def enqueue_many(
        self, task: Any, calls: Iterable[Call]
    ) -> list[JobResult[Any, Any]]:
        """Store one job per call, all or none; see Task.enqueue_many()."""
        prepared = [
            self.prepare(task, args, kwargs, path=f"calls[{number}].")
            for number, (args, kwargs) in enumerate(calls)
        ]
        return self.store_many(prepared)

    def prepare(
        self,
        task: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        path: str = "",
    ) -> Prepared:
        """Check a call completely and copy its arguments; touch no database.

        Raises what Task.enqueue() raises.
        """
        from .brokers import NewJob

        if not isinstance(task, Task):
            task = _adopt(task)
        self.validate_task(task)
        options = self.settings
        limit = options.MAX_ARGS_BYTES
        metadata = dict(task.metadata)
        carried = carriers.capture()
        if carried:
            metadata[carriers.METADATA_KEY] = carried
        return Prepared(
            task,
            NewJob(
                id=uuid7(),
                backend=self.alias,
                task=task.key,
                queue=task.queue_name,
                priority=task.priority,
                args=codec.encode(list(args), path=f"{path}args", limit_bytes=limit),
                kwargs=codec.encode(kwargs, path=f"{path}kwargs", limit_bytes=limit),
                run_after=_due(task.run_after),
                max_attempts=task.max_attempts or options.MAX_ATTEMPTS,
                timeout=task.timeout,
                on_crash=task.on_crash,
                expires_at=_deadline(task.expires),
                retry_until=_deadline(task.retry_until),
                tags=codec.encode(list(task.tags), path="tags") if task.tags else "[]",
                metadata=(
                    codec.encode(metadata, path="metadata") if metadata else "{}"
                ),
            ),
        )

    def store(self, prepared: Prepared) -> JobResult[Any, Any]:
        """Store one prepared job; return its result."""
        return self.store_many([prepared])[0]

    def store_many(self, prepared: Sequence[Prepared]) -> list[JobResult[Any, Any]]:
        """Store prepared jobs, announce them after the commit, send the signals."""
        from .brokers import Lane
        from .runtime import wakeup

        broker = self.broker
        jobs = [item.job for item in prepared]
        enqueued_at = broker.enqueue(jobs)
        if broker.can_notify:
            hints = {
                wakeup.DUE
                if job.run_after
                else wakeup.ready_payload(Lane(job.queue, job.priority))
                for job in jobs
            }
            wakeup.announce(broker, sorted(hints))
        results = [self._new_result(item, enqueued_at) for item in prepared]
        for result in results:
            task_enqueued.send_robust(type(self), task_result=result)
            job_created.send_robust(type(self), job=result)
        return results

    def _new_result(
        self, prepared: Prepared, enqueued_at: datetime
    ) -> JobResult[Any, Any]:
        job = prepared.job
        return JobResult(
            task=prepared.task,
            id=str(job.id),
            status=TaskResultStatus.READY,
            enqueued_at=enqueued_at,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=json.loads(job.args),
            kwargs=json.loads(job.kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
            job_status="scheduled" if job.run_after else "ready",
            tags=prepared.task.tags,
            metadata=json.loads(job.metadata),
        )

    # Results

    def get_result(self, result_id: str) -> JobResult[Any, Any]:
        """Read a job's result.

        Raises TaskResultDoesNotExist for an id that is unknown or not one.
        """
        from .models import Job

        job_id = _uuid(result_id)
        database = self.database
        job = Job.objects.using(database).filter(id=job_id, backend=self.alias).first()
        if job is None:
            raise TaskResultDoesNotExist(result_id)
        return self.result_of(job)

    def result_of(self, job: Any) -> JobResult[Any, Any]:
        """The result a job's row and its attempts' rows describe."""
        attempts = list(job.attempt_set.order_by("epoch"))
        worker_ids = [row.worker for row in attempts if row.outcome in _CHARGED]
        if len(worker_ids) < job.attempts or job.status == "running":
            worker_ids.append(job.worker)
        result: JobResult[Any, Any] = JobResult(
            task=self._task_of(job),
            id=str(job.id),
            status=_STATUS[job.status],
            enqueued_at=job.enqueued_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            last_attempted_at=job.last_attempted_at,
            args=job.args,
            kwargs=job.kwargs,
            backend=job.backend,
            errors=_errors(job, attempts),
            worker_ids=worker_ids,
            job_status=job.status,
            reason=job.reason,
            tags=tuple(job.tags),
            metadata=job.metadata,
        )
        if job.status == "successful":
            object.__setattr__(result, "_return_value", job.result)
        return result

    def _task_of(self, job: Any) -> Task[Any, Any]:
        try:
            declared = get_task(job.task)
        except UnknownTask:
            declared = None
        return rebuilt_task(
            declared,
            name=job.task,
            priority=job.priority,
            queue_name=job.queue,
            backend=job.backend,
            run_after=job.run_after if job.attempts == 0 else None,
        )

    def wait(self, result_id: str, timeout: float | None = None) -> None:
        """Wait until a job has ended; see JobResult.wait()."""
        from .models import FINISHED, Job
        from .runtime.wakeup import wait_until

        job_id = _uuid(result_id)
        broker = self.broker

        def is_done() -> bool:
            rows = Job.objects.using(broker.using).filter(id=job_id)
            status = rows.values_list("status", flat=True).first()
            if status is None:
                raise TaskResultDoesNotExist(result_id)
            return status in FINISHED

        if is_done():
            return
        if connections[broker.using].in_atomic_block:
            raise WaitInTransaction(
                "wait() inside transaction.atomic() could wait for ever: the job may "
                "not be committed, and its end may not be visible. Call it after the "
                "block."
            )
        if not wait_until(
            broker,
            is_done,
            job_id=str(job_id),
            timeout=timeout,
            dsn=runtime_settings().listener,
        ):
            raise TimeoutError(f"job {job_id} has not ended within {timeout:g} s")

    async def await_result(self, result_id: str, timeout: float | None = None) -> None:
        """See wait(); waits in a thread of its own, whose connection is closed."""
        await asyncio.to_thread(self._wait_and_close, result_id, timeout)

    def _wait_and_close(self, result_id: str, timeout: float | None) -> None:
        try:
            self.wait(result_id, timeout)
        finally:
            connections[self.settings.DATABASE].close()

    # Checks

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """What `manage.py check` says of this backend's settings."""
        from .checks import check_backend

        return [*super().check(**kwargs), *check_backend(self)]


class ImmediateBackend(PolicyRules, compat.ImmediateBackend):
    """Django's ImmediateBackend that knows our policies: for tests and development.

    Runs each task in enqueue(), once, whatever its `run_after`.
    """

    task_class = Task
    supports_defer = True


class DummyBackend(PolicyRules, compat.DummyBackend):
    """Django's DummyBackend that knows our policies: stores calls, runs nothing."""

    task_class = Task


def _unknown(*args: Any, **kwargs: Any) -> None:
    """Stand in for a task whose code is gone."""
    raise UnknownTask("the code of this task is gone")


_rebuilt: dict[tuple[Any, ...], Task[Any, Any]] = {}


def rebuilt_task(
    declared: Task[Any, Any] | None,
    *,
    name: str,
    priority: int,
    queue_name: str,
    backend: str,
    run_after: datetime | None,
) -> Task[Any, Any]:
    """The task as it was called: the declared one, or a copy with the call's values."""
    if declared is None:
        return _stand_in(name, priority, queue_name, backend)
    if run_after is None and (priority, queue_name, backend) == (
        declared.priority,
        declared.queue_name,
        declared.backend,
    ):
        return declared
    key = (declared, priority, queue_name, backend)
    found = _rebuilt.get(key)
    if found is None:
        if len(_rebuilt) > 1_000:
            _rebuilt.clear()
        found = _rebuilt[key] = _copy(
            declared, priority=priority, queue_name=queue_name, backend=backend
        )
    return found if run_after is None else _copy(found, run_after=run_after)


def _copy(task: Task[Any, Any], **changes: Any) -> Task[Any, Any]:
    """A changed copy that skips validation: the row was valid when it was stored."""
    copy = object.__new__(type(task))
    for name in task.__dataclass_fields__:
        object.__setattr__(copy, name, changes.get(name, getattr(task, name)))
    return copy


def _stand_in(
    name: str, priority: int, queue_name: str, backend: str
) -> Task[Any, Any]:
    blank = object.__new__(Task)
    for field_name, field in Task.__dataclass_fields__.items():
        default = (
            field.default_factory()
            if callable(field.default_factory)
            else field.default
        )
        object.__setattr__(blank, field_name, default)
    return _copy(
        blank,
        func=_unknown,
        registered_name=name,
        priority=priority,
        queue_name=queue_name,
        backend=backend,
        run_after=None,
    )


def _adopt(task: Any) -> Task[Any, Any]:
    """Our Task for one of Django's that was declared under another backend."""
    return Task(
        func=task.func,
        priority=task.priority,
        queue_name=task.queue_name,
        backend=task.backend,
        run_after=task.run_after,
        takes_context=task.takes_context,
    )


def _due(run_after: datetime | timedelta | None) -> datetime | None:
    if run_after is None:
        return None
    try:
        moment = (
            timezone.now() + run_after
            if isinstance(run_after, timedelta)
            else run_after
        )
        if moment >= LATEST_RUN_AFTER:
            raise OverflowError
    except OverflowError:
        raise InvalidTask("run_after must lie before the year 9000.") from None
    return moment


def _deadline(deadline: Deadline | None) -> datetime | None:
    if isinstance(deadline, (int, float)):
        deadline = timedelta(seconds=deadline)
    return _due(deadline)


def _uuid(result_id: str) -> UUID:
    try:
        return UUID(str(result_id))
    except ValueError:
        raise TaskResultDoesNotExist(result_id) from None


def _errors(job: Any, attempts: Sequence[Any]) -> list[TaskError]:
    errors = [
        TaskError(exception_class_path=row.exception, traceback=row.traceback)
        for row in attempts
        if row.exception
    ]
    if job.status == "cancelled" and not any(
        row.outcome in ("cancelled", "expired") for row in attempts
    ):
        path = f"{JobCancelled.__module__}.{JobCancelled.__qualname__}"
        reason = job.reason or "cancelled before it ran"
        errors.append(
            TaskError(exception_class_path=path, traceback=f"{path}: {reason}\n")
        )
    return errors


__all__ = [
    "DatabaseBackend",
    "DummyBackend",
    "ImmediateBackend",
    "Options",
    "find_task",
    "rebuilt_task",
]

"""The backend whose jobs are rows.

Django builds a backend once per thread, at import time of the first task: building one
imports no model and opens nothing.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.conf import settings
from django.core import checks
from django.db import connections

from ..compat import TaskResultDoesNotExist, TaskResultStatus, task_enqueued
from ..conf import check_database, runtime_settings
from ..exceptions import WaitInTransaction
from ..results import JobResult
from ..signals import job_created
from ..task import Call, Task
from .hint import hint_if_nobody_works
from .preparing import Prepared, pairs_of, prepare_call
from .reading import result_of
from .rebuilding import adopted
from .rules import PolicyRules
from .signature import check_call
from .waiting import wait_beside

if TYPE_CHECKING:
    from ..brokers import Broker


class DatabaseBackend(PolicyRules):
    """Jobs are rows of the database; `manage.py runworkers` runs them."""

    task_class = Task
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

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
        from ..brokers import broker_for

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
        ready = [
            self.prepare(task, args, kwargs, path=path)
            for path, args, kwargs in pairs_of(calls)
        ]
        return self.store_many(ready)

    def deferred(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Callable[[], JobResult[Any, Any]]:
        """Check a call and copy its arguments now; return what stores the job."""
        prepared = self.prepare(task, args, kwargs)
        return lambda: self.store(prepared)

    def prepare(
        self,
        task: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        path: str = "",
    ) -> Prepared:
        """Check a call completely and copy its arguments; touch no database.

        `path` stands before the place of a bad argument in the error. Raises what
        Task.enqueue() raises.
        """
        ours: Task[Any, Any] = task if isinstance(task, Task) else adopted(task)
        self.validate_task(ours)
        prepared = prepare_call(
            ours, args, kwargs, backend=self.alias, options=self.settings, path=path
        )
        check_call(ours, args, kwargs, path=path)
        return prepared

    def store(self, prepared: Prepared) -> JobResult[Any, Any]:
        """Store one prepared job; return its result."""
        return self.store_many([prepared])[0]

    def store_many(self, prepared: Sequence[Prepared]) -> list[JobResult[Any, Any]]:
        """Store prepared jobs, announce them after the commit, send the signals."""
        from ..runtime import wakeup

        enqueued_at = wakeup.enqueue(self.broker, [item.job for item in prepared])
        results = [self._new_result(item, enqueued_at) for item in prepared]
        for result in results:
            task_enqueued.send_robust(type(self), task_result=result)
            job_created.send_robust(type(self), job=result)
        if results and settings.DEBUG:
            hint_if_nobody_works(self.database)
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
            job_status="ready" if job.run_after is None else "scheduled",
            tags=prepared.task.tags,
            metadata=json.loads(job.metadata),
        )

    # Results

    def get_result(self, result_id: str) -> JobResult[Any, Any]:
        """Read a job's result.

        Raises TaskResultDoesNotExist for an id that is unknown or not one.
        """
        from ..models import Job

        job_id = _uuid(result_id)
        database = self.database
        job = Job.objects.using(database).filter(id=job_id, backend=self.alias).first()
        if job is None:
            raise TaskResultDoesNotExist(result_id)
        return self.result_of(job)

    def result_of(self, job: Any) -> JobResult[Any, Any]:
        """The result a job's row and its attempts' rows describe."""
        return result_of(job)

    def has_ended(self, result_id: str) -> bool:
        """Whether a job has ended; raises TaskResultDoesNotExist if it is gone."""
        from ..models import FINISHED, Job

        rows = Job.objects.using(self.database).filter(id=_uuid(result_id))
        status = rows.values_list("status", flat=True).first()
        if status is None:
            raise TaskResultDoesNotExist(result_id)
        return status in FINISHED

    def wait(self, result_id: str, timeout: float | None = None) -> None:
        """Wait until a job has ended; see JobResult.wait()."""
        from ..runtime.wakeup import wait_until

        _check_timeout(timeout)
        if self.has_ended(result_id):
            return
        broker = self.broker
        if connections[broker.using].in_atomic_block:
            raise WaitInTransaction(
                "wait() inside transaction.atomic() could wait for ever: the job may "
                "not be committed, and its end may not be visible. Call it after the "
                "block."
            )
        if not wait_until(
            broker,
            lambda: self.has_ended(result_id),
            job_id=str(_uuid(result_id)),
            timeout=timeout,
            dsn=runtime_settings().listener,
        ):
            raise _too_late(result_id, timeout)

    async def await_result(self, result_id: str, timeout: float | None = None) -> None:
        """See wait(); the event loop goes on meanwhile."""
        _check_timeout(timeout)
        try:
            await wait_beside(self, result_id, timeout)
        except TimeoutError:
            if timeout is None:  # not ours
                raise
            # A thread waits a little at a time, and knows of no more.
            raise _too_late(result_id, timeout) from None

    def close_connection(self) -> None:
        """Close this thread's connection to the queue's database."""
        connections[self.database].close()

    # Checks

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        """What `manage.py check` says of this backend's settings."""
        from ..checks import check_backend

        return [*super().check(**kwargs), *check_backend(self)]


def _check_timeout(timeout: float | None) -> None:
    if timeout is not None and not timeout >= 0:
        raise ValueError(f"timeout must be seconds, zero or more, not {timeout!r}.")


def _too_late(result_id: str, timeout: float | None) -> TimeoutError:
    return TimeoutError(f"job {result_id} has not ended within {timeout:g} s")


def _uuid(result_id: str) -> UUID:
    try:
        return UUID(str(result_id))
    except ValueError:
        raise TaskResultDoesNotExist(result_id) from None

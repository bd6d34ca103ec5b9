"""Backends for tests and development, which take and refuse what the real one does.

But for a call that the function does not take: like Django's, they let it fail.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from django.utils import timezone
from django.utils.crypto import get_random_string

from .. import codec, compat, signals
from ..compat import (
    TaskError,
    TaskResultStatus,
    task_enqueued,
    task_finished,
    task_started,
)
from ..context import CURRENT, JobContext, RunState
from ..exceptions import Cancel, Snooze
from ..results import JobResult
from ..task import Call, Task
from .preparing import pairs_of, texts_of
from .reading import STATUS
from .rebuilding import adopted
from .rules import PolicyRules


class Twin(PolicyRules):
    """What both twins do: check all calls first, then act on them one by one."""

    task_class = Task
    supports_defer = True

    def enqueue(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> JobResult[Any, Any]:
        """Check the call and act on it; see Task.enqueue()."""
        return self.accept(self._new_result(task, args, kwargs))

    def enqueue_many(
        self, task: Any, calls: Iterable[Call]
    ) -> list[JobResult[Any, Any]]:
        """Act on each call, or on none if one cannot be accepted."""
        results = [
            self._new_result(task, args, kwargs, path=path)
            for path, args, kwargs in pairs_of(calls)
        ]
        return [self.accept(result) for result in results]

    def deferred(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> Callable[[], JobResult[Any, Any]]:
        """Check a call and copy its arguments now; return what acts on it."""
        result = self._new_result(task, args, kwargs)
        return lambda: self.accept(result)

    def accept(self, result: JobResult[Any, Any]) -> JobResult[Any, Any]:
        """Act on a call that has passed every check."""
        raise NotImplementedError

    async def await_result(self, result_id: str, timeout: float | None = None) -> None:
        """See wait()."""
        self.wait(result_id, timeout)

    def wait(self, result_id: str, timeout: float | None = None) -> None:
        """Return at once for a job that has ended; nothing else here ever will."""
        raise NotImplementedError

    def announce_new(self, result: JobResult[Any, Any]) -> None:
        """Send the signals of a job just enqueued."""
        task_enqueued.send(type(self), task_result=result)
        signals.job_created.send_robust(type(self), job=result)

    def _new_result(
        self,
        task: Any,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        *,
        path: str = "",
    ) -> JobResult[Any, Any]:
        ours: Task[Any, Any] = task if isinstance(task, Task) else adopted(task)
        self.validate_task(ours)
        # Through JSON and back: what a row would hold, or the error it would raise.
        texts = texts_of(ours, args, kwargs, options=self.settings, path=path)
        return JobResult(
            task=ours,
            id=get_random_string(32),
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=codec.decode(texts.args),
            kwargs=codec.decode(texts.kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
            job_status="ready" if ours.run_after is None else "scheduled",
            tags=ours.tags,
            metadata=codec.decode(texts.metadata),
        )


class ImmediateBackend(Twin, compat.ImmediateBackend):
    """Django's ImmediateBackend that knows our policies: for tests and development.

    Runs each task in enqueue(), once, whatever its `run_after`.
    """

    def accept(self, result: JobResult[Any, Any]) -> JobResult[Any, Any]:
        """Run the job; its outcome is in the result."""
        _put(result, enqueued_at=timezone.now())
        self.announce_new(result)
        self._start(result)
        began = time.perf_counter()
        try:
            value = self._run(result)
        except KeyboardInterrupt:
            raise  # whoever stops a test run, stops it
        except Snooze:
            _put_off(result)
        except BaseException as error:
            self._fail(result, error)
        else:
            self._succeed(result, value, duration=time.perf_counter() - began)
        return result

    def wait(self, result_id: str, timeout: float | None = None) -> None:
        """Refuse: a job that has not ended in enqueue() never will."""
        raise TimeoutError(
            f"job {result_id} has not ended in enqueue(), and an ImmediateBackend "
            "runs it nowhere else"
        )

    def _start(self, result: JobResult[Any, Any]) -> None:
        now = timezone.now()
        _put(
            result,
            status=TaskResultStatus.RUNNING,
            job_status="running",
            started_at=now,
            last_attempted_at=now,
        )
        result.worker_ids.append(self.worker_id)
        task_started.send(type(self), task_result=result)
        signals.job_started.send_robust(type(self), job=result, attempt=1)

    def _run(self, result: JobResult[Any, Any]) -> Any:
        """Call the task's function; return its value as a row would hold it."""
        task: Any = result.task
        current = JobContext(task_result=result, run=RunState())
        args = (current, *result.args) if task.takes_context else result.args
        token = CURRENT.set(current)
        try:
            value = task.call(*args, **result.kwargs)
        finally:
            CURRENT.reset(token)
        limit = task.max_result_bytes or self.settings.MAX_RESULT_BYTES
        return codec.decode(codec.encode(value, path="result", limit_bytes=limit))

    def _succeed(
        self, result: JobResult[Any, Any], value: Any, *, duration: float
    ) -> None:
        _put(result, _return_value=value)
        _end(result, "successful")
        task_finished.send(type(self), task_result=result)
        signals.job_completed.send_robust(
            type(self), job=result, result=value, duration=duration
        )

    def _fail(self, result: JobResult[Any, Any], error: BaseException) -> None:
        """End a job by what its task raised, while that is being handled."""
        path, message, traceback = codec.describe_failure(error)
        result.errors.append(TaskError(exception_class_path=path, traceback=traceback))
        if isinstance(error, Cancel):
            result.worker_ids.clear()  # it charges no attempt
            _end(result, "cancelled", reason=str(error.reason))
            task_finished.send(type(self), task_result=result)
            signals.job_cancelled.send_robust(
                type(self), job=result, reason=result.reason
            )
            return
        _end(result, "failed", reason=message)
        task_finished.send(type(self), task_result=result)
        signals.job_failed.send_robust(
            type(self),
            job=result,
            error=error,
            attempt=1,
            will_retry=False,
            retry_at=None,
        )


class DummyBackend(Twin, compat.DummyBackend):
    """Django's DummyBackend that knows our policies: stores calls, runs nothing."""

    def accept(self, result: JobResult[Any, Any]) -> JobResult[Any, Any]:
        """Store the call in `results`; return a copy, as a database would."""
        _put(result, enqueued_at=timezone.now())
        self.results.append(result)
        self.announce_new(result)
        return deepcopy(result)

    def wait(self, result_id: str, timeout: float | None = None) -> None:
        """Return at once for a job that has ended; nothing else here ever will."""
        if not self.get_result(result_id).is_finished:
            raise TimeoutError(
                f"job {result_id} waits in a {type(self).__name__}, which runs nothing"
            )


def _put_off(result: JobResult[Any, Any]) -> None:
    """Leave the job waiting for a time that does not come; it charges no attempt."""
    result.worker_ids.clear()
    _put(result, status=TaskResultStatus.READY, job_status="scheduled")


def _end(result: JobResult[Any, Any], job_status: str, *, reason: str = "") -> None:
    _put(
        result,
        status=STATUS[job_status],
        job_status=job_status,
        reason=codec.storable_text(reason, limit=codec.REASON_LIMIT),
        finished_at=timezone.now(),
    )


def _put(result: JobResult[Any, Any], **values: Any) -> None:
    """Change a result, which is frozen for everybody else."""
    for name, value in values.items():
        object.__setattr__(result, name, value)

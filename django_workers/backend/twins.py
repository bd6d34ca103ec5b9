"""Backends for tests and development, which accept what the real one accepts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from django.utils import timezone
from django.utils.crypto import get_random_string

from .. import compat
from ..compat import TaskResult, TaskResultStatus, task_enqueued
from ..context import CURRENT, JobContext, RunState
from ..results import JobResult
from ..task import Call, Task
from .preparing import pairs_of
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
            self._new_result(task, args, kwargs) for _, args, kwargs in pairs_of(calls)
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
        if not self.get_result(result_id).is_finished:
            raise TimeoutError(
                f"job {result_id} waits in a {type(self).__name__}, which runs nothing"
            )

    def _new_result(
        self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]
    ) -> JobResult[Any, Any]:
        ours: Task[Any, Any] = task if isinstance(task, Task) else adopted(task)
        self.validate_task(ours)
        # Django's own class makes plain JSON of the arguments, and refuses the rest.
        plain: TaskResult[Any, Any] = TaskResult(
            task=ours,
            id=get_random_string(32),
            status=TaskResultStatus.READY,
            enqueued_at=None,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        given = {
            name: getattr(plain, name)
            for name, field in TaskResult.__dataclass_fields__.items()
            if field.init
        }
        return JobResult(
            **given,
            job_status="ready" if ours.run_after is None else "scheduled",
            tags=ours.tags,
            metadata=dict(ours.metadata),
        )


class ImmediateBackend(Twin, compat.ImmediateBackend):
    """Django's ImmediateBackend that knows our policies: for tests and development.

    Runs each task in enqueue(), once, whatever its `run_after`.
    """

    def accept(self, result: JobResult[Any, Any]) -> JobResult[Any, Any]:
        """Run the job; its outcome is in the result."""
        object.__setattr__(result, "job_status", "running")
        token = CURRENT.set(JobContext(task_result=result, run=RunState()))
        try:
            # Django's own steps, so that tests see what they see there.
            self._execute_task(result)  # type: ignore[attr-defined]
        finally:
            CURRENT.reset(token)
        status = result.status.name.lower()
        object.__setattr__(result, "job_status", status)
        return result


class DummyBackend(Twin, compat.DummyBackend):
    """Django's DummyBackend that knows our policies: stores calls, runs nothing."""

    def accept(self, result: JobResult[Any, Any]) -> JobResult[Any, Any]:
        """Store the call in `results`; return a copy, as a database would."""
        object.__setattr__(result, "enqueued_at", timezone.now())
        self.results.append(result)
        task_enqueued.send(type(self), task_result=result)
        return deepcopy(result)

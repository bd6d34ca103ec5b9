"""What a job's rows say, as a result."""

from collections.abc import Sequence
from typing import Any, Final

from ..compat import TaskError, TaskResultStatus
from ..exceptions import JobCancelled, UnknownTask
from ..results import JobResult
from ..task import Task, get_task
from .rebuilding import rebuilt_task

# Django knows four statuses and asks backends with more to compress them.
STATUS: Final = {
    "scheduled": TaskResultStatus.READY,
    "blocked": TaskResultStatus.READY,
    "ready": TaskResultStatus.READY,
    "running": TaskResultStatus.RUNNING,
    "successful": TaskResultStatus.SUCCESSFUL,
    "failed": TaskResultStatus.FAILED,
    "cancelled": TaskResultStatus.FAILED,
}
_CHARGED: Final = ("successful", "failed", "timed_out")


def result_of(job: Any) -> JobResult[Any, Any]:
    """The result a job's row and its attempts' rows describe."""
    # From where the job was read: a router may send reads to a replica that lags.
    rows = job.attempt_set.db_manager(job._state.db)
    attempts = list(rows.order_by("epoch"))
    worker_ids = [row.worker for row in attempts if row.outcome in _CHARGED]
    if len(worker_ids) < job.attempts or job.status == "running":
        worker_ids.append(job.worker)
    result: JobResult[Any, Any] = JobResult(
        task=_task_of(job),
        id=str(job.id),
        status=STATUS[job.status],
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


def _task_of(job: Any) -> Task[Any, Any]:
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

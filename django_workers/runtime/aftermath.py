"""The last words about an attempt: signals sent once its outcome is in the database.

They are sent in a thread of their own, so that no slot waits for the commit; at most
once, since a child may die in between. Where the exception matters to receivers, it is
raised again around them, so that `sys.exc_info()` works as Django's own tasks have it.
"""

import logging
import queue
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

from .. import signals
from ..codec import decode
from ..compat import (
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_backends,
    task_enqueued,
    task_finished,
)
from ..models import Schedule, WorkerSession
from . import connections
from .attempt import RETRY, SUCCEED, Report, Run
from .execution import Execution, sender_of
from .tame import log_exception

logger = logging.getLogger("django_workers.worker")

# A thread that has had nothing to say for so long closes its connections.
IDLE_SECONDS: Final = 30.0

# What the supervisor says of a report.
STALE: Final = "stale"


class Aftermath:
    """Sends the final signals of one child's attempts."""

    def __init__(self, execution: Execution) -> None:
        """Start nothing: the thread comes with the first acknowledgement."""
        self._execution = execution
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def acknowledge(self, acks: list[tuple[int, str]]) -> None:
        """Take the supervisor's word on reports: (frame number, status) of each."""
        self._later(lambda: self._announce_all(acks))

    def tell(self, name: str, values: dict[str, Any]) -> None:
        """Send a signal about the worker or a schedule on the supervisor's behalf."""
        if name == "job_ended":
            self._later(lambda: announce_ended(**values))
            return
        if name == "schedule_fired":
            alias = values.pop("backend")
            self._later(lambda: announce_made(values["job_id"], alias))
        self._later(lambda: _send_event(name, values))

    def finish(self, timeout: float) -> None:
        """Send what is waiting, for at most `timeout` seconds."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join(timeout)

    def _later(self, work: Callable[[], Any]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._speak, name="after", daemon=True
            )
            self._thread.start()
        self._work.put(work)

    def _speak(self) -> None:
        while (work := self._next()) is not None:
            _attempt(connections.before_job)
            _attempt(work)
            _attempt(connections.after_job)

    def _next(self) -> Callable[[], None] | None:
        """Wait for something to say; rest meanwhile."""
        try:
            return self._work.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            connections.when_idle()
            return self._work.get()

    def _announce_all(self, acks: list[tuple[int, str]]) -> None:
        for number, status in acks:
            known = self._execution.reported_or_given_up(number)
            if known is not None:
                _attempt(partial(announce, *known, status))


def _attempt(work: Callable[[], None]) -> None:
    """Call it, whatever it raises: send_robust lets SystemExit through."""
    try:
        work()
    except BaseException:
        log_exception(logger, "A final signal could not be sent")


def _send_event(name: str, values: dict[str, Any]) -> None:
    sender: type[Any] = WorkerSession
    if name == "schedule_fired":
        sender = Schedule
    elif name == "job_rescued":
        alias = values.pop("backend")
        if alias not in task_backends:
            return  # `TASKS` has changed since: nobody to name as the sender
        sender = sender_of(alias)
    getattr(signals, name).send_robust(sender, **_typed(values))


def _typed(values: dict[str, Any]) -> dict[str, Any]:
    """The values of an event as receivers get them: frames hold plain values only."""
    typed = dict(values)
    if "session_id" in typed:
        typed["session_id"] = UUID(typed["session_id"])
    if "slot" in typed:
        typed["slot"] = datetime.fromtimestamp(typed["slot"], UTC)
    return typed


def announce(run: Run, report: Report, status: str) -> None:
    """Send the signals that follow from a report and what became of it."""
    result = run.result
    if result is None:
        return
    sender = sender_of(run.job.backend)
    if status == STALE:
        signals.job_stale.send_robust(sender, job=result)
    elif status == "cancelled":
        _finish(result, "cancelled", TaskResultStatus.FAILED, reason=report.reason)
        _raising(run.error, lambda: _send_cancelled(sender, run, report))
    elif status == "failed":
        _finish(result, "failed", TaskResultStatus.FAILED, reason=report.reason)
        _raising(run.error, lambda: _send_failed(sender, run, will_retry=False))
    elif report.kind == SUCCEED:
        _finish(result, "successful", TaskResultStatus.SUCCESSFUL, reason="")
        object.__setattr__(result, "_return_value", _plain(report.result))
        task_finished.send_robust(sender, task_result=result)
        if signals.job_completed.receivers:
            signals.job_completed.send_robust(
                sender, job=result, result=result.return_value, duration=run.duration
            )
    elif report.kind == RETRY:
        object.__setattr__(result, "status", TaskResultStatus.READY)
        object.__setattr__(result, "job_status", status)
        _log_retry(run, report)
        _raising(run.error, lambda: _send_failed(sender, run, will_retry=True))


def _log_retry(run: Run, report: Report) -> None:
    """Say what Django's own receiver does not: it logs only how jobs end."""
    path, message, _traceback = report.failure or ("", "", "")
    logger.warning(
        "Job %s of %s failed in attempt %d of %d (%s: %s); the next one in %.3g s",
        run.job.id,
        run.job.task,
        run.attempt,
        run.job.max_attempts,
        path.rpartition(".")[2],
        message,
        report.delay,
    )


def announce_made(job_id: str, backend: str) -> None:
    """Send the signals of a job that a schedule has made, as enqueue() would.

    A job that is gone again has none.
    """
    if backend not in task_backends:
        return  # `TASKS` has changed since: nobody to name as the sender
    try:
        result = task_backends[backend].get_result(job_id)
    except TaskResultDoesNotExist:
        return
    sender = sender_of(backend)
    task_enqueued.send_robust(sender, task_result=result)
    signals.job_created.send_robust(sender, job=result)


def announce_ended(job_id: str, backend: str, status: str) -> None:
    """Send the signals of an attempt no child could report: a crash, say."""
    result = task_backends[backend].get_result(job_id)
    sender = sender_of(backend)
    error = result.errors[-1] if result.errors else None
    if status in ("failed", "cancelled"):
        task_finished.send_robust(sender, task_result=result)
    if status == "cancelled":
        reason = getattr(result, "reason", "")
        signals.job_cancelled.send_robust(sender, job=result, reason=reason)
        return
    will_retry = status != "failed"
    attempt = max(1, result.attempts)
    signals.job_failed.send_robust(
        sender,
        job=result,
        error=error,
        attempt=attempt,
        will_retry=will_retry,
        retry_at=None,
    )
    if will_retry:
        signals.job_retried.send_robust(
            sender, job=result, attempt=attempt, retry_at=None
        )


def _send_failed(sender: type[Any], run: Run, *, will_retry: bool) -> None:
    retry_at = run.retry_at if will_retry else None
    if not will_retry:
        task_finished.send_robust(sender, task_result=run.result)
    signals.job_failed.send_robust(
        sender,
        job=run.result,
        error=run.error,
        attempt=run.attempt,
        will_retry=will_retry,
        retry_at=retry_at,
    )
    if will_retry:
        signals.job_retried.send_robust(
            sender, job=run.result, attempt=run.attempt, retry_at=retry_at
        )


def _send_cancelled(sender: type[Any], run: Run, report: Report) -> None:
    task_finished.send_robust(sender, task_result=run.result)
    signals.job_cancelled.send_robust(sender, job=run.result, reason=report.reason)


def _finish(
    result: Any, job_status: str, status: TaskResultStatus, *, reason: str
) -> None:
    put = object.__setattr__
    put(result, "status", status)
    put(result, "job_status", job_status)
    put(result, "reason", reason)
    put(result, "finished_at", datetime.now(UTC))


def _raising(error: BaseException | None, send: Callable[[], None]) -> None:
    """Send while the exception is being handled, as Django's receivers expect."""
    if error is None:
        send()
        return
    trace = error.__traceback__
    try:
        raise error
    except BaseException:
        # What receivers show begins in the task, not with the line above.
        error.__traceback__ = trace
        send()


def _plain(text: str | None) -> Any:
    return None if text is None else decode(text)

"""What follows from the way an attempt ended: another one, or the end of the job."""

import logging
from datetime import UTC, datetime
from typing import Any, Final

from .. import codec
from ..backoff import DEFAULT_BACKOFF, MAX_DELAY_SECONDS
from ..compat import InvalidTaskBackend, TaskError, task_backends
from ..conf import RuntimeSettings
from ..exceptions import (
    Cancel,
    DjangoWorkersError,
    JobCancelled,
    Retry,
    Snooze,
    TaskTimeout,
    UnencodableValue,
    UnknownTask,
)
from .attempt import (
    CANCEL,
    FAIL,
    ON_REQUEST,
    RETRIES_ARE_OVER,
    RETRY,
    SNOOZE,
    SUCCEED,
    Report,
    Run,
)
from .tame import log_exception

logger = logging.getLogger("django_workers.worker")

ERROR_TEXT_LIMIT: Final = 64_000
MAX_RESULT_BYTES: Final = 1_000_000


class Judge:
    """Turns how a body ended into a report, by the policy of its task."""

    def __init__(self, settings: RuntimeSettings) -> None:
        """Judge by these settings where task, call and backend say nothing."""
        self._settings = settings

    def timeout(self, run: Run) -> float | None:
        """Seconds this attempt may run; None: as long as it likes."""
        assert run.task is not None
        given = (
            run.job.timeout
            or run.task.timeout
            or _option(run, "TIMEOUT")
            or self._settings.timeout
        )
        bound = self._settings.max_job_duration
        return given if bound is None else min(given or bound, bound)

    def returned(self, run: Run) -> Report:
        """The body returned; a value that cannot be stored fails the job."""
        assert run.task is not None
        limit: int = (
            run.task.max_result_bytes
            or _option(run, "MAX_RESULT_BYTES")
            or MAX_RESULT_BYTES
        )
        try:
            text = codec.encode(run.value, path="result", limit_bytes=limit)
        except UnencodableValue as error:
            run.error = error
            return self._failed(run, FAIL, reason=str(error))
        return Report(run.number, SUCCEED, result=text, duration=run.duration)

    def raised(
        self,
        run: Run,
        *,
        asked: type[BaseException] | None = None,
        misfit: bool = False,
    ) -> Report:
        """The body, or a step before it, raised `run.error`.

        `asked` is the exception class it was asked to end with, if it was; `misfit`
        says that the task cannot be called with these arguments at all.
        """
        error = run.error
        trace = error.__traceback__ if error else None
        if asked is TaskTimeout:
            run.error = TaskTimeout(self._overtime(run)).with_traceback(trace)
            return self._timed_out(run)
        if asked is JobCancelled:
            run.error = JobCancelled(run.state.cancel_reason).with_traceback(trace)
            return self._failed(run, CANCEL, outcome="cancelled")
        if isinstance(error, Snooze):
            delay = min(error.after, MAX_DELAY_SECONDS)
            return Report(run.number, SNOOZE, duration=run.duration, delay=delay)
        if isinstance(error, Cancel):
            return self._failed(
                run, CANCEL, reason=str(error.reason), outcome="cancelled"
            )
        if run.task is None or misfit or isinstance(error, UnknownTask):
            return self._failed(run, FAIL)
        if isinstance(error, Retry):
            return self._again_or_fail(run, error.after)
        if not _is_retryable(run):
            return self._failed(run, FAIL)
        return self._again_or_fail(run, None)

    def unstarted(self, run: Run, reason: str) -> Report:
        """It was cancelled before it started."""
        run.error = JobCancelled(reason or "cancelled")
        return self._failed(run, CANCEL, outcome="cancelled")

    def deaf(self, run: Run, *, timed_out: bool) -> Report:
        """The body ignores that it was asked to end."""
        if timed_out:
            run.error = TaskTimeout(f"{self._overtime(run)} and ignored it")
            return self._timed_out(run)
        run.error = JobCancelled("cancelled; the task ignored it and goes on")
        return self._failed(run, CANCEL, outcome="cancelled")

    def _overtime(self, run: Run) -> str:
        return f"ran longer than its timeout of {self.timeout(run):g} s"

    def _timed_out(self, run: Run) -> Report:
        """A timeout is tried again where any other exception of its kind would be."""
        if not _is_retryable(run):
            return self._failed(run, FAIL, outcome="timed_out")
        return self._again_or_fail(run, None, outcome="timed_out")

    def _again_or_fail(
        self, run: Run, delay: float | None, *, outcome: str = "failed"
    ) -> Report:
        """Another attempt if the budget, the back-off and the deadline allow it."""
        if run.attempt >= run.job.max_attempts:
            return self._failed(run, FAIL, outcome=outcome)
        if delay is None:
            delay = self._delay(run)
        if delay is None:
            return self._failed(run, FAIL, outcome=outcome)
        delay = min(delay, MAX_DELAY_SECONDS)
        until = run.job.retry_until
        if until is not None and run.now + delay > until:
            return self._failed(run, FAIL, outcome=outcome, reason=RETRIES_ARE_OVER)
        run.retry_at = datetime.fromtimestamp(run.now + delay, UTC)
        return self._failed(run, RETRY, delay=delay, outcome=outcome)

    def _delay(self, run: Run) -> float | None:
        """Ask the task's back-off; one that fails is replaced by the default."""
        assert run.task is not None and run.result is not None
        assert run.error is not None
        backoff = run.task.backoff or _option(run, "BACKOFF") or DEFAULT_BACKOFF
        try:
            delay = backoff(run.error, run.result)
            if delay is None or 0 <= float(delay) < float("inf"):
                return None if delay is None else float(delay)
            raise ValueError(f"back-off must give seconds or None, not {delay!r}")
        except BaseException:
            log_exception(logger, "The back-off of %s failed", run.job.task)
            return DEFAULT_BACKOFF.delay_after(run.attempt)

    def _failed(
        self,
        run: Run,
        kind: str,
        *,
        delay: float = 0.0,
        outcome: str = "failed",
        reason: str = "",
    ) -> Report:
        assert run.error is not None
        failure = codec.describe_failure(
            _trimmed(run.error), ERROR_TEXT_LIMIT, will_retry=kind == RETRY
        )
        reason = codec.storable_text(reason or failure[1], limit=codec.REASON_LIMIT)
        if run.result is not None:
            run.result.errors.append(
                TaskError(exception_class_path=failure[0], traceback=failure[2])
            )
        return Report(
            run.number,
            kind,
            duration=run.duration,
            delay=delay,
            failure=failure,
            reason=_with_the_askers(run, reason) if kind == CANCEL else reason,
            outcome=outcome,
        )


def _with_the_askers(run: Run, reason: str) -> str:
    """Why a job ends as cancelled; who asked for it finds their own reason, too."""
    asked = run.state.cancel_reason
    if asked in ("", ON_REQUEST):
        return reason
    if isinstance(run.error, JobCancelled) and str(run.error) == asked:
        return asked
    return f"{reason}; asked to stop: {asked}" if reason else asked


def unreported(number: int, error: BaseException | None = None) -> Report:
    """The report of an attempt whose own one could not be made or sent.

    It speaks of the body's own *error* if there was one.
    """
    path = f"{DjangoWorkersError.__module__}.{DjangoWorkersError.__qualname__}"
    message = "the worker could not report how the attempt ended; see its log"
    failure = (path, message, f"{path}: {message}\n")
    if error is not None:
        failure = codec.describe_exception(_trimmed(error), ERROR_TEXT_LIMIT)
    return Report(number, FAIL, failure=failure, reason=message, outcome="failed")


def _option(run: Run, name: str) -> Any:
    """What the OPTIONS of the job's backend say; None where it is not one of ours."""
    try:
        backend = task_backends[run.job.backend]
    except InvalidTaskBackend:
        return None  # `TASKS` has changed since
    return getattr(getattr(backend, "settings", None), name, None)


def _is_retryable(run: Run) -> bool:
    assert run.task is not None
    if isinstance(run.error, run.task.no_retry_on):
        return False
    return not run.task.retry_on or isinstance(run.error, run.task.retry_on)


def _trimmed(error: BaseException) -> BaseException:
    """The exception without the worker's own frames on top of its traceback."""
    trace = error.__traceback__
    while trace is not None and "/django_workers/runtime/" in (
        trace.tb_frame.f_code.co_filename.replace("\\", "/")
    ):
        trace = trace.tb_next
    return error.with_traceback(trace) if trace is not None else error

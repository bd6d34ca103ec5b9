"""How claims end: what a child's report, or its death, makes of a job."""

from ..backoff import DEFAULT_BACKOFF
from ..brokers import ClaimedJob, Ending, Failure
from ..exceptions import (
    JobCancelled,
    JobExpired,
    Quarantined,
    TaskTimeout,
    WorkerCrashed,
)
from ..models import AttemptOutcome, JobStatus, OnCrash
from .attempt import (
    CANCEL,
    ON_REQUEST,
    RETRIES_ARE_OVER,
    RETRY,
    SNOOZE,
    SUCCEED,
    Report,
)


def ending_of(job: ClaimedJob, report: Report) -> Ending:
    """The ending a report asks for."""
    if report.kind == SUCCEED:
        assert report.result is not None and report.duration is not None
        return Ending.succeed(job, result=report.result, duration=report.duration)
    if report.kind == SNOOZE:
        return _snoozed(job, report)
    assert report.failure is not None
    exception, message, traceback = report.failure
    failure = Failure(exception=exception, message=message, traceback=traceback)
    if report.kind == CANCEL:
        return Ending.cancel(
            job, reason=report.reason, failure=failure, duration=report.duration
        )
    if report.kind == RETRY:
        return Ending.retry(
            job,
            delay=report.delay,
            failure=failure,
            duration=report.duration,
            outcome=report.outcome,
        )
    return Ending.fail(
        job,
        failure=failure,
        duration=report.duration,
        outcome=report.outcome,
        reason=report.reason,
    )


def _snoozed(job: ClaimedJob, report: Report) -> Ending:
    ending = Ending.release(job)
    ending.status = JobStatus.SCHEDULED.value
    ending.outcome = AttemptOutcome.SNOOZED.value
    ending.delay, ending.in_place = report.delay, False
    ending.duration = report.duration
    return ending


def crashed(
    job: ClaimedJob, *, pid: int, how: str, alone: bool, max_crashes: int
) -> Ending:
    """The process died while it ran the job; `alone`: it ran nothing else.

    Only a job that ran alone is surely to blame, so only then may it be quarantined.
    """
    crashes = job.crashes + 1
    kind: type[Exception] = WorkerCrashed
    message = f"its process {pid} {how}"
    status = JobStatus.READY
    if job.on_crash == OnCrash.FAIL:
        status, message = JobStatus.FAILED, f"{message}; it must not run twice"
    elif alone and crashes >= max_crashes:
        kind, status = Quarantined, JobStatus.FAILED
        message = f"{message}; it has killed {crashes} processes"
    ending = _ended(
        job,
        status=status,
        outcome=AttemptOutcome.CRASHED,
        failure=failure_of(kind, message),
    )
    ending.crashes = 1
    return ending


def interrupted(job: ClaimedJob, *, how: str) -> Ending:
    """The process was ended on purpose while it ran the job."""
    fails = job.on_crash == OnCrash.FAIL
    ending = _ended(
        job,
        status=JobStatus.FAILED if fails else JobStatus.READY,
        outcome=AttemptOutcome.INTERRUPTED,
        failure=failure_of(WorkerCrashed, f"interrupted: its process {how}"),
    )
    ending.interruptions = 1
    return ending


def too_late(job: ClaimedJob) -> Ending | None:
    """The ending of a claimed job whose time to start is over; None: it may start."""
    if job.expired and job.is_first_start:
        return _expired(job)
    is_over = job.retry_until is not None and job.claimed_at > job.retry_until
    if is_over and job.attempts + job.crashes:
        # It waited longer for its next attempt than its back-off asked for.
        return _ended(
            job,
            status=JobStatus.FAILED,
            outcome=AttemptOutcome.EXPIRED,
            failure=failure_of(JobExpired, RETRIES_ARE_OVER),
        )
    return None


def _expired(job: ClaimedJob) -> Ending:
    message = "not started before its deadline"
    return Ending.cancel(
        job,
        reason=message,
        failure=failure_of(JobExpired, message),
        duration=None,
        outcome=AttemptOutcome.EXPIRED.value,
    )


def cancelled(job: ClaimedJob, reason: str) -> Ending:
    """Somebody wanted the job cancelled, and it had not started."""
    reason = reason or ON_REQUEST
    return Ending.cancel(
        job, reason=reason, failure=failure_of(JobCancelled, reason), duration=None
    )


def overdue(job: ClaimedJob, *, pid: int, timed_out: bool) -> Ending:
    """The job had to end, and its process answered nothing and was killed.

    What its task thinks of another attempt only that process knew, so the budget and
    the default back-off decide.
    """
    if not timed_out:
        return cancelled(job, f"cancelled; its process {pid} did not answer")
    message = f"ran longer than its timeout; its process {pid} did not answer"
    failure = failure_of(TaskTimeout, message)
    outcome = AttemptOutcome.TIMED_OUT.value
    if job.attempts + 1 >= job.max_attempts:
        return Ending.fail(job, failure=failure, duration=None, outcome=outcome)
    delay = DEFAULT_BACKOFF.delay_after(job.attempts + 1)
    return Ending.retry(
        job, delay=delay, failure=failure, duration=None, outcome=outcome
    )


def postponed(job: ClaimedJob, *, delay: float) -> Ending:
    """The job has not started, and is better tried some seconds later; uncharged."""
    ending = Ending.release(job)
    ending.status = JobStatus.SCHEDULED.value
    ending.delay, ending.in_place = delay, False
    return ending


def failure_of(kind: type[BaseException], message: str) -> Failure:
    """A failure no task has raised."""
    path = f"{kind.__module__}.{kind.__qualname__}"
    return Failure(exception=path, message=message, traceback=f"{path}: {message}\n")


def _ended(
    job: ClaimedJob, *, status: JobStatus, outcome: AttemptOutcome, failure: Failure
) -> Ending:
    ending = Ending.release(job)
    ending.status = status.value
    ending.outcome = outcome.value
    ending.failure = failure
    if status == JobStatus.FAILED:
        ending.reason = failure.message
    return ending

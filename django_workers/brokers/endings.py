"""How a claim can end, in plain values: nothing here is written yet."""

from dataclasses import dataclass
from typing import Any, Final

from ..models.status import AttemptOutcome, JobStatus, OnCrash
from .records import ClaimedJob

LOST_EXCEPTION: Final = "django_workers.exceptions.WorkerLost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An exception as text: never rebuilt into an object."""

    exception: str
    message: str = ""
    traceback: str = ""


@dataclass(slots=True, kw_only=True)
class Ending:
    """How a claim ends: where the job goes, what is charged, what is remembered.

    Made by the ways to end below; `Broker.settle` writes any mixture of them in one
    transaction.
    """

    id: str
    epoch: int
    task: str
    queue: str
    priority: int
    backend: str
    status: str
    # What the per-minute figures and the attempt's row call it.
    outcome: str
    # The charged number of the attempt, from 1.
    number: int = 1
    result: str | None = None
    # Seconds the body ran; None if it never started.
    duration: float | None = None
    wait: float = 0.0
    attempts: int = 0
    crashes: int = 0
    interruptions: int = 0
    # Seconds until the job is due again, 0 for now; None leaves its due time alone.
    delay: float | None = None
    # Keep the job's place in its lane instead of drawing a new one.
    in_place: bool = False
    reason: str = ""
    failure: Failure | None = None
    worker: str = ""
    host: str = ""
    pid: int | None = None
    # When the claim was made, seconds since 1970 by the database's clock.
    started_at: float | None = None

    @property
    def has_attempt_row(self) -> bool:
        """Whether the attempt needs a row beside the job's own."""
        if self.outcome == AttemptOutcome.SUCCESSFUL:
            return self.number > 1
        return bool(self.outcome)

    @property
    def is_unstarted(self) -> bool:
        """Whether the job did not start: the claim then leaves no trace of a start."""
        return not self.outcome

    @classmethod
    def _of(cls, job: ClaimedJob, **values: Any) -> "Ending":
        """The ending of a job, with what all endings take from its claim."""
        return cls(
            id=job.id,
            epoch=job.epoch,
            task=job.task,
            queue=job.queue,
            priority=job.priority,
            backend=job.backend,
            number=job.attempts + 1,
            started_at=job.claimed_at,
            **values,
        )

    @classmethod
    def succeed(cls, job: ClaimedJob, *, result: str, duration: float) -> "Ending":
        """The task returned."""
        return cls._of(
            job,
            status=JobStatus.SUCCESSFUL.value,
            outcome=AttemptOutcome.SUCCESSFUL.value,
            result=result,
            duration=duration,
            wait=job.wait,
            attempts=1,
        )

    @classmethod
    def retry(
        cls,
        job: ClaimedJob,
        *,
        delay: float,
        failure: Failure,
        duration: float | None,
        outcome: str = AttemptOutcome.FAILED.value,
    ) -> "Ending":
        """The attempt failed; another one follows after `delay` seconds."""
        return cls._of(
            job,
            status=(JobStatus.SCHEDULED if delay > 0 else JobStatus.READY).value,
            outcome=outcome,
            duration=duration,
            wait=job.wait,
            attempts=1,
            # At once, too: it waits from now on, not since it was first enqueued.
            delay=max(delay, 0.0),
            failure=failure,
        )

    @classmethod
    def fail(
        cls,
        job: ClaimedJob,
        *,
        failure: Failure,
        duration: float | None,
        outcome: str = AttemptOutcome.FAILED.value,
        reason: str = "",
    ) -> "Ending":
        """The job failed for good."""
        return cls._of(
            job,
            status=JobStatus.FAILED.value,
            outcome=outcome,
            duration=duration,
            wait=job.wait,
            attempts=1,
            failure=failure,
            reason=reason or failure.message[:200] or failure.exception,
        )

    @classmethod
    def cancel(
        cls,
        job: ClaimedJob,
        *,
        reason: str,
        failure: Failure,
        duration: float | None,
        outcome: str = AttemptOutcome.CANCELLED.value,
    ) -> "Ending":
        """The job ends as cancelled; uncharged."""
        return cls._of(
            job,
            status=JobStatus.CANCELLED.value,
            outcome=outcome,
            duration=duration,
            wait=job.wait,
            failure=failure,
            reason=reason,
        )

    @classmethod
    def release(cls, job: ClaimedJob) -> "Ending":
        """The job had not started: back into its place, uncharged."""
        return cls._of(
            job,
            status=JobStatus.READY.value,
            outcome="",
            in_place=True,
        )

    @classmethod
    def lost(cls, job: ClaimedJob, *, worker: str) -> "Ending":
        """The holder stopped answering: back into its place, or failed."""
        fails = job.on_crash == OnCrash.FAIL
        message = f"worker {worker} stopped answering while it held the job"
        if fails:
            message += "; it must not run twice"
        return cls._of(
            job,
            status=(JobStatus.FAILED if fails else JobStatus.READY).value,
            outcome=AttemptOutcome.LOST.value,
            interruptions=1,
            in_place=True,
            reason=message if fails else "",
            failure=Failure(
                exception=LOST_EXCEPTION,
                message=message,
                traceback=f"{LOST_EXCEPTION}: {message}\n",
            ),
            worker=worker,
        )

"""Cancel, retry, hasten and postpone jobs."""

import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.utils import timezone

from .. import signals
from ..brokers import Broker, Lane, broker_for
from ..codec import storable_text
from ..compat import InvalidTaskBackend, task_backends
from ..databases import after_commit
from ..models import Job
from ..runtime import wakeup
from .targets import Targets, chunks_of, database_of
from .twin import async_twin

logger = logging.getLogger("django_workers.control")

# Most characters of a reason that are kept.
REASON_LIMIT: Final = 1_000

LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)


def cancel(
    ids: Targets, *, reason: str = "", by: str = "", using: str | None = None
) -> dict[str, str]:
    """End waiting jobs at once, ask the workers of running ones to stop them.

    Returns for each job "cancelled", "requested" (it was running; its worker decides)
    or "finished first" (nothing was changed). `reason` is kept on the job, with `by`.
    The signal `job_cancelled` is sent here, after the commit, for the jobs that ended
    at once.
    """
    text = f"{reason} (by {by})" if reason and by else reason or (by and f"by {by}")
    text = storable_text(text, limit=REASON_LIMIT)
    answers: dict[str, str] = {}
    using = database_of(ids, using)
    broker = broker_for(using)
    for chunk in chunks_of(ids, using=using):
        done = broker.cancel(chunk, reason=text)
        answers |= _by_text(done)
        if "requested" in done.values():
            wakeup.announce(broker, [wakeup.CONTROL])
        ended = [job_id for job_id, answer in done.items() if answer == "cancelled"]
        if ended and signals.job_cancelled.receivers:
            after_commit(_saying_cancelled(using, ended), using=using)
    return answers


def _saying_cancelled(using: str, ids: Sequence[UUID]) -> Callable[[], None]:
    def say() -> None:
        for job in Job.objects.using(using).filter(id__in=ids):
            try:
                backend: Any = task_backends[job.backend]
                result = backend.result_of(job)
            except (InvalidTaskBackend, AttributeError):
                # `TASKS` has changed since: nobody to name as the sender.
                logger.warning("No backend %s for job %s", job.backend, job.id)
                continue
            signals.job_cancelled.send_robust(
                type(backend), job=result, reason=job.reason
            )

    return say


def retry(
    ids: Targets,
    *,
    reset_attempts: bool = False,
    by: str = "",
    using: str | None = None,
) -> dict[str, str]:
    """Make failed and cancelled jobs ready again.

    They keep their counters and get one more attempt; with `reset_attempts` they start
    over with their full budget. The record of their attempts stays either way. Returns
    for each job "retried", "not finished" or "successful" (both: nothing was changed).
    """

    def requeue(broker: Broker, chunk: Sequence[UUID]) -> Mapping[UUID, str]:
        return broker.requeue(chunk, reset_attempts=reset_attempts)

    return _made_ready(ids, requeue, "retried", by=by, using=using)


def run_now(ids: Targets, *, by: str = "", using: str | None = None) -> dict[str, str]:
    """Make scheduled jobs ready at once.

    Returns for each job "ready" or "not waiting" (it runs, has ended or is blocked).
    """
    return _made_ready(
        ids, lambda broker, chunk: broker.hasten(chunk), "ready", by=by, using=using
    )


def _made_ready(
    ids: Targets,
    verb: Callable[[Broker, Sequence[UUID]], Mapping[UUID, str]],
    done: str,
    *,
    by: str,
    using: str | None,
) -> dict[str, str]:
    answers: dict[str, str] = {}
    using = database_of(ids, using)
    broker = broker_for(using)
    for chunk in chunks_of(ids, using=using):
        given = verb(broker, chunk)
        answers |= _by_text(given)
        moved = [job_id for job_id, answer in given.items() if answer == done]
        if moved:
            logger.info("%d jobs %s by=%s", len(moved), done, by)
            announce_ready(broker, moved)
    return answers


def announce_ready(broker: Broker, ids: Sequence[UUID]) -> None:
    """Wake the workers of the lanes that these jobs have come into."""
    if not broker.can_notify:
        return
    lanes = broker.jobs.filter(id__in=ids).values_list("queue", "priority").distinct()
    wakeup.announce(
        broker, sorted(wakeup.ready_payload(Lane(*lane)) for lane in lanes.order_by())
    )


def reschedule(
    ids: Targets,
    run_after: datetime | timedelta,
    *,
    by: str = "",
    using: str | None = None,
) -> dict[str, str]:
    """Give waiting jobs another due time: an aware datetime, or a timedelta from now.

    Returns for each job "rescheduled" or "not waiting" (it runs, has ended or is
    blocked). Raises ValueError for a naive datetime and for one after the year 8999.
    """
    answers: dict[str, str] = {}
    using = database_of(ids, using)
    broker = broker_for(using)
    moment = moment_of("run_after", run_after, now=broker.now)
    for chunk in chunks_of(ids, using=using):
        given = broker.postpone(chunk, moment)
        answers |= _by_text(given)
        moved = sum(answer == "rescheduled" for answer in given.values())
        if moved:
            logger.info("%d jobs rescheduled by=%s", moved, by)
            wakeup.announce(broker, [wakeup.DUE])
    return answers


def moment_of(
    name: str, when: datetime | timedelta, *, now: Callable[[], datetime]
) -> datetime:
    """Return *when* as an aware datetime; a timedelta counts from `now()`.

    Raises ValueError, with the argument's *name*, for a naive or impossible one.
    """
    try:
        moment = now() + when if isinstance(when, timedelta) else when
        if not timezone.is_aware(moment):
            raise ValueError(f"{name} must be an aware datetime, not {when!r}.")
        if moment >= LATEST:
            raise OverflowError
    except OverflowError:
        raise ValueError(f"{name} must lie before the year 9000.") from None
    return moment


def _by_text(answers: Mapping[UUID, str]) -> dict[str, str]:
    return {str(job_id): answer for job_id, answer in answers.items()}


acancel = async_twin(cancel)
aretry = async_twin(retry)
arun_now = async_twin(run_now)
areschedule = async_twin(reschedule)

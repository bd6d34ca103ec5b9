"""What the page of one job shows: what it was called with, and how it went."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext

from ..carriers import METADATA_KEY
from ..models import (
    UNFINISHED,
    WAITING,
    Attempt,
    AttemptOutcome,
    Job,
    JobStatus,
    Schedule,
    WorkerSession,
)
from ..task import Task
from ..templatetags.django_workers_admin import masked
from .base import rows
from .declared import declared_task
from .signatures import positional_names
from .site import address, schedules_admin, workers_admin
from .verbs import CANCEL, RETRY, RUN_NOW, is_allowed

if TYPE_CHECKING:
    from .jobs import JobAdmin

# What is no mishap: its exception is how the worker was told, and says nothing more.
_CALM: Final = (
    AttemptOutcome.CANCELLED,
    AttemptOutcome.SNOOZED,
    AttemptOutcome.EXPIRED,
)
# The attempts that have a number; others leave theirs to the next one.
_CHARGED: Final = (
    AttemptOutcome.SUCCESSFUL,
    AttemptOutcome.FAILED,
    AttemptOutcome.TIMED_OUT,
)
# Attempts shown in full; of a job with more, the first and the last ones.
_FIRST, _LAST = 3, 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One line of the timeline."""

    title: str
    at: datetime | None = None
    # A word that pill() knows.
    outcome: str = ""
    # Seconds.
    duration: float | None = None
    waited: float | None = None
    details: list[tuple[str, Any]] = field(default_factory=list)
    worker: str = ""
    worker_url: str | None = None
    exception: str = ""
    message: str = ""
    traceback: str = ""
    note: str = ""


def job_page(job: Job, model_admin: "JobAdmin", request: HttpRequest) -> dict[str, Any]:
    """The context of a job's page beside the job itself."""
    site = model_admin.admin_site
    task = declared_task(job.task)
    attempts, left_out = _attempts(job)
    workers = _Workers(job, attempts, model_admin, request)
    return {
        "job": job,
        "task": task,
        "task_url": address(site, "task_change", task.key) if task else None,
        "timeline": _timeline(job, attempts, left_out, workers),
        "arguments": _arguments(job, task),
        "context_values": masked(job.metadata.get(METADATA_KEY, {})),
        "metadata": {k: v for k, v in job.metadata.items() if k != METADATA_KEY},
        "schedule": _schedule(job, model_admin, request),
        "due": _due(job),
        "is_live": job.status in UNFINISHED,
        "can_cancel": (
            job.status in UNFINISHED
            and not job.cancel_requested_at
            and is_allowed(CANCEL, model_admin, request)
        ),
        "can_retry": (
            job.status in RETRY.statuses and is_allowed(RETRY, model_admin, request)
        ),
        "can_run": (
            job.status == JobStatus.SCHEDULED
            and is_allowed(RUN_NOW, model_admin, request)
        ),
        "jobs_url": model_admin.url("changelist"),
    }


def _arguments(job: Job, task: Task[Any, Any] | None) -> list[tuple[str, Any]]:
    """Each argument with the parameter's name, if the function tells it."""
    names = positional_names(task) if task else []
    named = [
        (names[number] if number < len(names) else f"[{number}]", value)
        for number, value in enumerate(job.args)
    ]
    return [
        (name, masked(value, name)) for name, value in [*named, *job.kwargs.items()]
    ]


def _attempts(job: Job) -> tuple[list[Attempt], int]:
    """The attempts' rows, oldest first, and how many were left out between them."""
    # From where the job was read: a router may send reads to a replica that lags.
    rows = job.attempt_set.db_manager(job._state.db)
    first = list(rows.order_by("epoch")[: _FIRST + 1])
    if len(first) <= _FIRST:
        return first, 0
    last = list(rows.order_by("-epoch")[:_LAST])[::-1]
    seen = {row.pk for row in first[:_FIRST]}
    last = [row for row in last if row.pk not in seen]
    shown = [*first[:_FIRST], *last]
    return shown, max(0, rows.count() - len(shown)) if len(last) == _LAST else 0


class _Workers:
    """Which of the workers that a job met have a page to link to."""

    def __init__(
        self,
        job: Job,
        attempts: list[Attempt],
        model_admin: "JobAdmin",
        request: HttpRequest,
    ) -> None:
        self.site = model_admin.admin_site
        self.known: set[UUID] = set()
        admin = workers_admin(self.site)
        wanted = {row.session for row in attempts if row.session}
        if job.session:
            wanted.add(job.session)
        if wanted and admin and admin.has_view_permission(request):
            found = rows(WorkerSession).filter(pk__in=wanted)
            self.known = set(found.values_list("pk", flat=True))

    def url(self, session: UUID | None) -> str | None:
        if session not in self.known:
            return None
        return address(self.site, "workersession_change", session)


def _timeline(
    job: Job, attempts: list[Attempt], left_out: int, workers: _Workers
) -> list[Step]:
    steps = [Step(title=gettext("Enqueued"), at=job.enqueued_at, outcome="")]
    waited = _waited(job)
    for number, attempt in enumerate(attempts):
        steps.append(_step_of(attempt, workers, waited if number == 0 else None))
        if left_out and number == _FIRST - 1:
            note = gettext("%(count)s more attempts are not shown.") % {
                "count": left_out
            }
            steps.append(Step(title="…", note=note))
    told = attempts[-1] if attempts else None
    if job.status == JobStatus.RUNNING:
        steps.append(
            Step(
                title=_numbered(job.attempts + 1),
                at=job.last_attempted_at,
                outcome=JobStatus.RUNNING,
                duration=_since(job.last_attempted_at),
                waited=None if attempts else waited,
                worker=job.worker,
                worker_url=workers.url(job.session),
                note=(gettext("Asked to stop.") if job.cancel_requested_at else ""),
            )
        )
    elif job.status == JobStatus.SUCCESSFUL and (
        told is None or told.outcome != AttemptOutcome.SUCCESSFUL
    ):
        # A first attempt that succeeds has no row of its own: the job says it all.
        steps.append(
            Step(
                title=_numbered(job.attempts or 1),
                at=job.last_attempted_at or job.started_at,
                outcome=AttemptOutcome.SUCCESSFUL,
                duration=job.duration,
                waited=None if attempts else waited,
                worker=job.worker,
            )
        )
    steps.append(_end(job))
    return steps


def _step_of(attempt: Attempt, workers: _Workers, waited: float | None) -> Step:
    details: list[tuple[str, Any]] = []
    if attempt.host:
        details.append((gettext("host"), attempt.host))
    if attempt.pid:
        details.append((gettext("process"), attempt.pid))
    is_calm = attempt.outcome in _CALM
    return Step(
        title=(
            _numbered(attempt.number)
            if attempt.outcome in _CHARGED
            else gettext("Attempt")
        ),
        at=attempt.started_at or attempt.finished_at,
        outcome=attempt.outcome,
        duration=attempt.duration,
        waited=waited,
        details=details,
        worker=attempt.worker,
        worker_url=workers.url(attempt.session),
        exception="" if is_calm else attempt.exception,
        message=attempt.message,
        traceback=attempt.traceback,
        note=attempt.message if is_calm else "",
    )


def _numbered(number: int) -> str:
    return gettext("Attempt %(number)s") % {"number": number}


def _end(job: Job) -> Step:
    """Where the job stands now, or how it ended."""
    if job.finished_at:
        return Step(
            title=gettext("Finished"),
            at=job.finished_at,
            outcome=job.status,
        )
    if job.status == JobStatus.SCHEDULED:
        return Step(
            title=gettext("Waits for its time"),
            at=job.run_after,
            outcome=job.status,
            note=job.reason,
        )
    if job.status == JobStatus.RUNNING:
        return Step(title=gettext("Not finished yet"))
    return Step(
        title=gettext("Waits for a worker"),
        outcome=job.status,
        note=job.reason,
        waited=_since(job.run_after or job.enqueued_at),
    )


def _due(job: Job) -> tuple[str, datetime] | None:
    """When it may start at the earliest, while that means something, and its name.

    The first start waited for the moment that was given with the job. Later ones are
    those of its next attempts, and of no interest once these have started.
    """
    if job.run_after is None:
        return None
    if job.started_at is None or job.run_after <= job.started_at:
        return gettext("Not before"), job.run_after
    if job.status in WAITING and job.status != JobStatus.READY:
        return gettext("Next attempt"), job.run_after
    return None


def _waited(job: Job) -> float | None:
    """Seconds between the moment the job could first run and its first start."""
    if job.started_at is None:
        return None
    due = job.enqueued_at
    # After a retry `run_after` is when that was due.
    if job.run_after and job.run_after <= job.started_at:
        due = max(due, job.run_after)
    return max(0.0, (job.started_at - due).total_seconds())


def _since(moment: datetime | None) -> float | None:
    if moment is None:
        return None
    return max(0.0, (timezone.now() - moment).total_seconds())


def _schedule(
    job: Job, model_admin: "JobAdmin", request: HttpRequest
) -> tuple[str, str | None] | None:
    """The name of the schedule that made the job and its page, if it still exists."""
    if job.schedule_id is None:
        return None
    name = (
        rows(Schedule).filter(pk=job.schedule_id).values_list("name", flat=True).first()
    )
    if name is None:
        return None
    admin = schedules_admin(model_admin.admin_site)
    visible = admin is not None and admin.has_view_permission(request)
    return name, address(
        model_admin.admin_site, "schedule_change", job.schedule_id
    ) if visible else None

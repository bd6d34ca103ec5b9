"""Cancel and requeue, hasten and postpone: what people do to jobs from outside.

Each locks the jobs it is given in the order of their ids, looks at their statuses, and
says what happened to each that exists.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

from django.db.models import F
from django.db.models.functions import Greatest

from ..dialect import DatabaseNow, NextPosition
from ..models import FINISHED, JobStatus
from .database import OnDatabase

CANCELLED: Final = "cancelled"
REQUESTED: Final = "requested"
FINISHED_FIRST: Final = "finished first"


class PeopleVerbs(OnDatabase):
    """Changes the course of jobs, whoever holds them."""

    def cancel(self, ids: Sequence[UUID], *, reason: str = "") -> dict[UUID, str]:
        """End waiting jobs; ask the holders of running ones to stop.

        Returns for each job that exists "cancelled", "requested" or "finished first".
        """
        answers: dict[UUID, str] = {}
        with self.transaction():
            statuses = self._lock(ids)
            for job_id, status in statuses.items():
                if status in FINISHED:
                    answers[job_id] = FINISHED_FIRST
                elif status == JobStatus.RUNNING:
                    answers[job_id] = REQUESTED
                else:
                    answers[job_id] = CANCELLED
            self.jobs.filter(id__in=_with(answers, CANCELLED)).update(
                status=JobStatus.CANCELLED,
                finished_at=DatabaseNow(),
                cancel_requested_at=DatabaseNow(),
                reason=reason,
            )
            self.jobs.filter(
                id__in=_with(answers, REQUESTED), cancel_requested_at__isnull=True
            ).update(cancel_requested_at=DatabaseNow(), reason=reason)
        return answers

    def cancel_requests(self, session: UUID) -> list[tuple[str, int, str]]:
        """The running jobs of a session that somebody wants stopped.

        Returns (id, epoch, reason) of each.
        """
        return [
            (str(job_id), epoch, reason)
            for job_id, epoch, reason in self.jobs.running()
            .filter(session=session, cancel_requested_at__isnull=False)
            .order_by()
            .values_list("id", "epoch", "reason")
        ]

    def requeue(
        self, ids: Sequence[UUID], *, reset_attempts: bool = False
    ) -> dict[UUID, Literal["retried", "successful", "not finished"]]:
        """Make failed and cancelled jobs ready again.

        Without reset the counters stay and the job gets one more attempt; with it the
        full budget again. Their attempts' rows stay. Returns what happened to each job
        that exists.
        """
        answers: dict[UUID, Any] = {}
        with self.transaction():
            for job_id, status in self._lock(ids).items():
                if status in (JobStatus.FAILED, JobStatus.CANCELLED):
                    answers[job_id] = "retried"
                elif status == JobStatus.SUCCESSFUL:
                    answers[job_id] = "successful"
                else:
                    answers[job_id] = "not finished"
            changes: dict[str, Any] = (
                {"attempts": 0, "crashes": 0, "interruptions": 0}
                if reset_attempts
                else {"max_attempts": Greatest(F("max_attempts"), F("attempts") + 1)}
            )
            self.jobs.filter(id__in=_with(answers, "retried")).update(
                status=JobStatus.READY,
                position=NextPosition(),
                # It waits from now on, not since it was first enqueued.
                run_after=DatabaseNow(),
                finished_at=None,
                cancel_requested_at=None,
                expires_at=None,
                retry_until=None,
                result=None,
                reason="",
                **changes,
            )
        return answers

    def hasten(
        self, ids: Sequence[UUID]
    ) -> dict[UUID, Literal["ready", "not waiting"]]:
        """Make scheduled jobs ready now. Returns what happened to each that exists."""
        answers: dict[UUID, Any] = {}
        with self.transaction():
            for job_id, status in self._lock(ids).items():
                waits = status in (JobStatus.SCHEDULED, JobStatus.READY)
                answers[job_id] = "ready" if waits else "not waiting"
            self.jobs.scheduled().filter(id__in=_with(answers, "ready")).update(
                status=JobStatus.READY, position=NextPosition(), run_after=DatabaseNow()
            )
        return answers

    def postpone(
        self, ids: Sequence[UUID], run_after: datetime
    ) -> dict[UUID, Literal["rescheduled", "not waiting"]]:
        """Give waiting jobs another due time. Returns what happened to each."""
        answers: dict[UUID, Any] = {}
        with self.transaction():
            for job_id, status in self._lock(ids).items():
                waits = status in (JobStatus.SCHEDULED, JobStatus.READY)
                answers[job_id] = "rescheduled" if waits else "not waiting"
            self.jobs.filter(id__in=_with(answers, "rescheduled")).update(
                status=JobStatus.SCHEDULED, run_after=run_after
            )
        return answers

    def _lock(self, ids: Sequence[UUID]) -> dict[UUID, str]:
        """Lock jobs in id order; return the status of each that exists."""
        rows = self.jobs.filter(id__in=list(ids)).order_by("id")
        if self.connection.features.has_select_for_update:
            rows = rows.select_for_update()
        return dict(rows.values_list("id", "status"))


def _with(answers: Mapping[UUID, str], answer: str) -> list[UUID]:
    return [job_id for job_id, given in answers.items() if given == answer]

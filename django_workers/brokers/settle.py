"""Succeed, retry, fail, release: the four ways to end a claim, all written alike."""

import json
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, F, OuterRef, Subquery, Value, When
from django.db.models.functions import Coalesce

from ..dialect import DatabaseNow, DatabaseNowPlus, NextPosition
from ..models import FINISHED, Attempt, JobStatus
from .database import OnDatabase
from .endings import Ending
from .rollups import add_to_rollups


class SettleVerbs(OnDatabase):
    """Ends claims: each write carries the token of the claim it ends."""

    # Whether batches are added to the per-minute figures.
    writes_rollups = True

    def settle(self, session: UUID, endings: Sequence[Ending]) -> dict[str, str]:
        """End claims of a session, all in one transaction, rollups included.

        Returns the status each job has now, by id; a job that is missing there was no
        longer held under that token, and nothing was written about it. Raises what
        the database raises: one row it cannot store aborts the whole batch.
        """
        if not endings:
            return {}
        batch = sorted(endings, key=lambda ending: ending.id)
        with self.transaction():
            written = self._leave_running(session, batch)
            ours = [ending for ending in batch if ending.id in written]
            self._record_attempts(session, ours)
            if self.writes_rollups:
                add_to_rollups(self.connection, ours)
        return written

    succeed = retry = fail = release = settle

    def _leave_running(
        self, session: UUID, endings: Sequence[Ending]
    ) -> dict[str, str]:
        """Move each job that is still ours to where its ending says."""
        written: dict[str, str] = {}
        for ending in endings:
            held = self.jobs.filter(id=ending.id, epoch=ending.epoch, session=session)
            status = ending.status
            if status not in FINISHED and held.filter(
                cancel_requested_at__isnull=False
            ).update(**self._changes(ending, JobStatus.CANCELLED.value)):
                written[ending.id] = JobStatus.CANCELLED.value
            elif held.update(**self._changes(ending, status)):
                written[ending.id] = status
        return written

    def _changes(self, ending: Ending, status: str) -> dict[str, Any]:
        changes: dict[str, Any] = {
            "status": status,
            "session": None,
            "attempts": F("attempts") + ending.attempts,
            "crashes": F("crashes") + ending.crashes,
            "interruptions": F("interruptions") + ending.interruptions,
        }
        if ending.duration is not None:
            changes["duration"] = ending.duration
        if ending.reason:
            changes["reason"] = ending.reason
        if ending.result is not None:
            changes["result"] = json.loads(ending.result)
        if status in FINISHED:
            changes["finished_at"] = DatabaseNow()
        elif ending.delay is not None:
            changes["run_after"] = DatabaseNowPlus(Value(ending.delay))
        if status == JobStatus.READY and not ending.in_place:
            changes["position"] = NextPosition()
        if ending.is_unstarted:
            changes |= self._traces_taken_back()
        return changes

    def _traces_taken_back(self) -> dict[str, Any]:
        """What the row said before a claim under which the job did not start."""
        last = (
            Attempt.objects.using(self.using)
            .filter(job_id=OuterRef("id"))
            .order_by("-epoch")
        )
        # MySQL writes one after the other and compares with what it has written: the
        # one that looks at the others comes first.
        return {
            "started_at": Case(
                When(
                    started_at=F("last_attempted_at"),
                    attempts=0,
                    crashes=0,
                    interruptions=0,
                    then=Value(None),
                ),
                default=F("started_at"),
            ),
            "last_attempted_at": Subquery(last.values("started_at")[:1]),
            "worker": Coalesce(Subquery(last.values("worker")[:1]), Value("")),
        }

    def _record_attempts(self, session: UUID, endings: Iterable[Ending]) -> None:
        """Write a row for every attempt the job's own row cannot tell."""
        rows = [
            Attempt(
                job_id=UUID(ending.id),
                number=ending.number,
                epoch=ending.epoch,
                session=session,
                worker=ending.worker,
                host=ending.host,
                pid=ending.pid,
                outcome=ending.outcome,
                exception=ending.failure.exception if ending.failure else "",
                message=ending.failure.message if ending.failure else "",
                traceback=ending.failure.traceback if ending.failure else "",
                started_at=_instant(ending.started_at),
                finished_at=DatabaseNow(),
                duration=ending.duration,
            )
            for ending in endings
            if ending.has_attempt_row
        ]
        if rows:
            Attempt.objects.using(self.using).bulk_create(rows, batch_size=500)


def _instant(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)

"""Promote, admit, rescue, prune: whole sets moved by what their rows say.

Each is safe to run on all hosts at once.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db.models import Value

from ..dialect import DatabaseNow, DatabaseNowPlus, NextPosition
from ..models import ALIVE, FINISHED, Attempt, JobStatus, WorkerSession
from .endings import Ending
from .records import Lane, Promotion, Rescue
from .rows import CLAIM_FIELDS, held_job
from .settle import SettleVerbs

# How the reason of a job begins that is parked because nobody knows its task.
UNROUTABLE: Final = "unroutable"


class ChoreVerbs(SettleVerbs):
    """Moves jobs that nobody holds, or nobody who lives; a rescue ends their claims."""

    def promote(self, limit: int = 1_000) -> Promotion:
        """Make due scheduled jobs ready, the longest due first.

        Returns how many, in which lanes, and when the next one is due.
        """
        with self.transaction():
            due = self.jobs.scheduled().filter(run_after__lte=DatabaseNow())
            rows = list(
                due.order_by("run_after")
                .select_for_update(skip_locked=self.can_skip_locked)
                .values_list("id", "queue", "priority")[:limit]
            )
            # One by one, so that positions follow due times; and one after another,
            # since a clock may stand still meanwhile.
            step = 0 if self.dialect.counts_positions else 1
            for rank, (job_id, _queue, _priority) in enumerate(rows):
                self.jobs.scheduled().filter(id=job_id).update(
                    status=JobStatus.READY, position=NextPosition() + rank * step
                )
        return Promotion(
            count=len(rows),
            lanes=frozenset(Lane(queue, priority) for _, queue, priority in rows),
            next_due=self._next_due(),
        )

    def _next_due(self) -> float | None:
        due = self.jobs.scheduled().order_by("run_after")
        first = due.values_list("run_after", flat=True).first()
        return None if first is None else (first - self.now()).total_seconds()

    def admit(self, tasks: Sequence[str]) -> int:
        """Release the jobs parked as unroutable whose task is known now."""
        return (
            self.jobs.filter(
                status=JobStatus.BLOCKED, reason__startswith=UNROUTABLE, task__in=tasks
            )
            .order_by()
            .update(status=JobStatus.READY, position=NextPosition(), reason="")
        )

    def known_elsewhere(self, task: str) -> bool:
        """Whether a living worker lists the task among those it can run."""
        return any(
            task in names
            for names in WorkerSession.objects.using(self.using)
            .alive()
            .values_list("tasks", flat=True)
        )

    def rescue(self, limit: int = 1_000, *, dry_run: bool = False) -> list[Rescue]:
        """Take jobs back from sessions that are not alive any more.

        A session counts as alive until somebody marked it lost or stopped; the age of
        a job never matters. Each job is charged an interruption, since nobody knows
        whether it had started, and goes back to its place; one that must not run
        twice fails instead. Returns what was done, or with `dry_run` would be.
        """
        with self.transaction():
            return self._rescue(limit, dry_run=dry_run)

    def _rescue(self, limit: int, *, dry_run: bool) -> list[Rescue]:
        alive = WorkerSession.objects.using(self.using).filter(state__in=ALIVE)
        rows = list(
            self.jobs.running()
            # Every running job has one; said for MySQL, which has the others in the
            # index, too.
            .filter(session__isnull=False)
            .exclude(session__in=alive.values("id"))
            .order_by("session")  # as the index has them: nothing to sort
            # What somebody else holds is left for the next time.
            .select_for_update(skip_locked=self.can_skip_locked)
            .values("session", *CLAIM_FIELDS, "worker")[:limit]
        )
        now = self.now()
        rescued: list[Rescue] = []
        by_session: dict[UUID, list[Ending]] = {}
        for row in rows:
            job = held_job(row, now)
            ending = Ending.lost(job, worker=row["worker"])
            by_session.setdefault(row["session"], []).append(ending)
        for session, endings in by_session.items():
            written = (
                {ending.id: ending.status for ending in endings}
                if dry_run
                else self.settle(session, endings)
            )
            rescued += [
                Rescue(
                    job_id=ending.id,
                    task=ending.task,
                    backend=ending.backend,
                    session=session,
                    status=written[ending.id],
                    reason=ending.failure.message if ending.failure else "",
                )
                for ending in endings
                if ending.id in written
            ]
        return rescued

    def prune(
        self,
        *,
        status: str,
        older_than: timedelta,
        queue: str | None = None,
        limit: int = 1_000,
    ) -> int:
        """Delete at most `limit` jobs that finished longer ago than that.

        Only finished jobs are ever deleted, with their attempts. Returns how many.
        """
        if status not in FINISHED:
            raise ValueError(f"only finished jobs are pruned, not {status!r}")
        with self.transaction():
            old = self.jobs.filter(
                status=status,
                finished_at__lt=DatabaseNowPlus(Value(-older_than.total_seconds())),
            )
            if queue is not None:
                old = old.filter(queue=queue)
            ids = list(
                old.order_by("finished_at")
                .select_for_update(skip_locked=self.can_skip_locked)
                .values_list("id", flat=True)[:limit]
            )
            if ids:
                attempts = Attempt.objects.using(self.using).filter(job_id__in=ids)
                attempts._raw_delete(self.using)
                self.jobs.filter(id__in=ids, status=status)._raw_delete(self.using)
        return len(ids)

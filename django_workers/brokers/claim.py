"""Claim: ready jobs become a session's own, lane by lane."""

from collections.abc import Collection, Sequence
from typing import Any, Final
from uuid import UUID

from django.db.models import F, Value, Window
from django.db.models.functions import Coalesce, RowNumber

from ..models import Attempt, JobStatus
from .database import OnDatabase
from .lanes import find_lanes
from .records import Claim, ClaimedJob, Lane
from .rows import CLAIM_FIELDS, claimed_job, held_job

# Most attempts of a job that a claim brings along.
MOST_HISTORY: Final = 100


class ClaimVerb(OnDatabase):
    """Hands ready jobs to sessions, and tells what a claim has to know."""

    def lanes(self, tasks: Sequence[str] | None = None) -> list[Lane]:
        """Every lane that has ready jobs, found by hopping over the index.

        With `tasks` only those tasks' jobs count, and each lane belongs to a task.
        """
        return find_lanes(self.connection, tasks)

    def claim(
        self,
        session: UUID,
        *,
        worker: str,
        lanes: Sequence[tuple[Lane, int]],
        limit: int,
    ) -> Claim:
        """Hand at most `limit` ready jobs of these lanes, in this order, to a session.

        A lane comes with its floor: no job below that position is looked for (a hint
        that only PostgreSQL uses). Raises the epoch of each job; charges nothing.
        """
        if not lanes or limit < 1:
            return Claim([])
        jobs: list[ClaimedJob] = []
        with self.transaction():
            for lane, _floor in lanes:
                jobs += self._claim_lane(
                    session, worker=worker, lane=lane, limit=limit - len(jobs)
                )
                if len(jobs) >= limit:
                    break
        return Claim(jobs)

    def _claim_lane(
        self, session: UUID, *, worker: str, lane: Lane, limit: int
    ) -> list[ClaimedJob]:
        ready = self.jobs.ready().filter(queue=lane.queue, priority=lane.priority)
        if lane.task:
            ready = ready.filter(task=lane.task)
        rows = list(
            ready.order_by("position", "id")
            .select_for_update(skip_locked=self.can_skip_locked)
            .values(*CLAIM_FIELDS)[:limit]
        )
        if not rows:
            return []
        # Read first and written as a value: the claim returns what the row holds.
        now = self.now()
        self.jobs.ready().filter(id__in=[row["id"] for row in rows]).update(
            status=JobStatus.RUNNING,
            session=session,
            worker=worker,
            epoch=F("epoch") + 1,
            started_at=Coalesce(F("started_at"), Value(now)),
            last_attempted_at=now,
            reason="",
        )
        return [claimed_job(row, now) for row in rows]

    def forgotten(self, session: UUID, *, known: Collection[str]) -> list[ClaimedJob]:
        """The jobs a session holds by the database but not among those it knows.

        A claim whose answer never came leaves such. *known* must have been collected
        before the call, by whoever claims for the session.
        """
        held = self.jobs.running().filter(session=session)
        ids = [
            job_id
            for job_id in held.order_by().values_list("id", flat=True)
            if str(job_id) not in known
        ]
        if not ids:
            return []
        rows = held.filter(id__in=ids).order_by("position", "id").values(*CLAIM_FIELDS)
        now = self.now()
        return [held_job(row, now) for row in rows]

    def history(self, ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
        """The newest recorded attempts of jobs, the oldest of them first, by id.

        A hundred of each at most: a job that is put off every few seconds for a week
        has more of them than a frame should hold.
        """
        found: dict[str, list[dict[str, Any]]] = {}
        newest_first = Window(RowNumber(), "job_id", F("epoch").desc())
        for row in (
            Attempt.objects.using(self.using)
            .filter(job_id__in=[UUID(job_id) for job_id in ids])
            .annotate(place=newest_first)
            .filter(place__lte=MOST_HISTORY)
            .order_by("job_id", "epoch")
            .values("job_id", "outcome", "worker", "exception", "traceback")
        ):
            found.setdefault(str(row["job_id"]), []).append(
                {name: value for name, value in row.items() if name != "job_id"}
            )
        return found

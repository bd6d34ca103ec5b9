"""Claimed jobs that no child has yet, the most urgent first."""

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from ..brokers import ClaimedJob, Lane

# A job that waits here for longer while no slot is free goes back to its lane.
PATIENCE_SECONDS: Final = 1.0


@dataclass(order=True, slots=True)
class _Waiting:
    order: tuple[Any, ...]
    job: ClaimedJob = field(compare=False)
    history: Any = field(compare=False)
    since: float = field(compare=False)


class WaitingJobs:
    """A heap of jobs in the order of their lanes, then of their positions."""

    def __init__(self, rank_of: Callable[[Lane], tuple[int, int]]) -> None:
        """Hold nothing; `rank_of` orders lanes as the claims do."""
        self._rank_of = rank_of
        self._heap: list[_Waiting] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[ClaimedJob]:
        """The jobs, in no order."""
        return (item.job for item in self._heap)

    def push(self, job: ClaimedJob, history: Any, *, now: float) -> None:
        """Let a job wait from `now` (monotonic) on."""
        rank = self._rank_of(Lane(job.queue, job.priority))
        # Jobs of one position go by id, as they are claimed; one that comes back too.
        order = (*rank, job.position, job.id)
        heapq.heappush(self._heap, _Waiting(order, job, history, now))

    def pop(self) -> tuple[ClaimedJob, Any]:
        """Take the most urgent job, with its history."""
        item = heapq.heappop(self._heap)
        return item.job, item.history

    def renew(self, job: ClaimedJob) -> None:
        """Replace the token of a job that has been claimed again."""
        for item in self._heap:
            if item.job.id == job.id:
                item.job = job

    def remove(self, job_id: str) -> ClaimedJob | None:
        """Take a job out of the middle; None: it does not wait here."""
        for index, item in enumerate(self._heap):
            if item.job.id == job_id:
                del self._heap[index]
                heapq.heapify(self._heap)
                return item.job
        return None

    def take_late(self, now: float) -> list[ClaimedJob]:
        """Take out what has waited too long."""
        late = [item.job for item in self._heap if self._is_late(item, now)]
        if late:
            self._heap = [item for item in self._heap if not self._is_late(item, now)]
            heapq.heapify(self._heap)
        return late

    def take_all(self) -> list[ClaimedJob]:
        """Take out everything."""
        jobs = list(self)
        self._heap.clear()
        return jobs

    @staticmethod
    def _is_late(item: _Waiting, now: float) -> bool:
        return now - item.since > PATIENCE_SECONDS

"""Endings on their way to the database."""

import threading
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

from ..brokers import ClaimedJob, Ending, Lane
from ..models import JobStatus
from .link import ChildLink


class Settling(NamedTuple):
    """An ending on its way to the database, and whom to tell."""

    ending: Ending
    link: ChildLink | None = None
    number: int = 0


class EndingQueue:
    """What waits for the completer, and what it is writing now.

    Its owner's lock guards it, but for `take`, which only the completer calls.
    """

    def __init__(self) -> None:
        """Hold nothing."""
        self._waiting: deque[Settling] = deque()
        # The epochs of those whose endings are not known to be written yet.
        self._epochs: dict[str, int] = {}
        # Lanes whose jobs went back to their old places.
        self._returned: set[Lane] = set()
        # The jobs on their way back to their old places.
        self._returning: set[str] = set()
        # Set when endings wait for the database.
        self.event = threading.Event()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, item: Settling) -> None:
        """Let an ending wait for the database."""
        ending = item.ending
        self._epochs[ending.id] = ending.epoch
        if ending.in_place:
            self._returning.add(ending.id)
        self._waiting.append(item)
        self.event.set()

    def take(self, limit: int) -> list[Settling]:
        """Take endings for one transaction."""
        batch: list[Settling] = []
        while self._waiting and len(batch) < limit:
            batch.append(self._waiting.popleft())
        return batch

    def settled(self, batch: Iterable[Settling]) -> list[str]:
        """Note that these are written; the ids of the jobs that are ours no more."""
        gone: list[str] = []
        for item in batch:
            ending = item.ending
            if self._epochs.get(ending.id) == ending.epoch:
                del self._epochs[ending.id]
                gone.append(ending.id)
            # Only now: a claim that looks before the commit lifts its floor.
            if ending.in_place or ending.status == JobStatus.READY:
                self._returned.add(Lane(ending.queue, ending.priority))
            self._returning.discard(ending.id)
        return gone

    @property
    def returning(self) -> int:
        """How many jobs are on their way back to their old places."""
        return len(self._returning)

    def put_off(self, job_id: str) -> None:
        """The ending of a job takes longer: nobody waits for its way back."""
        self._returning.discard(job_id)

    def precedes(self, job: ClaimedJob) -> bool:
        """Whether this claim could only come after an ending that is still here.

        The next claim sees the commit of an ending before the completer says so.
        """
        return job.epoch > self._epochs.get(job.id, job.epoch)

    def forget(self, job_id: str) -> None:
        """The job has been claimed again: its ending is written."""
        self._epochs.pop(job_id, None)

    def returned_lanes(self) -> set[Lane]:
        """The lanes jobs went back to since the last call."""
        returned, self._returned = self._returned, set()
        return returned

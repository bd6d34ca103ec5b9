"""Between the broker and the children: what is claimed, who gets it, what came back.

Claimed jobs wait in the supervisor, in lane order, for the next free slot of any child;
a child holds its slots and a few milliseconds of work. So the next slot always gets the
most urgent job, and nothing waits behind a long one for longer than a recall takes.
"""

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from ..brokers import ClaimedJob, Ending, Failure, Lane
from ..exceptions import (
    JobCancelled,
    JobExpired,
    Quarantined,
    WorkerCrashed,
)
from ..models import AttemptOutcome, JobStatus, OnCrash
from . import execution, wire
from .execution import Report
from .link import ChildLink

# A job that waits here for longer while no slot is free goes back to its lane.
PATIENCE_SECONDS: Final = 1.0
# Claiming stops while so many endings wait for the database.
MOST_UNSETTLED: Final = 10_000


class Settling(NamedTuple):
    """An ending on its way to the database, and whom to tell."""

    ending: Ending
    link: ChildLink | None = None
    number: int = 0


@dataclass(order=True, slots=True)
class _Waiting:
    """A claimed job that no child has yet."""

    order: tuple[Any, ...]
    job: ClaimedJob = field(compare=False)
    history: Any = field(compare=False)
    since: float = field(compare=False)


class Dispatcher:
    """Holds every claimed job of one supervisor until its ending is settled."""

    def __init__(
        self,
        *,
        worker_id: str,
        host: str,
        batch_size: int,
        max_crashes: int,
        prefetch: bool,
        rank_of: Callable[[Lane], tuple[int, int]],
    ) -> None:
        """Hold nothing yet; `rank_of` orders lanes as the claims do."""
        self._worker_id = worker_id
        self._host = host
        self._batch_size = batch_size
        self._max_crashes = max_crashes
        self._prefetch = prefetch
        self._rank_of = rank_of
        self._lock = threading.RLock()
        self._tiebreak = itertools.count()
        self._waiting: list[_Waiting] = []
        # Jobs whose next crash may end them for good: each runs alone in a child, so
        # that none is blamed for another's doing; and the child kept for them.
        self._suspect_at = max(1, max_crashes - 1)
        self._suspects: list[_Waiting] = []
        self._alone: ChildLink | None = None
        self._settling: deque[Settling] = deque()
        # Every job that is ours in the database, by id.
        self._ids: dict[str, ChildLink | None] = {}
        # The epochs of those whose endings are not known to be written yet.
        self._ending: dict[str, int] = {}
        # What earlier attempts left behind, of those that had some.
        self._histories: dict[str, Any] = {}
        self.links: list[ChildLink] = []
        # Set when a slot or room has come free.
        self.room_event = threading.Event()
        # Set when endings wait for the database.
        self.settle_event = threading.Event()
        # Lanes whose jobs went back to their old places, and how many are on the way.
        self._returned: set[Lane] = set()
        self._returning = 0

    # Children

    def add(self, link: ChildLink) -> None:
        """A child has been started."""
        with self._lock:
            link.prefetch = self._prefetch
            self.links.append(link)

    def hello(self, link: ChildLink) -> None:
        """A child is ready for jobs."""
        link.ready = True
        self.room_event.set()

    def lost_child(self, link: ChildLink, *, how: str) -> None:
        """A child is gone: what it had started has crashed, the rest waits again."""
        with self._lock:
            if link not in self.links:
                return
            self.links.remove(link)
            started, unstarted = link.split()
            link.abandoned.clear()
            if link is self._alone:
                self._alone = None
            for job in started:
                ending = (
                    self._interrupted(job, how)
                    if link.killed
                    else self._crashed(job, link, how, alone=len(started) == 1)
                )
                self._end(ending, link)
            self._put_back(unstarted)
        link.close()
        self.room_event.set()

    def retire(self, link: ChildLink) -> None:
        """Send a child no more jobs and take back what it has not started."""
        with self._lock:
            link.retiring = True
            self._put_back(link.recall())
        self.room_event.set()

    # Claiming

    def known_ids(self) -> set[str]:
        """Every job that is ours in the database, as far as we know."""
        with self._lock:
            return set(self._ids)

    @property
    def held_count(self) -> int:
        """Jobs that are ours in the database."""
        return len(self._ids)

    @property
    def running_count(self) -> int:
        """Jobs the children hold, look-ahead included."""
        return sum(len(link.held) for link in self.links)

    @property
    def slot_count(self) -> int:
        """Slots of the children that take jobs."""
        return sum(link.slots for link in self.links if link.takes_jobs)

    def wanted(self) -> int:
        """How many jobs the next claim should take; 0: none now.

        With nothing starving, it waits until a claim is worth its round trip. While
        jobs are on their way back to their places, a claim would take later ones.
        """
        with self._lock:
            if self._returning or len(self._settling) >= MOST_UNSETTLED:
                return 0
            links = [link for link in self.links if link.takes_jobs]
            room = sum(link.room for link in links)
            ahead = sum(link.speed.ahead() for link in links) if self._prefetch else 0
            wanted = min(self._batch_size, room + ahead - len(self._waiting))
            starving = any(link.free_slots for link in links) and not self._waiting
            if starving or wanted >= min(self._batch_size, ahead) // 2:
                return max(0, wanted)
            return 0

    def take(
        self, jobs: Iterable[ClaimedJob], histories: dict[str, Any]
    ) -> list[ClaimedJob]:
        """Take claimed jobs over; returns those that had expired, already ended.

        A job that is in flight here already was claimed before by a commit the
        database has forgotten: its token is renewed, and it is not sent again.
        """
        expired: list[ClaimedJob] = []
        now = time.monotonic()
        with self._lock:
            for job in jobs:
                if job.id in self._ids and not self._has_ended(job):
                    self._renew(job)
                    continue
                self._ending.pop(job.id, None)
                self._ids[job.id] = None
                if job.expired:
                    expired.append(job)
                    self._end(_expired(job))
                    continue
                if job.id in histories:
                    self._histories[job.id] = histories[job.id]
                self._wait(job, now)
        return expired

    def _has_ended(self, job: ClaimedJob) -> bool:
        """Whether a claim could only come after the ending we still have in hand.

        The next claim sees the commit of an ending before the completer says so.
        """
        return job.epoch > self._ending.get(job.id, job.epoch)

    def _wait(self, job: ClaimedJob, now: float) -> None:
        rank = self._rank_of(Lane(job.queue, job.priority))
        order = (*rank, job.position, next(self._tiebreak))
        history = self._histories.get(job.id)
        heap = self._waiting if job.crashes < self._suspect_at else self._suspects
        heapq.heappush(heap, _Waiting(order, job, history, now))

    def _renew(self, job: ClaimedJob) -> None:
        for item in (*self._waiting, *self._suspects):
            if item.job.id == job.id:
                item.job = job
        link = self._ids[job.id]
        for held in [link.held] if link else []:
            for number, known in held.items():
                if known.id == job.id:
                    held[number] = job

    def _put_back(self, jobs: Iterable[ClaimedJob]) -> None:
        now = time.monotonic()
        for job in jobs:
            self._ids[job.id] = None
            self._wait(job, now)

    def hand_out(self) -> None:
        """Send waiting jobs to the children: free slots first, then look-ahead."""
        with self._lock:
            if self._suspects or self._alone is not None:
                self._mind_suspects()
            if not self._waiting:
                return
            shares: dict[int, list[tuple[ClaimedJob, Any]]] = {}
            self._fill_slots(shares)
            self._fill_ahead(shares)
            links = {link.index: link for link in self.links}
            for index, jobs in shares.items():
                self._send(links[index], jobs)

    def _send(self, link: ChildLink, jobs: list[tuple[ClaimedJob, Any]]) -> None:
        for job, _history in jobs:
            self._ids[job.id] = link
        try:
            link.send(jobs)
        except OSError:
            pass  # its end is on its way, and brings the jobs back

    def _mind_suspects(self) -> None:
        """Keep one child for jobs that must run alone, for as long as there are any."""
        link = self._alone
        if link is not None and link.is_empty and not self._suspects:
            link.alone, self._alone = False, None
            return
        if link is None or link.retiring:
            link = self._alone = self._least_loaded()
            if link is None:
                return
            link.alone = True
            self._put_back(link.recall())
        if link.is_empty and self._suspects:
            item = heapq.heappop(self._suspects)
            self._send(link, [(item.job, item.history)])

    def _least_loaded(self) -> ChildLink | None:
        links = [link for link in self.links if link.takes_jobs]
        return min(links, key=lambda link: len(link.held), default=None)

    def _fill_slots(self, shares: dict[int, list[tuple[ClaimedJob, Any]]]) -> None:
        free = [(link.free_slots, link.index) for link in self.links if link.free_slots]
        while free and self._waiting:
            free.sort(reverse=True)
            count, index = free[0]
            item = heapq.heappop(self._waiting)
            shares.setdefault(index, []).append((item.job, item.history))
            if count > 1:
                free[0] = (count - 1, index)
            else:
                free.pop(0)

    def _fill_ahead(self, shares: dict[int, list[tuple[ClaimedJob, Any]]]) -> None:
        rooms = [
            (link.room - len(shares.get(link.index, ())), link.index)
            for link in self.links
        ]
        total = sum(room for room, _ in rooms if room > 0)
        waiting = len(self._waiting)
        for room, index in rooms:
            if room <= 0 or not total:
                continue
            count = min(room, -(-waiting * room // total), len(self._waiting))
            share = shares.setdefault(index, [])
            for _ in range(count):
                item = heapq.heappop(self._waiting)
                share.append((item.job, item.history))

    def look_after(self) -> None:
        """Recall what waits behind slots that stand still; return what waits too long.

        Called every few milliseconds while jobs are held.
        """
        now = time.monotonic()
        with self._lock:
            for link in self.links:
                if link.is_stalled(now):
                    link.speed.stalled()
                    self._put_back(link.recall())
            if self._waiting and not any(link.free_slots for link in self.links):
                late = [
                    item
                    for item in self._waiting
                    if now - item.since > PATIENCE_SECONDS
                ]
                if late:
                    self._waiting = [item for item in self._waiting if item not in late]
                    heapq.heapify(self._waiting)
                    self._release(item.job for item in late)

    def hand_back_all(self) -> int:
        """Return everything that has not started to its lanes; how many."""
        with self._lock:
            jobs = [item.job for item in (*self._waiting, *self._suspects)]
            self._waiting.clear()
            self._suspects.clear()
            for link in self.links:
                jobs += link.recall()
            self._release(jobs)
            return len(jobs)

    def _release(self, jobs: Iterable[ClaimedJob]) -> None:
        for job in jobs:
            self._end(Ending.release(job))

    def returned_lanes(self) -> set[Lane]:
        """The lanes jobs went back to since the last call."""
        with self._lock:
            returned, self._returned = self._returned, set()
            return returned

    def refuse(self, jobs: Iterable[ClaimedJob], *, reason: str) -> None:
        """End claims of jobs this worker cannot run: park them if there is a reason."""
        with self._lock:
            for job in jobs:
                self._ids[job.id] = None
                ending = Ending.release(job)
                if reason:
                    ending.status = JobStatus.BLOCKED.value
                    ending.reason = reason
                self._end(ending)

    # Reports

    def reported(self, link: ChildLink, reports: Sequence[tuple[Any, ...]]) -> None:
        """A child reports attempts; their endings go to the database."""
        now = time.monotonic()
        seconds, count = 0.0, 0
        with self._lock:
            link.reported_at = now
            for values in reports:
                report = Report._make(values)
                job = link.held.pop(report.number, None)
                if job is None:
                    link.abandoned.discard(report.number)
                    continue
                if report.kind == execution.DROPPED:
                    self._put_back([job])
                    continue
                count += 1
                seconds += report.duration or 0.0
                self._end(_ending_of(job, report), link, report.number)
            if count:
                link.speed.finished(count, seconds)
        self.room_event.set()

    def stuck(self, link: ChildLink, values: tuple[Any, ...]) -> None:
        """A body ignores that it should end: end its job without it."""
        report = Report._make(values)
        with self._lock:
            job = link.held.pop(report.number, None)
            if job is None:
                return
            link.abandoned.add(report.number)
            self._end(_ending_of(job, report), link, report.number)

    def cancel(self, job_id: str, epoch: int, reason: str) -> None:
        """Ask for a held job to be cancelled."""
        with self._lock:
            if job_id not in self._ids:
                return
            link = self._ids[job_id]
            if link is None:
                for heap in (self._waiting, self._suspects):
                    for item in heap:
                        if item.job.id == job_id:
                            heap.remove(item)
                            heapq.heapify(heap)
                            self._end(_cancelled(item.job, reason))
                            return
                return
            for number, job in link.held.items():
                if job.id == job_id and job.epoch == epoch:
                    try:
                        link.wire.send(wire.CANCEL, [(number, reason)])
                    except OSError:
                        pass
                    return

    # Endings

    def _end(
        self, ending: Ending, link: ChildLink | None = None, number: int = 0
    ) -> None:
        ending.worker = self._worker_id
        ending.host = self._host
        ending.pid = link.pid if link else None
        self._ending[ending.id] = ending.epoch
        self._returning += ending.in_place
        self._histories.pop(ending.id, None)
        self._settling.append(Settling(ending, link, number))
        self.settle_event.set()

    def to_settle(self, limit: int) -> list[Settling]:
        """Take endings for one transaction."""
        batch: list[Settling] = []
        settling = self._settling
        while settling and len(batch) < limit:
            batch.append(settling.popleft())
        return batch

    def settled(self, batch: Iterable[Settling]) -> None:
        """These endings are in the database, or nobody's business any more."""
        with self._lock:
            for item in batch:
                ending = item.ending
                if self._ending.get(ending.id) == ending.epoch:
                    del self._ending[ending.id]
                    self._ids.pop(ending.id, None)
                # Only now: a claim that looks before the commit lifts its floor.
                if ending.in_place or ending.status == JobStatus.READY:
                    self._returned.add(Lane(ending.queue, ending.priority))
                self._returning -= ending.in_place
        self.room_event.set()

    @property
    def unsettled(self) -> int:
        """Endings that wait for the database."""
        return len(self._settling)

    def _crashed(
        self, job: ClaimedJob, link: ChildLink, how: str, *, alone: bool
    ) -> Ending:
        crashes = job.crashes + 1
        kind: type[Exception] = WorkerCrashed
        message = f"its process {link.pid} {how}"
        status = JobStatus.READY
        if job.on_crash == OnCrash.FAIL:
            status, message = JobStatus.FAILED, f"{message}; it must not run twice"
        elif alone and crashes >= self._max_crashes:
            kind, status = Quarantined, JobStatus.FAILED
            message = f"{message}; it has killed {crashes} processes"
        return _ended(
            job,
            status=status,
            outcome=AttemptOutcome.CRASHED,
            failure=_failure(kind, message),
            crashes=1,
        )

    def _interrupted(self, job: ClaimedJob, how: str) -> Ending:
        fails = job.on_crash == OnCrash.FAIL
        message = f"interrupted: its process {how}"
        return _ended(
            job,
            status=JobStatus.FAILED if fails else JobStatus.READY,
            outcome=AttemptOutcome.INTERRUPTED,
            failure=_failure(WorkerCrashed, message),
            interruptions=1,
        )


def _ending_of(job: ClaimedJob, report: Report) -> Ending:
    """The ending a report asks for."""
    if report.kind == execution.SUCCEED:
        assert report.result is not None and report.duration is not None
        return Ending.succeed(job, result=report.result, duration=report.duration)
    failure = (
        Failure(
            exception=report.failure[0],
            message=report.failure[1],
            traceback=report.failure[2],
        )
        if report.failure
        else None
    )
    if report.kind == execution.SNOOZE:
        ending = Ending.release(job)
        ending.status = JobStatus.SCHEDULED.value
        ending.outcome = AttemptOutcome.SNOOZED.value
        ending.delay, ending.in_place = report.delay, False
        ending.duration = report.duration
        return ending
    assert failure is not None
    if report.kind == execution.CANCEL:
        return Ending.cancel(
            job, reason=report.reason, failure=failure, duration=report.duration
        )
    if report.kind == execution.RETRY:
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


def _failure(kind: type[BaseException], message: str) -> Failure:
    path = f"{kind.__module__}.{kind.__qualname__}"
    return Failure(exception=path, message=message, traceback=f"{path}: {message}\n")


def _ended(
    job: ClaimedJob,
    *,
    status: JobStatus,
    outcome: AttemptOutcome,
    failure: Failure,
    crashes: int = 0,
    interruptions: int = 0,
) -> Ending:
    ending = Ending.release(job)
    ending.status = status.value
    ending.outcome = outcome.value
    ending.failure = failure
    ending.crashes, ending.interruptions = crashes, interruptions
    if status == JobStatus.FAILED:
        ending.reason = failure.message
    return ending


def _expired(job: ClaimedJob) -> Ending:
    message = "not started before its deadline"
    return Ending.cancel(
        job,
        reason=message,
        failure=_failure(JobExpired, message),
        duration=None,
        outcome=AttemptOutcome.EXPIRED.value,
    )


def _cancelled(job: ClaimedJob, reason: str) -> Ending:
    reason = reason or "cancelled on request"
    return Ending.cancel(
        job, reason=reason, failure=_failure(JobCancelled, reason), duration=None
    )

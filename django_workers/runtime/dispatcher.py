"""Between the broker and the children: what is claimed, who gets it, what came back.

Claimed jobs wait in the supervisor, in lane order, for the next free slot of any child;
a child holds its slots and a few milliseconds of work. So the next slot always gets the
most urgent job, and nothing waits behind a long one for longer than a recall takes.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ..brokers import ClaimedJob, Ending, Lane
from ..models import JobStatus
from . import endings, wire
from .attempt import DROPPED, Report
from .link import ChildLink
from .settling import EndingQueue, Settling
from .sharing import share_out
from .waiting import WaitingJobs

# Claiming stops while so many endings wait for the database.
MOST_UNSETTLED: Final = 10_000
# Jobs that must run alone come one at a time. A worker holds so many; the others
# are tried again so much later, by whoever has room for them then.
MOST_SUSPECTS: Final = 8
SUSPECT_SECONDS: Final = 10.0
# How long the only child of a worker has for other jobs in between.
OTHERS_SECONDS: Final = 0.1


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
        self._lock = threading.RLock()
        self._waiting = WaitingJobs(rank_of)
        # Jobs whose next crash may end them for good: each runs alone in a child, so
        # that none is blamed for another's doing; and the child kept for them.
        self._suspect_at = max(1, max_crashes - 1)
        self._suspects = WaitingJobs(rank_of)
        self._alone: ChildLink | None = None
        # Whether it has been sent one, and until when other jobs have their turn.
        self._has_had_turn = False
        self._others_until = 0.0
        self._endings = EndingQueue()
        # Every job that is ours in the database, by id.
        self._ids: dict[str, ChildLink | None] = {}
        # Those that are ours there only because no ending of them could be written.
        self._refused: set[str] = set()
        # What earlier attempts left behind, of those that had some.
        self._histories: dict[str, Any] = {}
        self.links: list[ChildLink] = []
        # Set when a slot or room has come free.
        self.room_event = threading.Event()
        # Nothing is handed out any more, and how much has gone back since.
        self._is_closed = False
        self.handed_back = 0

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
                if link.killed:
                    ending = endings.interrupted(job, how=how)
                else:
                    ending = endings.crashed(
                        job,
                        pid=link.pid,
                        how=how,
                        alone=len(started) == 1,
                        max_crashes=self._max_crashes,
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
            return self._refused.union(self._ids)

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
            if self._endings.returning or len(self._endings) >= MOST_UNSETTLED:
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
        """Take claimed jobs over; returns those that came too late, already ended.

        A job that is in flight here already was claimed before by a commit the
        database has forgotten: its token is renewed, and it is not sent again.
        """
        expired: list[ClaimedJob] = []
        now = time.monotonic()
        with self._lock:
            for job in jobs:
                if job.id in self._ids and not self._endings.precedes(job):
                    self._renew(job)
                    continue
                self._endings.forget(job.id)
                self._refused.discard(job.id)
                self._ids[job.id] = None
                if ending := endings.too_late(job):
                    expired.append(job)
                    self._end(ending)
                    continue
                if self._is_closed:  # it was on its way when the drain began
                    self._release([job])
                    continue
                if job.id in histories:
                    self._histories[job.id] = histories[job.id]
                self._wait(job, now)
        return expired

    def _wait(self, job: ClaimedJob, now: float) -> None:
        waiting = self._waiting
        if job.crashes >= self._suspect_at:
            waiting = self._suspects
            if len(waiting) >= MOST_SUSPECTS:
                self._end(endings.postponed(job, delay=SUSPECT_SECONDS))
                return
        waiting.push(job, self._histories.get(job.id), now=now)

    def _renew(self, job: ClaimedJob) -> None:
        self._waiting.renew(job)
        self._suspects.renew(job)
        link = self._ids[job.id]
        for held in [link.held] if link else []:
            for number, known in held.items():
                if known.id == job.id:
                    held[number] = job

    def _put_back(self, jobs: Iterable[ClaimedJob]) -> None:
        if self._is_closed:
            self._release(jobs)
            return
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
            shares = share_out(self._waiting, self.links)
            for link in self.links:
                if link.index in shares:
                    self._send(link, shares[link.index])

    def _send(self, link: ChildLink, jobs: list[tuple[ClaimedJob, Any]]) -> None:
        for job, _history in jobs:
            self._ids[job.id] = link
        try:
            link.send(jobs)
        except OSError:
            pass  # its end is on its way, and brings the jobs back

    def _mind_suspects(self) -> None:
        """Keep one child for jobs that must run alone, for as long as there are any.

        The only child comes back to its other jobs after each of them.
        """
        link, now = self._alone, time.monotonic()
        if link is not None and link.is_empty:
            is_only = len(self.links) == 1 and self._has_had_turn
            if is_only or not self._suspects:
                link.alone, self._alone = False, None
                self._others_until = now + OTHERS_SECONDS if is_only else 0.0
                return
        if link is None or link.retiring:
            if now < self._others_until:
                return
            link = self._alone = self._least_loaded()
            if link is None:
                return
            link.alone, self._has_had_turn = True, False
            self._put_back(link.recall())
        if link.is_empty and self._suspects:
            self._has_had_turn = True
            self._send(link, [self._suspects.pop()])

    def _least_loaded(self) -> ChildLink | None:
        links = [link for link in self.links if link.takes_jobs]
        return min(links, key=lambda link: len(link.held), default=None)

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
                self._release(self._waiting.take_late(now))

    def hand_back_all(self) -> None:
        """Return everything that has not started to its lanes; hand out no more."""
        with self._lock:
            self._is_closed = True
            jobs = self._waiting.take_all() + self._suspects.take_all()
            for link in self.links:
                jobs += link.recall()
            self._release(jobs)

    def _release(self, jobs: Iterable[ClaimedJob]) -> None:
        for job in jobs:
            self._end(Ending.release(job))

    def returned_lanes(self) -> set[Lane]:
        """The lanes jobs went back to since the last call."""
        with self._lock:
            return self._endings.returned_lanes()

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
                if link.cancels:
                    link.cancels.pop(report.number, None)
                if job is None:
                    link.abandoned.discard(report.number)
                    continue
                if report.kind == DROPPED:
                    self._put_back([job])
                    continue
                count += 1
                seconds += report.duration or 0.0
                self._end(endings.ending_of(job, report), link, report.number)
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
            self._end(endings.ending_of(job, report), link, report.number)

    def end_overdue(self, now: float, *, grace: float) -> list[ChildLink]:
        """End jobs whose time is up in children that answer nothing; which to kill."""
        silent: list[ChildLink] = []
        with self._lock:
            for link in self.links:
                late = {} if link.killed else link.overdue(now, grace=grace)
                for number, timed_out in late.items():
                    job = link.held.pop(number)
                    ending = endings.overdue(job, pid=link.pid, timed_out=timed_out)
                    self._end(ending, link)
                if late:
                    silent.append(link)
        return silent

    def cancel(self, job_id: str, epoch: int, reason: str) -> None:
        """Ask for a held job to be cancelled."""
        with self._lock:
            if job_id not in self._ids:
                return
            link = self._ids[job_id]
            if link is None:
                job = self._waiting.remove(job_id) or self._suspects.remove(job_id)
                if job is not None:
                    self._end(endings.cancelled(job, reason))
                return
            for number, job in link.held.items():
                if job.id == job_id and job.epoch == epoch:
                    link.cancels.setdefault(number, time.monotonic())
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
        self._histories.pop(ending.id, None)
        if self._is_closed and ending.in_place and ending.status == JobStatus.READY:
            self.handed_back += 1
        self._endings.put(Settling(ending, link, number))

    @property
    def settle_event(self) -> threading.Event:
        """Set when endings wait for the database."""
        return self._endings.event

    def to_settle(self, limit: int) -> list[Settling]:
        """Take endings for one transaction."""
        return self._endings.take(limit)

    def put_off(self, job_id: str) -> None:
        """The ending of this job takes longer: claiming goes on meanwhile."""
        with self._lock:
            self._endings.put_off(job_id)
        self.room_event.set()

    def refused(self, job_id: str) -> None:
        """The database takes no ending of this job.

        It is nobody's business here any more, but stays known: a job that the database
        calls ours and that we have forgotten would be taken for a lost claim, and run
        a second time.
        """
        with self._lock:
            self._refused.add(job_id)

    def settled(self, batch: Iterable[Settling]) -> None:
        """These endings are in the database, or nobody's business any more."""
        with self._lock:
            for job_id in self._endings.settled(batch):
                self._ids.pop(job_id, None)
        self.room_event.set()

"""The thread that claims: which lanes, how many jobs, and what to do meanwhile."""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final
from uuid import UUID

from ..brokers import UNROUTABLE, Broker, ClaimedJob, Lane
from ..conf import RuntimeSettings
from . import wakeup
from .dispatcher import Dispatcher
from .lanes import Lanes
from .lease import Identity, Trust
from .status import Status

logger = logging.getLogger("django_workers.worker")

# After a hint or a find, look again every few milliseconds for a short while: jobs
# announced together do not become visible together.
HOT_SECONDS: Final = 0.020
HOT_LOOK_SECONDS: Final = 0.002
DISCOVER_SECONDS: Final = 1.0
LOOK_AFTER_SECONDS: Final = 0.005
# A worker that takes nothing now looks again so soon.
RESTING_SECONDS: Final = 0.5
BURST_LOOK_SECONDS: Final = 0.02
# How long a job that others can run makes this worker claim task by task.
FOREIGN_SECONDS: Final = 60.0
# How soon after a failed claim, and how often at least, claims are compared with what
# the database says.
FIRST_RECOUNT_SECONDS: Final = 1.0
MOST_RECOUNT_SECONDS: Final = 30.0


class Claimer:
    """Brings ready jobs to the dispatcher. One thread calls `run_once`."""

    def __init__(
        self,
        broker: Broker,
        dispatcher: Dispatcher,
        lanes: Lanes,
        *,
        identity: Identity,
        settings: RuntimeSettings,
        status: Status,
        trust: Trust,
        max_jobs: int,
        burst: bool,
        promoted_nothing_since: Callable[[float], bool],
        jobs_run: Callable[[], int],
    ) -> None:
        """Claim nothing yet.

        It stops claiming after `max_jobs` (0: never), counted by `jobs_run()`; with
        `burst` it says so when nothing is left: nothing to claim, and nothing due by
        `promoted_nothing_since(moment)`.
        """
        self._broker = broker
        self._dispatcher = dispatcher
        self._lanes = lanes
        self._identity = identity
        self._settings = settings
        self._status = status
        self._trust = trust
        self._max_jobs = max_jobs
        self._burst = burst
        self._promoted_nothing_since = promoted_nothing_since
        self._jobs_run = jobs_run
        self._hints: deque[str] = deque()
        self._hot: dict[Lane, float] = {}
        self._discovered_at = 0.0
        self._foreign_until = 0.0
        # Since when nothing was found or held; None: not.
        self._idle_since: float | None = None
        self._recount_at = 0.0
        self._recount_pause = MOST_RECOUNT_SECONDS

    @property
    def _session(self) -> UUID:
        return self._identity.session

    @property
    def has_had_enough(self) -> bool:
        """Whether the most jobs this worker may run have been run."""
        enough = bool(self._max_jobs) and self._jobs_run() >= self._max_jobs
        return enough and not self._dispatcher.held_count

    def hint(self, payload: str) -> None:
        """Take a hint, from any thread; one that names no lane: look everywhere."""
        self._hints.append(payload)
        self._dispatcher.room_event.set()

    def run_once(self) -> None:
        """One turn of the loop: hand out, look after, claim, or wait."""
        try:
            self._turn()
        except Exception:
            # What it asked for may have been committed, and the answer lost.
            self._recount_at, self._recount_pause = 0.0, FIRST_RECOUNT_SECONDS
            raise

    def _turn(self) -> None:
        dispatcher = self._dispatcher
        dispatcher.room_event.clear()
        dispatcher.hand_out()
        dispatcher.look_after()
        self._recount_if_due()
        self._take_hints()
        wanted = self._wanted()
        if wanted <= 0:
            if self.has_had_enough:
                self._status.keeper_event.set()
            busy = dispatcher.held_count
            dispatcher.room_event.wait(LOOK_AFTER_SECONDS if busy else RESTING_SECONDS)
            return
        self._discover_if_due()
        asked = self._lanes.in_claim_order()
        if asked:
            self._claim(asked, wanted)
        else:
            self._when_idle()

    def _wanted(self) -> int:
        status = self._status
        if (
            status.stopping.is_set()
            or not status.registered.is_set()
            or not status.ready.is_set()
            or not self._trust.may_claim
            or status.failed_too_often.is_set()
        ):
            return 0
        wanted = self._dispatcher.wanted()
        if self._max_jobs:
            # Counted as run once written, and held until a moment later.
            begun = self._jobs_run() + self._dispatcher.held_count
            wanted = min(wanted, self._max_jobs - begun)
        return wanted

    def _claim(self, asked: list[tuple[Lane, int]], wanted: int) -> None:
        with self._status.claiming:
            if self._status.stopping.is_set():
                return
            began = time.monotonic()
            claim = self._broker.claim(
                self._session,
                worker=self._identity.worker_id,
                lanes=asked,
                limit=wanted,
            )
            seconds = time.monotonic() - began
            self._lanes.claimed(asked, claim, limit=wanted, seconds=seconds)
            if claim.jobs:
                self._idle_since = None
                self._take(claim.jobs)
        if claim.jobs:
            self._dispatcher.hand_out()

    def _recount_if_due(self) -> None:
        """Take over what the database says is ours although we know nothing of it.

        The answer to a claim may be lost after its commit, even a while after: a
        server may go on with a statement whose client is gone.
        """
        now, status = time.monotonic(), self._status
        if now < self._recount_at or not (
            status.registered.is_set() and status.ready.is_set()
        ):
            return
        with status.claiming:
            jobs = self._broker.forgotten(
                self._session, known=self._dispatcher.known_ids()
            )
            if jobs:
                logger.warning("Took over %d jobs whose claim was lost", len(jobs))
                self._take(jobs)
        self._recount_at = now + self._recount_pause
        self._recount_pause = min(MOST_RECOUNT_SECONDS, self._recount_pause * 4)

    # What a claim brought

    def _take(self, jobs: list[ClaimedJob]) -> None:
        if self._status.stopping.is_set():  # told to stop while the claim was under way
            self._dispatcher.refuse(jobs, reason="")
            return
        names = self._status.names
        known = [job for job in jobs if job.task in names]
        if len(known) < len(jobs):
            self._refuse([job for job in jobs if job.task not in names])
        if not known:
            return
        tried = [job.id for job in known if job.attempts or job.crashes]
        histories = self._broker.history(tried) if tried else {}
        self._dispatcher.take(known, histories)
        self._keep_hot({Lane(job.queue, job.priority) for job in known})

    def _refuse(self, jobs: Sequence[ClaimedJob]) -> None:
        """Leave jobs of unknown tasks to others, or park them where nobody is."""
        for task in sorted({job.task for job in jobs}):
            these = [job for job in jobs if job.task == task]
            if self._broker.known_elsewhere(task):
                self._foreign_until = time.monotonic() + FOREIGN_SECONDS
                self._lanes.forget()
                self._discovered_at = 0.0
                self._dispatcher.refuse(these, reason="")
            else:
                logger.warning("No living worker knows the task %r: parked", task)
                reason = f"{UNROUTABLE}: no living worker knows the task {task!r}"
                self._dispatcher.refuse(these, reason=reason)

    # Where to look

    @property
    def _by_task(self) -> bool:
        # One that knows no task at all takes nothing, and so parks nothing: it is no
        # judge of what nobody knows.
        return (
            bool(self._settings.tasks)
            or not self._status.names
            or time.monotonic() < self._foreign_until
        )

    def _take_hints(self) -> None:
        returned = self._dispatcher.returned_lanes()
        if returned:
            if self._by_task:
                self._discovered_at = 0.0
            else:
                self._lanes.handed_back(returned)
                self._keep_hot(returned)
        now = time.monotonic()
        while self._hints:
            kind, _, rest = self._hints.popleft().partition(" ")
            if kind != wakeup.READY or not rest or self._by_task:
                self._discovered_at = 0.0
                continue
            priority, _, queue = rest.partition(" ")
            self._hot[Lane(queue, int(priority))] = now + HOT_SECONDS
        for lane, until in list(self._hot.items()):
            if until < now or self._by_task:
                del self._hot[lane]
            else:
                self._lanes.hear(lane)

    def _keep_hot(self, lanes: Iterable[Lane]) -> None:
        until = time.monotonic() + HOT_SECONDS
        self._hot.update(dict.fromkeys(lanes, until))

    def _discover_if_due(self) -> None:
        now = time.monotonic()
        if now - self._discovered_at < min(
            DISCOVER_SECONDS, self._settings.poll_interval
        ):
            return
        tasks = sorted(self._status.names) if self._by_task else None
        self._lanes.discovered(self._broker.lanes(tasks))
        self._discovered_at = now

    def _when_idle(self) -> None:
        """Nothing to claim: wait for a hint, for a moment while lanes are hot."""
        room_event = self._dispatcher.room_event
        if self._hot:
            room_event.wait(HOT_LOOK_SECONDS)
            return
        if self._burst:
            self._look_for_the_end()
            room_event.wait(BURST_LOOK_SECONDS)
            return
        rest = self._discovered_at + self._settings.poll_interval - time.monotonic()
        room_event.wait(max(0.001, rest))

    def _look_for_the_end(self) -> None:
        """See whether nothing is left, and nothing was becoming ready meanwhile."""
        self._discovered_at = 0.0
        if self._dispatcher.held_count:
            self._idle_since = None
        elif self._idle_since is None:
            self._idle_since = time.monotonic()
        elif self._promoted_nothing_since(self._idle_since):
            self._status.nothing_left.set()
        self._status.keeper_event.set()

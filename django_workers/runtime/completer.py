"""Writes how attempts ended, in batches, and tells the children that it is so.

A database that is away is asked again for ever; a row it refuses is found by halving
the batch and fails with a constant message, so that one bad row never stops the others.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError, InterfaceError, connections

from ..brokers import (
    Broker,
    Ending,
    Failure,
    code_of,
    is_locked,
    is_too_slow,
    is_transient,
)
from ..models import WAITING, AttemptOutcome, JobStatus
from . import wakeup, wire
from .aftermath import STALE
from .dispatcher import Dispatcher
from .link import ChildLink
from .settling import Settling

logger = logging.getLogger("django_workers.worker")

MOST_PAUSE_SECONDS: Final = 1.0
UNSTORABLE: Final = "django_workers.exceptions.UnencodableValue"
NOT_STORABLE: Final = "result not storable"
CANCELLED: Final = JobStatus.CANCELLED.value
# How much later an ending is tried again if somebody holds the job's row.
HELD_SECONDS: Final = 1.0
# An outage is logged this often.
LOG_SECONDS: Final = 10.0
# How long after its last call a waiter is remembered.
AWAITED_SECONDS: Final = 5.0
# Outcomes that deserve signals although no child has reported them.
_SPOKEN_FOR: Final = ("crashed", "expired", "timed_out", "cancelled")


class Completer:
    """Settles what the dispatcher has to settle. One thread calls `run_once`."""

    def __init__(
        self,
        broker: Broker,
        dispatcher: Dispatcher,
        *,
        session: UUID,
        max_failures: int,
        stop: Callable[[], None],
        tell: Callable[..., Any],
        expect: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """Settle nothing yet.

        `stop` is called when `max_failures` jobs in a row have failed; 0: never.
        `tell(signal, **values)` has a signal sent where user code may run;
        `expect(seconds)` learns when the first of the jobs just scheduled is due.
        """
        self._broker = broker
        self._dispatcher = dispatcher
        self._session = session
        self._max_failures = max_failures
        self._stop = stop
        self._tell = tell
        self._expect = expect
        self._failures = 0
        self._awaited: dict[str, float] = {}
        self._forget_at = 0.0
        self._logged_at = -LOG_SECONDS
        # Endings of jobs whose rows somebody holds, and when to try them again.
        self._held: list[tuple[float, Settling]] = []
        self._lock = threading.Lock()
        self._halted = threading.Event()
        # Jobs ended by this worker, successful or not; attempts of jobs it has run.
        self.finished = 0
        self.run_count = 0
        # Whether endings wait for a database that is away.
        self.is_waiting = False

    def await_(self, job_id: str) -> None:
        """Somebody waits for a job: say so when it has ended."""
        now = time.monotonic()
        with self._lock:
            self._awaited[job_id] = now + AWAITED_SECONDS
            if now >= self._forget_at:
                # Every worker hears of every waiter, also one that ends no jobs.
                self._forget_at = now + AWAITED_SECONDS
                self._awaited = {
                    job_id: until
                    for job_id, until in self._awaited.items()
                    if until > now
                }

    def halt(self) -> None:
        """Ask the database no more: the worker ends, whatever is still to be said."""
        self._halted.set()

    def run_once(self) -> None:
        """Settle what is there, or wait half a second for something."""
        event = self._dispatcher.settle_event
        event.wait(0.5)
        event.clear()
        while batch := self._dispatcher.to_settle(self._broker.batch_limit):
            self._settle_all(batch)
        self._try_again()

    def _settle_all(self, batch: Sequence[Settling]) -> None:
        """Settle a batch, but for what somebody else holds."""
        self._settle(batch)
        held = {item.ending.id for _, item in self._held}
        settled = [item for item in batch if item.ending.id not in held]
        self._dispatcher.settled(settled)
        delays = [item.ending.delay for item in settled if item.ending.delay]
        if delays:
            self._expect(min(delays))

    def _put_off(self, item: Settling) -> None:
        """Somebody holds the job's row: all others go on meanwhile."""
        logger.warning("The row of job %s is locked: trying again", item.ending.id)
        self._held.append((time.monotonic() + HELD_SECONDS, item))
        self._dispatcher.put_off(item.ending.id)

    def _try_again(self) -> None:
        now = time.monotonic()
        due = [item for at, item in self._held if at <= now]
        self._held = [(at, item) for at, item in self._held if at > now]
        for item in due:
            self._settle_all([item])

    def _settle(self, batch: Sequence[Settling]) -> None:
        pause, replayed = 0.02, False
        endings = [item.ending for item in batch]
        while not self._halted.is_set():
            try:
                written = self._broker.settle(self._session, endings)
                if replayed:
                    written |= self._written_before(endings, written)
            except Exception as error:
                # Whatever it is: a batch that is dropped here leaves its jobs running
                # for ever, in the name of a worker that knows nothing of them.
                self._forget_connection()
                if is_locked(error) and len(batch) == 1:
                    self._put_off(batch[0])
                    return
                if (is_too_slow(error) or is_locked(error)) and len(batch) > 1:
                    self._settle_halves(batch)
                    return
                if not is_transient(error):
                    self._halve(batch, error)
                    return
                self._log_waiting(error)
                self.is_waiting = True
                time.sleep(pause * random.uniform(0.5, 1.5))
                pause, replayed = min(MOST_PAUSE_SECONDS, pause * 2), True
            else:
                self.is_waiting = False
                self._acknowledge(batch, written)
                return

    def _log_waiting(self, error: BaseException) -> None:
        if time.monotonic() - self._logged_at > LOG_SECONDS:
            self._logged_at = time.monotonic()
            logger.warning("Endings wait for the database: %s", code_of(error))

    def _written_before(
        self, endings: Sequence[Ending], written: dict[str, str]
    ) -> dict[str, str]:
        """Find endings whose commit succeeded although its answer never came.

        Their claims have ended, and the jobs stand where the ending led to, or where
        others have moved them since: what waits may be promoted, and cancelled.
        """
        missing = {
            UUID(ending.id): ending for ending in endings if ending.id not in written
        }
        found: dict[str, str] = {}
        rows = self._broker.jobs.filter(id__in=missing, session=None)
        for job_id, epoch, status in rows.values_list("id", "epoch", "status"):
            ending = missing[job_id]
            if epoch != ending.epoch:
                continue
            if status == ending.status:
                found[ending.id] = status
            elif ending.status in WAITING and status in (*WAITING, CANCELLED):
                found[ending.id] = CANCELLED if status == CANCELLED else ending.status
        return found

    def _settle_halves(self, batch: Sequence[Settling]) -> None:
        middle = len(batch) // 2
        self._settle(batch[:middle])
        self._settle(batch[middle:])

    def _halve(self, batch: Sequence[Settling], error: BaseException) -> None:
        """Find the row the database refuses; fail it with a constant message."""
        if len(batch) > 1:
            self._settle_halves(batch)
            return
        ending = batch[0].ending
        if ending.reason.startswith(NOT_STORABLE):
            if not ending.outcome:
                logger.error(
                    "The database takes no ending of job %s (%s): it stays as it is "
                    "until this worker has stopped",
                    *(ending.id, code_of(error)),
                )
                self._dispatcher.refused(ending.id)
                return
            ending.outcome = ""  # the job's own row at least, without its attempt's
        else:
            _make_storable(ending, f"{NOT_STORABLE}: {code_of(error)}")
        self._settle(batch)

    def _forget_connection(self) -> None:
        connection = connections[self._broker.using]
        try:
            connection.close()
        except (DatabaseError, InterfaceError):
            connection.connection = None

    def _acknowledge(self, batch: Sequence[Settling], written: dict[str, str]) -> None:
        acks: dict[int, tuple[ChildLink, list[tuple[int, str]]]] = {}
        for item in batch:
            status = written.get(item.ending.id, STALE)
            if item.ending.outcome != AttemptOutcome.EXPIRED:  # it has not run
                self._count(status)
            self.run_count += item.ending.attempts
            if status == STALE:
                logger.warning(
                    "Job %s was no longer ours: result dropped", item.ending.id
                )
            if item.number == 0 and item.ending.outcome in _SPOKEN_FOR:
                if status != STALE:
                    self._speak_for(item, status)
            elif item.link is not None:
                known = acks.setdefault(item.link.index, (item.link, []))
                known[1].append((item.number, status))
        for link, statuses in acks.values():
            try:
                link.wire.send(wire.ACKS, statuses)
            except (OSError, ValueError):
                continue
        if self._awaited:
            self._call_waiters(written)

    def _speak_for(self, item: Settling, status: str) -> None:
        """Have the signals sent for a job nobody is left to speak for."""
        self._tell(
            "job_ended",
            job_id=item.ending.id,
            backend=item.ending.backend,
            status=status,
        )

    def _count(self, status: str) -> None:
        if status == JobStatus.FAILED:
            self.finished += 1
            self._failures += 1
            if self._max_failures and self._failures == self._max_failures:
                self._stop()
        elif status == JobStatus.SUCCESSFUL:
            self.finished += 1
            self._failures = 0

    def _call_waiters(self, written: dict[str, Any]) -> None:
        now = time.monotonic()
        with self._lock:
            called = [job_id for job_id in self._awaited if job_id in written]
            self._awaited = {
                job_id: until
                for job_id, until in self._awaited.items()
                if until > now and job_id not in written
            }
        if called:
            try:
                self._broker.notify(wakeup.DONE_CHANNEL, called)
            except (DatabaseError, InterfaceError):
                self._forget_connection()


def _make_storable(ending: Ending, message: str) -> None:
    """Turn an ending into a failure that holds nothing of the task's own."""
    ending.status = JobStatus.FAILED.value
    ending.outcome = AttemptOutcome.FAILED.value
    ending.result, ending.reason = None, message
    ending.delay, ending.attempts = None, 1
    ending.failure = Failure(
        exception=UNSTORABLE, message=message, traceback=f"{UNSTORABLE}: {message}\n"
    )

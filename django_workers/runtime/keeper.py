"""The thread that keeps a worker alive in the database, and does the chores."""

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final
from uuid import UUID

from django.db import DatabaseError

from ..brokers import Broker, is_locked
from ..conf import RuntimeSettings
from . import exits, wakeup
from .chores import Chores
from .claimer import Claimer
from .dispatcher import Dispatcher
from .herald import Herald
from .lanes import Lanes
from .lease import SessionRow, Trust, mark_dead
from .status import Status

logger = logging.getLogger("django_workers.worker")

# The least time between the beginnings of two turns.
TURN_SECONDS: Final = 0.03


class Keeper:
    """Registers, beats, greets children, obeys. One thread calls `run_once`."""

    def __init__(
        self,
        broker: Broker,
        row: SessionRow,
        trust: Trust,
        chores: Chores,
        *,
        dispatcher: Dispatcher,
        claimer: Claimer,
        lanes: Lanes,
        herald: Herald,
        settings: RuntimeSettings,
        status: Status,
        children: int,
        predecessors: Sequence[UUID],
        schedules: bool,
        ready: Callable[[int, int], None],
        drain: Callable[[str], None],
    ) -> None:
        """Do nothing yet.

        `ready(tasks, schedules)` is called once, with how many it can run and how many
        are enabled, when the first child has said hello; `drain(reason)` when the
        worker has had enough.
        """
        self._broker = broker
        self._row = row
        self._trust = trust
        self._chores = chores
        self._dispatcher = dispatcher
        self._claimer = claimer
        self._lanes = lanes
        self._herald = herald
        self._settings = settings
        self._status = status
        self._children = children
        self._predecessors = predecessors
        self._schedules = schedules
        self._ready = ready
        self._drain = drain
        self._announced = False
        self._turned_at = 0.0
        self._beaten_at = 0.0
        self._hellos: deque[dict[str, Any]] = deque()
        self._policies: dict[str, Any] = {}
        # A child whose declared schedules are still to be written.
        self._undeclared: dict[str, Any] | None = None
        # Why the worker stops, for its row; set by whoever drains it.
        self.stop_reason = ""

    def greet_soon(self, hello: dict[str, Any]) -> None:
        """A child says what it can run; from any thread."""
        self._hellos.append(hello)
        self._status.keeper_event.set()

    def expect(self, seconds: float) -> None:
        """A job just scheduled is due soon: no hint says so of a worker's own."""
        if self._chores.expect(seconds):
            self._status.keeper_event.set()

    def run_once(self) -> None:
        """One turn: register, beat, chores, then wait."""
        status = self._status
        # A flood of hints must not become a flood of chores.
        status.done.wait(max(0.0, self._turned_at + TURN_SECONDS - time.monotonic()))
        self._turned_at = time.monotonic()
        status.keeper_event.clear()
        if not status.registered.is_set():
            self._register()
        if status.closing.is_set():
            self._close()
            return
        self._beat_if_due()
        while self._hellos:
            self._greet(self._hellos[0])
            self._hellos.popleft()
        self._declare()
        self._stop_if_finished()
        if not status.stopping.is_set():
            self._obey()
            if self._chores.run(
                self._trust, policies=self._policies, names=status.names
            ):
                self._claimer.hint(wakeup.READY)
        status.keeper_event.wait(self._chores.pause(self._beat_rest()))

    # The row

    def _register(self) -> None:
        sent_at = time.monotonic()
        slots = self._settings.slot_count
        if not self._row.open(slots=slots, children=self._children):
            self._start_afresh()
            return
        self._trust.renewed(sent_at, self._broker.now())
        self._beaten_at = sent_at
        if self._predecessors:
            # Their launcher has buried them: their jobs need not wait for a lease.
            mark_dead(self._broker, self._predecessors, reason="its process died")
        self._status.registered.set()

    def _close(self) -> None:
        self._row.close(self.stop_reason)
        self._herald.tell("worker_stopped", **self._who, reason=self.stop_reason)
        self._status.closed.set()
        self._status.done.wait()

    def _beat_rest(self) -> float:
        due = self._beaten_at + self._settings.heartbeat_interval
        return max(0.0, due - time.monotonic())

    def _beat_if_due(self) -> None:
        if self._beat_rest() > 0:
            return
        sent_at = time.monotonic()
        if not self._row.beat(
            state=self._status.state,
            running=self._dispatcher.running_count,
            slots=self._dispatcher.slot_count,
            children=len(self._dispatcher.links),
        ):
            self._start_afresh()
            return
        self._trust.renewed(sent_at, self._broker.now())
        self._beaten_at = sent_at

    def _start_afresh(self) -> None:
        logger.error("Another worker found this one dead: starting afresh")
        self._status.exit_code = exits.LEASE_LOST
        self._status.done.set()

    @property
    def _who(self) -> dict[str, str]:
        identity = self._row.identity
        return {"session_id": str(identity.session), "worker_id": identity.worker_id}

    # The children

    def _greet(self, hello: dict[str, Any]) -> None:
        self._herald.tell_the_untold()
        names = frozenset(hello["tasks"])
        self._policies = hello["policies"]
        if names == self._status.names and self._announced:
            return
        self._row.publish_tasks(sorted(names))
        with self._broker.transaction():
            self._broker.admit(sorted(names))
        if self._schedules:
            self._undeclared = hello
            self._declare()
        # Before the first claim: a queue may be paused.
        self._lanes.pause(self._chores.paused_queues())
        self._status.names = names
        self._status.ready.set()
        self._beaten_at = 0.0
        self._beat_if_due()
        if not self._announced:
            self._announced = True
            self._herald.tell("worker_started", **self._who)
            enabled = self._chores.schedule_count() if self._schedules else 0
            # A task may have several names, and a filter may have left some out.
            tasks = {hello["policies"][name]["task"] for name in names}
            self._ready(len(tasks), enabled)
        self._claimer.hint("")

    def _declare(self) -> None:
        """Bring the schedules of code into their table; later if one is held."""
        hello = self._undeclared
        if hello is None:
            return
        try:
            with self._broker.transaction():
                self._chores.declare(hello["schedules"], known=hello["policies"])
        except DatabaseError as error:
            if not is_locked(error):
                raise
            logger.info("Schedules are not declared yet: a row is locked")
        else:
            self._undeclared = None

    # What others want

    def _obey(self) -> None:
        """Do what the database says: pauses and cancellations."""
        self._lanes.pause(self._chores.paused_queues())
        for request in self._broker.cancel_requests(self._row.identity.session):
            self._dispatcher.cancel(*request)

    def _stop_if_finished(self) -> None:
        if self._status.failed_too_often.is_set():
            self._drain("too many failures")
        elif self._status.nothing_left.is_set():
            self._drain("nothing left")
        elif self._claimer.has_had_enough:
            self._drain("maximum of jobs reached")

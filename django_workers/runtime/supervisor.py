"""The parent process of `runworkers` on one host: claims, hands out, completes, beats.

It runs no task and calls no user code. Four threads share the work, each with a
connection of its own: `claimer`, `completer`, `keeper` (heartbeat and chores) and the
`ear`. The main thread talks to the launcher. No thread ever ends because the database
is away: it waits and goes on.
"""

import logging
import os
import random
import select
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db import connections

from ..brokers import Broker, broker_for, is_locked
from ..conf import RuntimeSettings
from . import banner, database, exits, processes, wakeup, wire
from .chores import Chores
from .claimer import Claimer
from .completer import Completer
from .dispatcher import Dispatcher
from .drain import CLOSE_SECONDS, Drain
from .herald import Herald
from .keeper import Keeper
from .lanes import Lanes
from .lease import Identity, SessionRow, Trust
from .nursery import LAST_WORDS_SECONDS, Nursery
from .status import Status
from .wakeup import Ear
from .wire import ControlWire

logger = logging.getLogger("django_workers.worker")

# How often the main thread looks after children and drains.
LOOK_SECONDS: Final = 0.05
FIRST_PAUSE_SECONDS: Final = 0.05
MOST_PAUSE_SECONDS: Final = 1.0
# A child that can minds its jobs' time itself, and is heard first.
GRACE_MARGIN_SECONDS: Final = 1.0
# An outage is logged this often.
LOG_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """What a supervisor is told at its start."""

    using: str
    identity: Identity
    settings: RuntimeSettings
    # The sessions of this launcher's supervisors that have died, children included.
    predecessors: Sequence[UUID] = ()
    # How many children there will be.
    children: int = 1
    excluded_queues: Sequence[str] = ()
    burst: bool = False
    max_jobs: int = 0
    schedules: bool = True
    say: Callable[[str], None] = field(default=processes.say)


class Supervisor:
    """One host's hub. `run()` returns the exit code."""

    def __init__(self, control: socket.socket, options: SupervisorOptions) -> None:
        """Build everything; start and open nothing."""
        self._options = options
        self._settings = settings = options.settings
        self._control = ControlWire(control)
        self._status = Status()
        database.prepare(options.using)
        self._broker: Broker = broker_for(options.using)
        Broker.writes_rollups = settings.metrics_enabled
        self._broker.durable_claims = settings.durable_claims
        self._broker.lock_timeout = database.LOCK_SECONDS
        lanes = Lanes(
            clock=time.monotonic,
            queues=settings.queues,
            excluded_queues=options.excluded_queues,
        )
        self._dispatcher = Dispatcher(
            worker_id=options.identity.worker_id,
            host=options.identity.host,
            batch_size=min(settings.batch_size, self._broker.batch_limit),
            max_crashes=settings.max_crashes,
            prefetch=settings.prefetch,
            rank_of=lanes.rank_of,
        )
        self._herald = Herald(self._dispatcher)
        self._trust = Trust(settings.lock_duration)
        self._completer = Completer(
            self._broker,
            self._dispatcher,
            session=options.identity.session,
            max_failures=settings.max_failures,
            stop=self._stop_for_failures,
            tell=self._herald.tell,
            expect=lambda seconds: self._keeper.expect(seconds),
        )
        chores = Chores(
            self._broker,
            session=options.identity.session,
            settings=settings,
            tell=self._herald.tell,
        )
        self._claimer = Claimer(
            self._broker,
            self._dispatcher,
            lanes,
            identity=options.identity,
            settings=settings,
            status=self._status,
            trust=self._trust,
            max_jobs=options.max_jobs,
            burst=options.burst,
            promoted_nothing_since=chores.promoted_nothing_since,
            jobs_run=lambda: self._completer.run_count,
        )
        self._keeper = Keeper(
            self._broker,
            SessionRow(self._broker, options.identity, lease=settings.lock_duration),
            self._trust,
            chores,
            dispatcher=self._dispatcher,
            claimer=self._claimer,
            lanes=lanes,
            herald=self._herald,
            settings=settings,
            status=self._status,
            children=options.children,
            predecessors=options.predecessors,
            schedules=options.schedules,
            ready=self._say_ready,
            drain=lambda reason: self._drain.begin(reason),
        )
        self._nursery = Nursery(
            self._control,
            self._dispatcher,
            patience=settings.shutdown_timeout,
            grace=settings.cancel_grace + GRACE_MARGIN_SECONDS,
            greet=self._keeper.greet_soon,
            is_expected=self._status.stopping.is_set,
        )
        self._drain = Drain(
            self._dispatcher,
            self._completer,
            self._keeper,
            self._nursery,
            status=self._status,
            patience=settings.shutdown_timeout,
            say=options.say,
        )

    def run(self) -> int:
        """Work until told to stop; return the exit code."""
        threads = [
            self._thread("claimer", self._claimer.run_once),
            self._thread("completer", self._completer.run_once),
            self._thread("keeper", self._keeper.run_once),
        ]
        ear = self._ear()
        while not self._status.done.is_set():
            ready, _, _ = select.select([self._control], [], [], LOOK_SECONDS)
            if ready and not self._listen_to_launcher():
                os._exit(exits.OK)  # the launcher is gone, and so are we
            self._nursery.mind_retired()
            self._nursery.mind_silent()
            if self._status.stopping.is_set():
                self._drain.mind()
        if ear is not None:
            ear.stop()
        self._completer.halt()
        away = self._status.exit_code == exits.DATABASE
        until = time.monotonic() + (LAST_WORDS_SECONDS if away else CLOSE_SECONDS)
        for thread in threads:
            thread.join(timeout=max(0.0, until - time.monotonic()))
        return self._status.exit_code

    # Threads

    def _thread(self, name: str, step: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(
            target=self._repeat, args=(name, step), name=name, daemon=True
        )
        thread.start()
        return thread

    def _repeat(self, name: str, step: Callable[[], None]) -> None:
        """Repeat a step until the end, whatever the database does meanwhile."""
        database.quiet_connection(self._options.using)
        done = self._status.done
        pause, logged_at = FIRST_PAUSE_SECONDS, -LOG_SECONDS
        while not done.is_set():
            try:
                step()
                pause = FIRST_PAUSE_SECONDS
            except Exception as error:
                if time.monotonic() - logged_at > LOG_SECONDS:
                    logged_at = time.monotonic()
                    logger.warning("%s: %s; going on", name, _shortly(error))
                    logger.debug("%s", name, exc_info=True)
                if name == "keeper" and not is_locked(error):
                    self._trust.failed()
                _close(self._options.using)
                done.wait(pause * random.uniform(0.5, 1.5))
                pause = min(MOST_PAUSE_SECONDS, pause * 2)
        _close(self._options.using)

    def _ear(self) -> Ear | None:
        listener = self._settings.listener
        if not wakeup.can_hear(self._broker, listener):
            return None
        ear = Ear(
            self._broker,
            self._hear,
            dsn=listener if isinstance(listener, str) else "",
        )
        ear.start()
        return ear

    def _hear(self, payload: str) -> None:
        """A hint from the ear's thread; an empty one: something may be missed."""
        kind, _, rest = payload.partition(" ")
        if kind == wakeup.AWAITED:
            self._completer.await_(rest)
        elif kind in (wakeup.DUE, wakeup.CONTROL, ""):
            self._status.keeper_event.set()
        if kind in (wakeup.READY, ""):
            self._claimer.hint(payload)

    # The launcher's word

    def _listen_to_launcher(self) -> bool:
        """Do what the launcher says. False: it is gone."""
        frames = self._control.receive()
        if frames is None:
            return False
        for kind, payload, fds in frames:
            if kind == wire.CHILD:
                self._nursery.adopt(payload, fds)
            elif kind == wire.DIED:
                self._nursery.bury(*payload)
            elif kind == wire.DRAIN:
                self._drain.begin(str(payload))
            elif kind == wire.HURRY:
                self._drain.hurry()
            elif kind == wire.BOOT:  # the launcher has given up starting children
                self._options.say(str(payload))
                self._status.exit_code = exits.BOOT
                self._drain.begin("no child became ready")
        return True

    def _stop_for_failures(self) -> None:
        self._status.exit_code = exits.FAILURES
        self._options.say(
            f"{self._settings.max_failures} jobs in a row have failed: stopping."
        )
        self._status.failed_too_often.set()
        self._status.keeper_event.set()

    def _say_ready(self, tasks: int, schedules: int) -> None:
        """Print the rest of the banner: what was not known before."""
        options = self._options
        rows = banner.rows_of(
            self._broker,
            self._settings,
            worker_id=options.identity.worker_id,
            excluded_queues=options.excluded_queues,
            children=options.children,
            tasks=tasks,
            schedules=schedules,
        )
        options.say(
            f"{banner.laid_out(rows)}\nReady. Ctrl+C drains, again to stop now."
        )


def _close(using: str) -> None:
    try:
        connections[using].close()
    except Exception:
        connections[using].connection = None


def _shortly(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0] if text else ''}"

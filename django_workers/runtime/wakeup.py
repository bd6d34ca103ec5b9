"""Hints that something has happened: new jobs, a request, a finished job.

Polling is the correctness path; a hint that is lost costs one poll. On PostgreSQL
hints travel by NOTIFY, sent behind the commit as a transaction of their own: inside
the other one it would hold a database-wide lock until the commit is flushed (measured:
a half to two thirds of the enqueue rate). SQLite tells by `PRAGMA data_version` that
another connection has written. Elsewhere everybody polls.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

from django.db import DatabaseError, InterfaceError, connections, transaction

from ..brokers import Broker, Lane, NewJob

logger = logging.getLogger("django_workers.wakeup")

# Workers listen here.
CHANNEL: Final = "django_workers"
# Whoever waits for a job listens here.
DONE_CHANNEL: Final = "django_workers_done"

READY: Final = "ready"
DUE: Final = "due"
CONTROL: Final = "control"
AWAITED: Final = "awaited"
PING: Final = "ping"

# A lane announced less than this many seconds ago is not announced again: whoever
# heard it still looks every few milliseconds (see HOT_SECONDS in the claimer).
COALESCE_SECONDS: Final = 0.005

SQLITE_LOOK_SECONDS: Final = 0.004
WAIT_LOOK_SECONDS: Final = 1.0

_announced: dict[tuple[str, str], float] = {}


def enqueue(broker: Broker, jobs: Sequence[NewJob]) -> datetime:
    """Store jobs in the caller's transaction and announce them once it has committed.

    Returns when they were enqueued by the database's clock. Outside a transaction both
    happen in one round trip, if the database can do that.
    """
    if not broker.can_notify or not jobs:
        return broker.enqueue(jobs)
    payloads = sorted(
        {
            DUE if job.run_after is not None else ready_payload(_lane_of(job))
            for job in jobs
        }
    )
    if fresh := _fresh(broker, payloads):
        enqueued_at = broker.enqueue_and_notify(jobs, CHANNEL, fresh)
        if enqueued_at is not None:
            _note(broker, fresh)
            return enqueued_at
    enqueued_at = broker.enqueue(jobs)
    announce(broker, payloads)
    return enqueued_at


def announce(broker: Broker, payloads: Iterable[str]) -> None:
    """Send hints once the caller's transaction has committed."""
    if not broker.can_notify:
        return
    texts = tuple(payloads)
    connection = broker.connection
    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(lambda: _send(broker, texts), using=broker.using)
    # Else the commit is the caller's own and nobody says when: polling finds the jobs.


def ready_payload(lane: Lane) -> str:
    """The hint that a lane has new jobs."""
    return f"{READY} {lane.priority} {lane.queue}"


def _lane_of(job: NewJob) -> Lane:
    return Lane(job.queue, job.priority)


def _send(broker: Broker, payloads: tuple[str, ...]) -> None:
    fresh = _fresh(broker, payloads)
    if not fresh:
        return
    try:
        broker.notify(CHANNEL, fresh)
    except (DatabaseError, InterfaceError):
        # The jobs are stored and will be found by polling.
        logger.debug("A wake-up could not be sent", exc_info=True)
        return
    _note(broker, fresh)


def _fresh(broker: Broker, payloads: Iterable[str]) -> list[str]:
    """The hints that nobody has sent from here in the last moment."""
    now = time.monotonic()
    return [
        text
        for text in payloads
        if now - _announced.get((broker.using, text), 0.0) >= COALESCE_SECONDS
    ]


def _note(broker: Broker, sent: Iterable[str]) -> None:
    if len(_announced) > 10_000:
        _announced.clear()
    now = time.monotonic()
    _announced.update(dict.fromkeys(((broker.using, text) for text in sent), now))


class Ear(threading.Thread):
    """Listens for hints in a thread of its own and hands each payload on.

    `hear` is called with every payload, and with an empty one when something may have
    been missed. The thread never dies of a database that is away.
    """

    def __init__(
        self, broker: Broker, hear: Callable[[str], None], *, dsn: str = ""
    ) -> None:
        super().__init__(name="ear", daemon=True)
        self._broker = broker
        self._hear = hear
        self._dsn = dsn
        self._stopped = threading.Event()
        # time.monotonic() of the last sign that listening works.
        self.heard_at = 0.0

    def stop(self) -> None:
        """Ask the thread to end; it does within a second."""
        self._stopped.set()

    def run(self) -> None:
        """Listen until stopped, reconnecting with growing pauses."""
        pause = 0.1
        while not self._stopped.is_set():
            try:
                self._listen()
                pause = 0.1
            except Exception as error:
                logger.info("Listening failed, polling meanwhile: %s", error)
                self._stopped.wait(pause)
                pause = min(5.0, pause * 2)
            self._hear("")

    def _listen(self) -> None:
        if self._broker.connection.vendor == "sqlite":
            self._watch_sqlite()
        else:
            self._listen_postgresql()

    def _watch_sqlite(self) -> None:
        with self._broker.connection.cursor() as cursor:
            seen = _data_version(cursor)
            while not self._stopped.wait(SQLITE_LOOK_SECONDS):
                version = _data_version(cursor)
                if version != seen:
                    seen = version
                    self._hear(READY)

    def _listen_postgresql(self) -> None:
        with listening(self._broker, CHANNEL, dsn=self._dsn) as connection:
            self._hear("")
            while not self._stopped.is_set():
                for hint in connection.notifies(timeout=1.0):
                    self.heard_at = time.monotonic()
                    self._hear(hint.payload)
                    if self._stopped.is_set():
                        break


@contextmanager
def listening(broker: Broker, channel: str, *, dsn: str = "") -> Iterator[Any]:
    """A psycopg connection of its own that listens on a channel.

    A listener must not go through a pooler in transaction mode; `dsn` leads around it.
    """
    import psycopg

    if dsn:
        connection = psycopg.connect(dsn, autocommit=True)
    else:
        params = connections[broker.using].get_connection_params()
        for name in ("cursor_factory", "context", "isolation_level", "pool"):
            params.pop(name, None)
        # A listener only reads: without probes it would never notice a dead link.
        params.setdefault("keepalives_idle", 10)
        params.setdefault("keepalives_interval", 5)
        params.setdefault("keepalives_count", 3)
        connection = psycopg.connect(**params, autocommit=True)
    with connection:
        connection.execute(f"LISTEN {channel}")
        yield connection


def _data_version(cursor: Any) -> int:
    cursor.execute("PRAGMA data_version")
    return int(cursor.fetchone()[0])


def can_hear(broker: Broker, listener: bool | str) -> bool:
    """Whether a worker hears of new jobs on this database; `listener`: the setting."""
    return listener is not False and (
        broker.can_notify or broker.connection.vendor == "sqlite"
    )


def wait_until(
    broker: Broker,
    is_done: Callable[[], bool],
    *,
    job_id: str,
    timeout: float | None,
    dsn: str | bool = True,
) -> bool:
    """Wait until `is_done`, woken by the job's completion where that is possible.

    `timeout` is in seconds; None waits for ever. Returns whether it is done.
    """
    if is_done():
        return True
    deadline = None if timeout is None else time.monotonic() + timeout
    if broker.can_notify and dsn is not False:
        return _wait_notified(
            broker, is_done, job_id, deadline, dsn if isinstance(dsn, str) else ""
        )
    if broker.connection.vendor == "sqlite":
        return _wait_sqlite(broker, is_done, deadline)
    return _wait_polling(is_done, deadline)


def _remaining(deadline: float | None, most: float) -> float:
    if deadline is None:
        return most
    return max(0.0, min(most, deadline - time.monotonic()))


def _wait_notified(
    broker: Broker,
    is_done: Callable[[], bool],
    job_id: str,
    deadline: float | None,
    dsn: str,
) -> bool:
    try:
        with listening(broker, DONE_CHANNEL, dsn=dsn) as connection:
            while True:
                # Whoever runs the job must know that somebody waits; repeated, since
                # another worker may hold it by now.
                broker.notify(CHANNEL, [f"{AWAITED} {job_id}"])
                if is_done():
                    return True
                rest = _remaining(deadline, WAIT_LOOK_SECONDS)
                if rest <= 0:
                    return False
                for hint in connection.notifies(timeout=rest):
                    if hint.payload == job_id:
                        break
    except (DatabaseError, InterfaceError, OSError) as error:
        logger.info("Waiting without notifications: %s", error)
    return _wait_polling(is_done, deadline)


def _wait_sqlite(
    broker: Broker, is_done: Callable[[], bool], deadline: float | None
) -> bool:
    with broker.connection.cursor() as cursor:
        seen = _data_version(cursor)
        while not is_done():
            while True:
                rest = _remaining(deadline, SQLITE_LOOK_SECONDS)
                if rest <= 0:
                    return is_done()
                time.sleep(rest)
                version = _data_version(cursor)
                if version != seen:
                    seen = version
                    break
    return True


def _wait_polling(is_done: Callable[[], bool], deadline: float | None) -> bool:
    pause = 0.01
    while not is_done():
        rest = _remaining(deadline, pause)
        if rest <= 0:
            return False
        time.sleep(rest)
        pause = min(0.5, pause * 1.5)
    return True

"""A worker's heartbeat: its row, its lease, and how far its clock can be trusted."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Value

from .. import __version__
from ..brokers import Broker
from ..dialect import DatabaseNow, DatabaseNowPlus
from ..models import ALIVE, Queue, SessionState, WorkerSession
from ..models.worker_session import WorkerSessionQuerySet

# Part of the lease a worker does not rely on: the way to the database and back.
MARGIN_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a worker is, from its start to its end."""

    session: UUID
    worker_id: str
    host: str
    pid: int
    cluster: str = ""
    queues: Sequence[str] = ()


class SessionRow:
    """The row of one running worker. Only its own supervisor writes it."""

    def __init__(self, broker: Broker, identity: Identity, *, lease: float) -> None:
        """Write nothing yet. `lease` is in seconds."""
        self._broker = broker
        self.identity = identity
        self._lease = lease

    def open(self, *, slots: int, children: int) -> bool:
        """Write the row: from now on the worker may hold jobs.

        May be repeated: the answer to the first try may have been lost. False:
        somebody has found this worker dead meanwhile.
        """
        values = {
            "worker_id": self.identity.worker_id,
            "cluster": self.identity.cluster,
            "host": self.identity.host,
            "pid": self.identity.pid,
            "version": __version__,
            "queues": list(self.identity.queues),
            "slots": slots,
            "children": children,
            "started_at": DatabaseNow(),
            "heartbeat_at": DatabaseNow(),
            "lease_until": DatabaseNowPlus(Value(self._lease)),
        }
        if self._mine().update(**values):
            return True
        _, is_new = WorkerSession.objects.using(self._broker.using).get_or_create(
            id=self.identity.session,
            defaults={"state": SessionState.STARTING, **values},
        )
        return is_new

    def beat(self, *, state: str, running: int, slots: int, children: int) -> bool:
        """Renew the lease. False: somebody found this worker dead meanwhile."""
        return bool(
            self._mine().update(
                state=state,
                running=running,
                slots=slots,
                children=children,
                heartbeat_at=DatabaseNow(),
                lease_until=DatabaseNowPlus(Value(self._lease)),
            )
        )

    def publish_tasks(self, names: Sequence[str]) -> None:
        """Say which tasks this worker can run."""
        self._mine().update(tasks=list(names))

    def close(self, reason: str) -> bool:
        """Give up the lease. False: somebody found this worker dead meanwhile."""
        return bool(
            self._mine().update(
                state=SessionState.STOPPED,
                running=0,
                stopped_at=DatabaseNow(),
                stop_reason=reason[:255],
            )
        )

    def _mine(self) -> WorkerSessionQuerySet:
        return WorkerSession.objects.using(self._broker.using).filter(
            id=self.identity.session, state__in=ALIVE
        )


def mark_lost(broker: Broker, *, by: UUID | None = None) -> list[tuple[UUID, str]]:
    """Mark the workers whose lease has run out; return (session, worker id) of each.

    A compare-and-set per row: one that has just renewed its lease is left alone. So is
    the session `by`, that of the worker that asks: one that was frozen in the middle of
    this would find its own lease run out.
    """
    rows = WorkerSession.objects.using(broker.using).filter(
        state__in=ALIVE, lease_until__lt=DatabaseNow()
    )
    if by is not None:
        rows = rows.exclude(id=by)
    return [
        (session, worker_id)
        for session, worker_id in rows.values_list("id", "worker_id")
        if rows.filter(id=session).update(
            state=SessionState.LOST,
            stopped_at=DatabaseNow(),
            stop_reason="its lease ran out",
        )
    ]


def mark_dead(broker: Broker, sessions: Sequence[UUID], *, reason: str) -> int:
    """Mark workers lost whose death is proven, without waiting for their lease."""
    rows = WorkerSession.objects.using(broker.using).filter(
        state__in=ALIVE, id__in=sessions
    )
    return rows.update(
        state=SessionState.LOST, stopped_at=DatabaseNow(), stop_reason=reason
    )


def paused_queues(broker: Broker) -> list[str]:
    """The queues nobody may claim from now; ends the pauses whose time is up."""
    queues = Queue.objects.using(broker.using)
    queues.filter(paused_until__lte=DatabaseNow()).update(
        paused_at=None, paused_until=None, paused_by="", pause_reason=""
    )
    return list(queues.filter(paused_at__isnull=False).values_list("name", flat=True))


@dataclass(slots=True)
class Trust:
    """What this worker may believe of its lease and of the database's clock.

    The lease counts from before its renewal was sent, on the monotonic clock: past
    that the worker must not claim, whatever the wall clocks say. And it must not
    declare others dead before it has seen the database healthy, its clock advancing
    like the own one, for a whole lease: after an outage every lease looks run out.
    """

    lease: float
    clock: Callable[[], float] = time.monotonic
    _until: float = 0.0
    _healthy_since: float | None = None
    _last: tuple[float, datetime] | None = None

    def renewed(self, sent_at: float, database_now: datetime) -> None:
        """A renewal sent at `sent_at` (monotonic) succeeded."""
        self._until = sent_at + self.lease - MARGIN_SECONDS
        if self._healthy_since is None:
            self._healthy_since = sent_at
        if self._last is not None:
            own = sent_at - self._last[0]
            theirs = (database_now - self._last[1]).total_seconds()
            if abs(theirs - own) > self.lease / 2:
                self._healthy_since = sent_at
        self._last = (sent_at, database_now)

    def failed(self) -> None:
        """The database did not answer."""
        self._healthy_since = None
        self._last = None

    @property
    def may_claim(self) -> bool:
        """Whether the lease surely still holds."""
        return self.clock() < self._until

    @property
    def may_rescue(self) -> bool:
        """Whether others' silence is likely to be their own fault."""
        return (
            self.may_claim  # after a freeze, first see whether the database is there
            and self._healthy_since is not None
            and self.clock() - self._healthy_since >= self.lease
        )

"""Who works, and how they are."""

from typing import Any, Final

from django.db import connections

from ..databases import queue_database
from ..dialect import database_now
from ..models import ALIVE, WorkerSession

ENDED_WORKERS_SHOWN: Final = 20


def session_rows(*, using: str | None = None) -> list[dict[str, Any]]:
    """List the workers that have not ended and the last few that have, newest first.

    Each is a dict of `id`, `worker_id`, `cluster`, `host`, `pid`, `state`, `slots`,
    `running` (jobs), `heartbeat_age` (seconds), `stale` (it should be alive, but its
    lease has run out), `queues`, `version`, `started_at`, `stopped_at`, `stop_reason`.
    """
    using = using or queue_database()
    sessions = WorkerSession.objects.using(using).order_by("-id")
    ended = sessions.exclude(state__in=ALIVE)[:ENDED_WORKERS_SHOWN]
    now = database_now(connections[using])
    return [
        {
            **{name: getattr(session, name) for name in _SESSION_COLUMNS},
            "heartbeat_age": max(0.0, (now - session.heartbeat_at).total_seconds()),
            "stale": session.state in ALIVE and session.lease_until < now,
        }
        for session in (*sessions.alive(), *ended)
    ]


_SESSION_COLUMNS: Final = (
    "id",
    "worker_id",
    "cluster",
    "host",
    "pid",
    "state",
    "slots",
    "running",
    "queues",
    "version",
    "started_at",
    "stopped_at",
    "stop_reason",
)

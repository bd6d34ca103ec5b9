"""Rows that the ORM read, as the claimed jobs that workers know."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from .records import ClaimedJob

CLAIM_FIELDS: Final = (
    "id",
    "epoch",
    "task",
    "queue",
    "priority",
    "position",
    "args",
    "kwargs",
    "attempts",
    "crashes",
    "interruptions",
    "max_attempts",
    "timeout",
    "on_crash",
    "backend",
    "enqueued_at",
    "run_after",
    "started_at",
    "last_attempted_at",
    "retry_until",
    "expires_at",
    "tags",
    "metadata",
)


def claimed_job(row: Mapping[str, Any], now: datetime) -> ClaimedJob:
    """A job just claimed, from its values before the claim."""
    expires_at = row["expires_at"]
    return ClaimedJob(
        id=str(row["id"]),
        epoch=row["epoch"] + 1,
        task=row["task"],
        queue=row["queue"],
        priority=row["priority"],
        position=row["position"],
        args=json.dumps(row["args"]),
        kwargs=json.dumps(row["kwargs"]),
        attempts=row["attempts"],
        crashes=row["crashes"],
        interruptions=row["interruptions"],
        max_attempts=row["max_attempts"],
        timeout=row["timeout"],
        on_crash=row["on_crash"],
        backend=row["backend"],
        enqueued_at=row["enqueued_at"].timestamp(),
        run_after=row["run_after"].timestamp() if row["run_after"] else None,
        started_at=(row["started_at"] or now).timestamp(),
        claimed_at=now.timestamp(),
        retry_until=row["retry_until"].timestamp() if row["retry_until"] else None,
        expired=expires_at is not None and expires_at <= now,
        tags=json.dumps(row["tags"]),
        metadata=json.dumps(row["metadata"]),
    )


def held_job(row: Mapping[str, Any], now: datetime) -> ClaimedJob:
    """A running job as its holder knows it."""
    claimed_at = (row["last_attempted_at"] or now).timestamp()
    return claimed_job(row, now)._replace(epoch=row["epoch"], claimed_at=claimed_at)

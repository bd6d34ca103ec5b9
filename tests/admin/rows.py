"""Rows as the queue leaves them, for pages to show."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from django_workers.ids import uuid7
from django_workers.models import Attempt, Job, Rollup, Schedule, WorkerSession
from django_workers.schedules import plan

TASK = "tests.tasks.add"


def add_job(status: str = "ready", **fields: Any) -> Job:
    """Store a job of a status, whole enough for the constraints."""
    now = timezone.now()
    values: dict[str, Any] = {
        "task": TASK,
        "status": status,
        "enqueued_at": now - timedelta(minutes=5),
        "args": [1, 2],
    }
    if status == "ready":
        values["position"] = 1
    if status == "scheduled":
        values["run_after"] = now + timedelta(hours=1)
    if status == "running":
        values |= {
            "session": uuid7(),
            "started_at": now,
            "last_attempted_at": now,
            "worker": "w-1",
            "epoch": 1,
        }
    if status in ("successful", "failed", "cancelled"):
        values |= {
            "started_at": now - timedelta(minutes=4),
            "last_attempted_at": now - timedelta(minutes=4),
            "finished_at": now - timedelta(minutes=3),
            "duration": 0.25,
            "attempts": 1,
            "worker": "w-1",
        }
    if status == "failed":
        values["reason"] = "ValueError: no such number"
    return Job.objects.create(**{**values, **fields})


def add_attempt(job: Job, **fields: Any) -> Attempt:
    """Store a failed attempt of a job."""
    now = timezone.now()
    values: dict[str, Any] = {
        "number": 1,
        "epoch": 1,
        "worker": "w-1",
        "host": "host-1",
        "pid": 4711,
        "outcome": "failed",
        "exception": "builtins.ValueError",
        "message": "no such number",
        "traceback": "Traceback (most recent call last):\nValueError: no such number",
        "started_at": now - timedelta(minutes=4),
        "finished_at": now - timedelta(minutes=3),
        "duration": 0.25,
    }
    return Attempt.objects.create(job=job, **{**values, **fields})


def add_worker(**fields: Any) -> WorkerSession:
    """Store a worker that is alive and has just been heard of."""
    now = timezone.now()
    values: dict[str, Any] = {
        "worker_id": "w-1",
        "host": "host-1",
        "pid": 4711,
        "version": "0.1.0",
        "state": "running",
        "slots": 10,
        "running": 3,
        "children": 2,
        "started_at": now - timedelta(hours=1),
        "heartbeat_at": now,
        "lease_until": now + timedelta(minutes=10),
    }
    return WorkerSession.objects.create(**{**values, **fields})


def add_schedule(**fields: Any) -> Schedule:
    """Store a schedule that is planned as a person's would be."""
    values: dict[str, Any] = {
        "name": "nightly",
        "task": TASK,
        "args": [1, 2],
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
    }
    schedule = Schedule(**{**values, **fields})
    plan(schedule)
    schedule.save()
    return schedule


def add_rollup(**fields: Any) -> Rollup:
    """Store what one worker did in the current minute."""
    values: dict[str, Any] = {
        "minute": timezone.now().replace(second=0, microsecond=0),
        "worker": "w-1",
        "queue": "default",
        "task": TASK,
        "outcome": "successful",
        "count": 7,
        "run_seconds": 3.5,
    }
    return Rollup.objects.create(**{**values, **fields})

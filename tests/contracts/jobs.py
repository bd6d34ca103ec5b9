"""Jobs for tests that need no worker: stored, claimed, ended and read back."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction

from django_workers.brokers import Ending, Failure, NewJob
from django_workers.ids import uuid7
from django_workers.models import Job, SessionState, WorkerSession
from tests.support import wait_until

TASK = "tests.tasks.noop"
FAR = datetime(2100, 1, 1, tzinfo=UTC)
PAST = datetime(2020, 1, 1, tzinfo=UTC)
NO_LUCK = Failure(exception="builtins.ValueError", message="no", traceback="no\n")


def new_job(**values):
    """Return a job that can be stored."""
    values = {"backend": "default", "task": TASK, "queue": "default"} | values
    values = {"id": uuid7(), "priority": 0, "args": "[]", "kwargs": "{}"} | values
    return NewJob(**values)


def store(broker, count=1, **values):
    """Store so many jobs and return their ids, as text, in order."""
    jobs = [new_job(**values) for _ in range(count)]
    broker.enqueue(jobs)
    return [str(job.id) for job in jobs]


def lanes_of(broker, tasks=None):
    """Return all lanes that hold jobs, the most urgent first, without floors."""
    lanes = sorted(broker.lanes(tasks), key=lambda lane: (-lane.priority, lane.queue))
    return [(lane, 0) for lane in lanes]


def claim(broker, *, session=None, limit=1_000, lanes=None, worker="worker-1"):
    """Claim jobs, of all lanes unless told otherwise, and return them."""
    lanes = lanes_of(broker) if lanes is None else lanes
    session = session or uuid4()
    return broker.claim(session, worker=worker, lanes=lanes, limit=limit).jobs


def claim_one(broker, session, **values):
    """Store one job and claim it."""
    (job_id,) = store(broker, **values)
    (job,) = [job for job in claim(broker, session=session) if job.id == job_id]
    return job


def row(job_id):
    """Read a job as it stands now."""
    return Job.objects.get(id=job_id)


def snapshot(job_id):
    """Return every column of a job, to compare later."""
    return Job.objects.filter(id=job_id).values().get()


def succeed(job, *, result=None):
    """Return the ending of an attempt that returned `result`."""
    return Ending.succeed(job, result=json.dumps(result), duration=0.25)


def fail(job):
    """Return the ending of an attempt that failed for good."""
    return Ending.fail(job, failure=NO_LUCK, duration=0.25)


def retry(job, *, delay=0.0):
    """Return the ending of an attempt that failed and will be followed."""
    return Ending.retry(job, delay=delay, failure=NO_LUCK, duration=0.25)


def cancel(job):
    """Return the ending of an attempt that stopped because it was asked to."""
    return Ending.cancel(job, reason="asked", failure=NO_LUCK, duration=0.25)


def release(job):
    """Return the ending of a claim that never started."""
    return Ending.release(job)


def snooze(job, *, delay=60.0):
    """Return the ending of an attempt that wants to be run later."""
    ending = Ending.release(job)
    ending.status, ending.outcome = "scheduled", "snoozed"
    ending.delay, ending.in_place = delay, False
    return ending


def postpone(job, *, delay=60.0):
    """Return the ending of a claim that is better made some seconds later."""
    ending = Ending.release(job)
    ending.status, ending.delay, ending.in_place = "scheduled", delay, False
    return ending


def park(job):
    """Return the ending of a claim nobody can run."""
    ending = Ending.release(job)
    ending.status, ending.reason = "blocked", "unroutable: nobody knows it"
    return ending


# Every way a claim ends, by the status it leads to.
ENDINGS = {
    "succeed": succeed,
    "fail": fail,
    "retry": retry,
    "retry later": lambda job: retry(job, delay=60.0),
    "cancel": cancel,
    "release": release,
    "snooze": snooze,
    "park": park,
}


def open_session(*, state=SessionState.RUNNING, tasks=(), lease=60.0, session=None):
    """Store the row of a worker and return its id."""
    now = datetime.now(UTC)
    return WorkerSession.objects.create(
        id=session or uuid4(),
        worker_id="worker-1",
        host="host-1",
        pid=1,
        version="0",
        state=state,
        tasks=list(tasks),
        started_at=now,
        heartbeat_at=now,
        lease_until=now + timedelta(seconds=lease),
    ).id


def let_time_pass(broker):
    """Wait until a place drawn now comes after all places drawn before.

    The clock of SQLite counts milliseconds, and jobs of one millisecond go by id.
    """
    if broker.connection.vendor != "postgresql":
        before = broker.now()
        wait_until(lambda: (broker.now() - before).total_seconds() > 0.002, pause=0.001)


@contextmanager
def rolled_back():
    """Open a transaction, or a savepoint in one, that comes to nothing."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def as_uuids(ids):
    """Return ids as the broker's verbs about rows take them."""
    return [UUID(job_id) for job_id in ids]

"""What a worker does by itself from time to time, done now: prune and rescue."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction

from .. import signals
from ..brokers import Broker, Rescue, broker_for
from ..compat import InvalidTaskBackend, task_backends, task_finished
from ..conf import runtime_settings
from ..databases import after_commit, queue_database
from ..models import FINISHED, JobStatus, WorkerSession
from ..runtime.lease import mark_lost
from .jobs import announce_ready
from .twin import async_twin

BATCH: Final = 1_000
# Left to other writers between two batches: SQLite has one writer at a time.
PAUSE_SECONDS: Final = 0.005


def prune(
    *,
    older_than: timedelta | None = None,
    statuses: Iterable[str] | str | None = None,
    queue: str | None = None,
    using: str | None = None,
) -> int:
    """Delete jobs that finished longer ago than that, with their attempts.

    Without `older_than` each status has its own age, from the setting RETENTION, and
    one that is kept for ever stays. `statuses` are among successful, failed and
    cancelled, all of them unless given; `queue` keeps to one queue. Returns how many
    jobs were deleted; nothing unfinished ever is. Raises ValueError for another status
    or a negative age.
    """
    wanted = [statuses] if isinstance(statuses, str) else statuses
    kept = runtime_settings().retention_by_status
    ages: dict[str, timedelta] = {}
    for status in FINISHED if wanted is None else wanted:
        if status not in FINISHED:
            names = ", ".join(FINISHED)
            raise ValueError(
                f"only finished jobs are pruned ({names}), not {status!r}."
            )
        age = kept.get(str(status)) if older_than is None else older_than
        if age is not None:
            ages[str(status)] = age
    if any(age < timedelta(0) for age in ages.values()):
        raise ValueError(f"older_than must not be negative: {older_than!r}.")
    broker = broker_for(using or queue_database())
    return sum(_prune(broker, status, age, queue) for status, age in ages.items())


def _prune(broker: Broker, status: str, age: timedelta, queue: str | None) -> int:
    total = 0
    while deleted := broker.prune(
        status=status, older_than=age, queue=queue, limit=BATCH
    ):
        total += deleted
        time.sleep(PAUSE_SECONDS)
    return total


def rescue(*, dry_run: bool = False, using: str | None = None) -> list[dict[str, Any]]:
    """Take jobs back from workers whose lease has run out.

    Workers do so by themselves; this is for the moment when none is left. Returns a
    dict of `job_id`, `task`, `backend`, `session`, `status` (where the job went: ready,
    failed or cancelled) and `reason` for each job. With `dry_run` nothing is changed,
    and the answer is what would be. The signals `worker_stopped` and `job_rescued`, and
    the final ones of a job that ends here, are sent after the commit.
    """
    using = using or queue_database()
    broker = broker_for(using)
    if dry_run:
        with transaction.atomic(using=using):
            mark_lost(broker)
            found = broker.rescue(BATCH, dry_run=True)
            transaction.set_rollback(True, using=using)
        return [_as_dict(item) for item in found]
    lost = mark_lost(broker)
    rescued: list[Rescue] = []
    while batch := broker.rescue(BATCH):
        rescued += batch
        ready = [UUID(item.job_id) for item in batch if item.status == JobStatus.READY]
        announce_ready(broker, ready)
    after_commit(lambda: _say(lost, rescued), using=using)
    return [_as_dict(item) for item in rescued]


def _say(lost: Sequence[tuple[UUID, str]], rescued: Sequence[Rescue]) -> None:
    for session, worker_id in lost:
        signals.worker_stopped.send_robust(
            WorkerSession,
            session_id=session,
            worker_id=worker_id,
            reason="its lease ran out",
        )
    for item in rescued:
        try:
            backend: Any = task_backends[item.backend]
        except InvalidTaskBackend:
            continue  # `TASKS` has changed since: nobody to name as the sender
        signals.job_rescued.send_robust(
            type(backend),
            job_id=item.job_id,
            session_id=item.session,
            reason=item.reason,
        )
        if item.status in FINISHED:
            _say_ended(backend, item)


def _say_ended(backend: Any, item: Rescue) -> None:
    """Send the final signals of a job that does not run again."""
    sender, result = type(backend), backend.get_result(item.job_id)
    task_finished.send_robust(sender, task_result=result)
    if item.status == JobStatus.CANCELLED:
        signals.job_cancelled.send_robust(sender, job=result, reason=result.reason)
        return
    signals.job_failed.send_robust(
        sender,
        job=result,
        error=result.errors[-1] if result.errors else None,
        attempt=max(1, result.attempts),
        will_retry=False,
        retry_at=None,
    )


def _as_dict(item: Rescue) -> dict[str, Any]:
    return {**asdict(item), "session": str(item.session)}


aprune = async_twin(prune)
arescue = async_twin(rescue)

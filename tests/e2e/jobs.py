"""What the tests of real workers ask about jobs, and how they set a worker up."""

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil

from django_workers.models import Attempt, Job
from tests.support import RunningWorker, wait_until


def settings_of(**values: Any) -> dict[str, str]:
    """Return the environment of a worker with this DJANGO_WORKERS."""
    return {
        "DJANGO_SETTINGS_MODULE": "tests.e2e.settings",
        "TESTS_DJANGO_WORKERS": json.dumps(values),
    }


def job_of(result: Any) -> Any:
    """Return the row of a job as it is now; *result* is a TaskResult or an id."""
    return Job.objects.get(id=getattr(result, "id", result))


def ended(result: Any, *, deadline: float = 10) -> Any:
    """Wait until a job has ended; return its row."""
    return reached(result, "successful", "failed", "cancelled", deadline=deadline)


def all_ended(results: Sequence[Any], *, deadline: float = 20) -> list[Any]:
    """Wait until all these jobs have ended; return their rows in the same order."""
    ids = [UUID(result.id) for result in results]
    jobs = Job.objects.filter(id__in=ids)
    wait_until(
        lambda: not jobs.unfinished().exists(),
        deadline=deadline,
        message=lambda: f"unfinished: {[told(job) for job in jobs.unfinished()[:10]]}",
        pause=0.05,
    )
    rows = jobs.in_bulk()
    return [rows[job_id] for job_id in ids]


def reached(result: Any, *statuses: str, deadline: float = 10) -> Any:
    """Wait until a job has one of these statuses; return its row."""

    def found() -> Any:
        job = job_of(result)
        return job if job.status in statuses else None

    return wait_until(
        found, deadline=deadline, message=lambda: told(job_of(result)), pause=0.005
    )


def told(job: Any) -> str:
    """Return what is worth knowing of a job when a test fails."""
    attempts = [(row.outcome, row.message) for row in attempts_of(job)]
    return (
        f"{job} is {job.status} ({job.reason!r}), epoch {job.epoch}, charged "
        f"{job.attempts}/{job.crashes}/{job.interruptions}, attempts {attempts}"
    )


def attempts_of(result: Any) -> list[Any]:
    """Return the recorded attempts of a job, oldest first."""
    return list(Attempt.objects.filter(job_id=result.id).order_by("epoch"))


def outcomes_of(result: Any) -> list[str]:
    """Return how the recorded attempts of a job ended, oldest first."""
    return [attempt.outcome for attempt in attempts_of(result)]


def lines(path: Path | str) -> list[str]:
    """Return what tasks have noted in a file so far."""
    path = Path(path)
    return path.read_text().splitlines() if path.exists() else []


def runs_of(path: Path) -> Counter[str]:
    """Return how often each name has been noted; it is the first word of a line."""
    return Counter(line.split()[0] for line in lines(path))


def wait_for_lines(path: Path, count: int, *, deadline: float = 10) -> list[str]:
    """Wait until tasks have noted so many lines; return them."""
    wait_until(
        lambda: len(lines(path)) >= count,
        deadline=deadline,
        message=lambda: f"{count} lines awaited in {path.name}: {lines(path)}",
    )
    return lines(path)


def seconds_until(happened: Callable[[], Any], *, deadline: float = 30) -> float:
    """Wait until something happens; return how many seconds that took."""
    began = time.monotonic()
    wait_until(happened, deadline=deadline, pause=0.002)
    return time.monotonic() - began


def supervisor_of(worker: RunningWorker) -> psutil.Process:
    """Return the worker's supervisor: the first process that the launcher starts."""
    below = psutil.Process(worker.pid).children()
    return min(below, key=lambda process: (process.create_time(), process.pid))


def children_of(worker: RunningWorker) -> list[psutil.Process]:
    """Return the processes that run the worker's tasks."""
    below = psutil.Process(worker.pid).children()
    supervisor = supervisor_of(worker)
    return [process for process in below if process.pid != supervisor.pid]

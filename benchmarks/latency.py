"""How long a job waits between its enqueue() and the first line of its task.

`idle`: one job at a time, at uneven pauses, on a worker with nothing else to do; on
PostgreSQL beside the bare way through the database (`bare_p50_ms`, see bare.py).
`busy`: enqueued inside transactions that stay open for 80 ms, on a lane that gets 300
other jobs a second; measured from the COMMIT.
"""

import random
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from . import project
from .bare import probe

RATE = 300
HOLD_SECONDS = 0.080
# The first jobs open connections and import what tasks need; they are not counted.
WARM_UP_JOBS = 5


def run(
    *, database: str, jobs: int, mode: str, flags: list[str], quiet: bool
) -> dict[str, Any]:
    """Enqueue `jobs` measured ones; the percentiles in milliseconds."""
    with project.prepared(database, quiet=quiet):
        from django_workers.models import Job

        Job.objects.all().delete()
        bare: list[float] = []
        with project.worker(flags):
            time.sleep(1.0)
            _idle(WARM_UP_JOBS)
            if mode == "busy":
                waits = _busy(jobs)
            elif database == "postgresql":
                with probe(project.dsn()) as measure:
                    waits = _idle(jobs, lambda: bare.append(measure()))
            else:
                waits = _idle(jobs)
        waits.sort()
        return {
            "benchmark": "latency",
            "mode": mode,
            "jobs": len(waits),
            "p50_ms": round(waits[len(waits) // 2], 2),
            "p95_ms": round(waits[int(len(waits) * 0.95)], 2),
            "p99_ms": round(waits[int(len(waits) * 0.99)], 2),
            "max_ms": round(waits[-1], 2),
            **({"bare_p50_ms": round(statistics.median(bare), 2)} if bare else {}),
            "flags": flags,
            **project.machine(),
        }


def _idle(jobs: int, between: Callable[[], None] = lambda: None) -> list[float]:
    from . import tasks

    results = []
    for _ in range(jobs):
        results.append(tasks.picked_up.enqueue(time.time()))
        time.sleep(random.uniform(0.03, 0.12))
        between()
        time.sleep(random.uniform(0.03, 0.12))
    return [result.wait(timeout=30).return_value or 0.0 for result in results]


def _busy(jobs: int) -> list[float]:
    from django.db import connection, transaction

    from . import tasks

    stop = threading.Event()

    def feed() -> None:
        due = time.monotonic()
        while not stop.is_set():
            tasks.noop.enqueue()
            due += 1 / RATE
            time.sleep(max(0.0, due - time.monotonic()))
        connection.close()

    feeder = threading.Thread(target=feed)
    feeder.start()
    measured = []
    try:
        for _ in range(jobs):
            with transaction.atomic():
                result = tasks.picked_up.enqueue(0.0)
                time.sleep(HOLD_SECONDS)
            committed = time.time()
            measured.append((result, committed))
            time.sleep(random.uniform(0.01, 0.05))
        # The task returned milliseconds since the epoch's start.
        return [
            (result.wait(timeout=30).return_value or 0.0) - committed * 1000
            for result, committed in measured
        ]
    finally:
        stop.set()
        feeder.join()

"""How fast a backlog of jobs that do nothing is worked off.

The rate is jobs / (last finished_at - first started_at), read from the rows when all
is over: counting meanwhile would be measured too (a COUNT every 20 ms costs a third of
the throughput).
"""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from . import project

CHUNK = 10_000


def run(
    *, database: str, jobs: int, task: str, flags: list[str], quiet: bool
) -> dict[str, Any]:
    """Enqueue `jobs`, start a worker, wait until nothing is left; the figures."""
    with project.prepared(database, quiet=quiet):
        from django.db.models import Max, Min

        from django_workers.models import Job

        from . import tasks

        Job.objects.all().delete()
        chosen = getattr(tasks, task)
        args = (_some_permission(),) if task == "select_and_update" else ()
        began = time.perf_counter()
        for start in range(0, jobs, CHUNK):
            chosen.enqueue_many([(args, {})] * min(CHUNK, jobs - start))
        enqueue_seconds = time.perf_counter() - began
        _analyze()
        other: dict[str, Any] = {}
        with _other_writer(database, other), project.worker(flags):
            while Job.objects.unfinished().exists():
                time.sleep(0.1)
        ended = Job.objects.successful()
        span = ended.aggregate(first=Min("started_at"), last=Max("finished_at"))
        seconds = (span["last"] - span["first"]).total_seconds()
        return {
            "benchmark": "drain",
            "task": task,
            "jobs": ended.count(),
            "seconds": round(seconds, 3),
            "jobs_per_second": round(jobs / seconds),
            "enqueue_many_per_second": round(jobs / enqueue_seconds),
            "flags": flags,
            **({"other_writer": other} if other else {}),
            **project.machine(),
        }


@contextmanager
def _other_writer(database: str, figures: dict[str, Any]) -> Iterator[None]:
    """On SQLite, have another process insert rows meanwhile; its figures."""
    if database != "sqlite":
        yield
        return
    from django.db import connection

    command = [sys.executable, "-m", "benchmarks.writer"]
    with subprocess.Popen(
        [*command, str(connection.settings_dict["NAME"])],
        cwd=project.ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield
        said, _ = process.communicate()
        figures |= json.loads(said)


def _some_permission() -> int:
    from django.contrib.auth.models import Permission

    return int(Permission.objects.values_list("pk", flat=True)[0])


def _analyze() -> None:
    """Let the planner see the backlog, as autovacuum would a minute later."""
    from django.db import connection

    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("ANALYZE django_workers_job")
        elif connection.vendor == "mysql":
            cursor.execute("ANALYZE TABLE django_workers_job")
        else:
            cursor.execute("ANALYZE")

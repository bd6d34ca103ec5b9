"""How many connections jobs open, as the server counts them."""

from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from django_workers.models import Job
from tests import tasks
from tests.e2e.jobs import all_ended, settings_of
from tests.e2e.query_tasks import select_and_update, select_and_update_async
from tests.support import wait_until

pytestmark = [
    pytest.mark.postgresql,
    pytest.mark.django_db(transaction=True),
    pytest.mark.thorough,
]

SLOTS = 4
WORKER = ("--processes", "2", "--concurrency", str(SLOTS), "--no-schedules")
ENV = settings_of(AUTODISCOVER=["tasks", "tests.e2e.query_tasks"])


def asked(query: str) -> int:
    """Return the number that a query about this database gives."""
    with connection.cursor() as cursor:
        cursor.execute(query)
        return int(cursor.fetchone()[0])


def others() -> int:
    """Return how many connections there are to this database beside this one."""
    return asked(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid() "
        "AND backend_type = 'client backend'"
    )


def sessions_so_far() -> int:
    """Return how many connections the server has accepted, once the others are gone."""
    # The server counts a connection at its end at the latest.
    wait_until(lambda: others() == 0)
    return asked(
        "SELECT sessions FROM pg_stat_database WHERE datname = current_database()"
    )


@pytest.fixture
def opened(run_worker: Any) -> Any:
    """Return what runs jobs in a worker of their own and counts its connections."""
    group = Group.objects.create(name="looked at")

    def opened(task: Any, jobs: int, pause: float) -> int:
        before = sessions_so_far()
        results = task.enqueue_many([((group.pk, "looked at", pause), {})] * jobs)
        with run_worker(*WORKER, env=ENV) as worker:
            ended = all_ended(results, deadline=40)
            assert worker.stop() == 0
        assert {job.status for job in ended} == {"successful"}
        return sessions_so_far() - before

    return opened


def test_the_worker_itself_holds_four_connections_and_no_more(run_worker):
    # Their tasks ask the database nothing: what is open is the supervisor's.
    tasks.noop.enqueue_many([((), {})] * 2_000)
    tasks.fail_with_retries.enqueue_many([((), {})] * 20)
    seen = set()

    def is_done() -> bool:
        seen.add(others())
        return not Job.objects.unfinished().exists()

    with run_worker(*WORKER, env=ENV) as worker:
        wait_until(is_done, deadline=40)
        # Each of its threads has opened its own by now.
        wait_until(lambda: others() == 4)
        assert worker.stop() == 0

    assert max(seen) <= 4


@pytest.mark.parametrize("pause", [0.0, 0.004], ids=["short", "longer"])
@pytest.mark.parametrize(
    "task", [select_and_update, select_and_update_async], ids=["sync", "coroutine"]
)
def test_a_thousand_jobs_open_no_more_connections_than_there_are_slots(
    opened, task, pause
):
    assert connection.settings_dict["CONN_MAX_AGE"] == 0
    # The worker's own, and one slot's.
    for_one_job = opened(task, 1, pause)

    for_a_thousand = opened(task, 1_000, pause)

    print(f"{for_one_job} for one job, {for_a_thousand} for a thousand")
    assert for_a_thousand - for_one_job <= SLOTS - 1

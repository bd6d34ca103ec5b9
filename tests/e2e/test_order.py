"""Who comes first, who serves what, and what waits: queues, priorities and pauses."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from django_workers import control
from django_workers.models import Job
from tests import tasks
from tests.e2e.jobs import (
    all_ended,
    attempts_of,
    ended,
    job_of,
    lines,
    settings_of,
    wait_for_lines,
)
from tests.support import wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

ONE_SLOT = ("--processes", "1", "--concurrency", "1", "--no-schedules")
# A request from outside is noticed as soon as on a database that can tell.
ALERT = (
    *("--poll-interval", "0.1"),
    *("--lock-duration", "2", "--heartbeat-interval", "0.3"),
)


def enqueue(path: Path, queue: str, count: int, *, task: Any = tasks.write) -> Any:
    """Enqueue jobs that note their queue and number, in the order of the numbers."""
    return task.using(queue_name=queue).enqueue_many(
        [((str(path), f"{queue} {n}"), {}) for n in range(count)]
    )


def untouched(results: list[Any]) -> bool:
    """Whether no job of these has ever been claimed by a worker that could run it."""
    rows = Job.objects.filter(id__in=[result.id for result in results])
    return {(row.status, row.attempts, row.started_at) for row in rows} == {
        ("ready", 0, None)
    }


# Queues in an order


@pytest.mark.parametrize("prefetch", [True, False], ids=["ahead", "not ahead"])
def test_queues_are_strict_in_the_order_written(run_worker, tmp_path, prefetch):
    path = tmp_path / "order"
    results = [
        *enqueue(path, "low", 300),
        *enqueue(path, "default", 300),
        *enqueue(path, "critical", 300),
    ]
    flags = () if prefetch else ("--no-prefetch",)
    with run_worker(*ONE_SLOT, *flags, "--queues", "critical,default,low"):
        all_ended(results)

    # Within a queue in the order in which they were enqueued, too.
    assert lines(path) == [
        f"{queue} {n}" for queue in ("critical", "default", "low") for n in range(300)
    ]


def test_the_order_of_queues_goes_before_priorities(run_worker, tmp_path):
    path = tmp_path / "order"
    for queue, priority in (("last", 100), ("first", -100), ("last", 0), ("first", 0)):
        text = f"{queue} {priority}"
        tasks.write.using(queue_name=queue, priority=priority).enqueue(str(path), text)

    with run_worker(*ONE_SLOT, "--queues", "first,last"):
        wait_for_lines(path, 4)

    assert lines(path) == ["first 0", "first -100", "last 100", "last 0"]


def test_jobs_of_an_earlier_queue_overtake_a_backlog(run_worker, tmp_path):
    path = tmp_path / "order"
    backlog = enqueue(path, "low", 120, task=tasks.write_slowly)
    with run_worker(*ONE_SLOT, *ALERT, "--queues", "critical,low"):
        wait_for_lines(path, 10)
        critical = enqueue(path, "critical", 30, task=tasks.write_slowly)
        before = len(lines(path))
        all_ended(critical)
        place = lines(path).index("critical 0")
        all_ended(backlog)

    print(f"{place - before} of the backlog came first")
    # Two looks of a tenth of a second, and then some.
    assert place - before < 25
    # From then on nothing of the other queue came between.
    assert lines(path)[place : place + 30] == [f"critical {n}" for n in range(30)]


# Priorities


def test_with_one_slot_priorities_decide(run_worker, tmp_path):
    path = tmp_path / "order"
    wanted = [(priority, n) for priority in (75, 25, 0, -50) for n in range(20)]
    shuffled = random.Random(1).sample(wanted, len(wanted))
    order: dict[int, list[int]] = {}
    for priority, n in shuffled:
        order.setdefault(priority, []).append(n)
        tasks.write.using(priority=priority).enqueue(str(path), f"{priority} {n}")

    with run_worker(*ONE_SLOT):
        wait_for_lines(path, len(wanted))

    # Of one priority, who came first goes first.
    assert lines(path) == [
        f"{priority} {n}" for priority in (75, 25, 0, -50) for n in order[priority]
    ]


def test_an_urgent_job_overtakes_a_backlog_of_short_ones(run_worker, tmp_path):
    path = tmp_path / "order"
    backlog = tasks.write.enqueue_many(
        [((str(path), str(n)), {}) for n in range(10_000)]
    )
    with run_worker("--processes", "2", "--concurrency", "4", *ALERT):
        wait_for_lines(path, 500)
        urgent = tasks.write.using(priority=75).enqueue(str(path), "urgent")
        before = len(lines(path))
        ended(urgent)
        place = lines(path).index("urgent")
        all_ended(backlog, deadline=60)

    print(f"{place - before} of the backlog came first")
    assert place - before < 2_500


# Who serves what


def test_a_worker_serves_the_queues_it_is_given(run_worker, tmp_path):
    path = tmp_path / "order"
    served = [*enqueue(path, "a", 20), *enqueue(path, "b", 20)]
    waiting = enqueue(path, "c", 20)
    with run_worker("--queues", "a,b", "--no-schedules"):
        all_ended(served)
        # The worker looks everywhere once more.
        ended(enqueue(path, "b", 1)[0])

        assert untouched(waiting)

    with run_worker("--queues", "c", "--no-schedules"):
        jobs = all_ended(waiting)
    # They have waited for nobody's account.
    assert {(job.status, job.attempts, job.epoch) for job in jobs} == {
        ("successful", 1, 1)
    }
    assert not any(attempts_of(job) for job in jobs)


def test_a_worker_serves_every_queue_but_the_excluded(run_worker, tmp_path):
    path = tmp_path / "order"
    served = [*enqueue(path, "a", 20), *enqueue(path, "never.seen.before", 20)]
    waiting = [*enqueue(path, "b", 20), *enqueue(path, "c", 20)]
    with run_worker("--exclude-queues", "b,c", "--no-schedules") as worker:
        all_ended(served)
        ended(enqueue(path, "a", 1)[0])

        assert untouched(waiting)
        assert "queues     all except b, c" in worker.output()


def test_a_job_on_a_queue_that_nobody_serves_waits(run_worker, tmp_path):
    path = tmp_path / "order"
    (lonely,) = enqueue(path, "nobody", 1)
    with (
        run_worker("--queues", "a", "--no-schedules"),
        run_worker("--exclude-queues", "nobody", "--no-schedules"),
    ):
        all_ended([*enqueue(path, "a", 50), *enqueue(path, "b", 50)])

        assert untouched([lonely])
        assert job_of(lonely).reason == ""

    with run_worker("--queues", "nobody", "--no-schedules"):
        assert ended(lonely).status == "successful"


@pytest.mark.parametrize("way", ["flag", "setting"])
def test_a_worker_serves_the_tasks_it_is_given(run_worker, tmp_path, way):
    path = tmp_path / "order"
    served = [
        *tasks.add.enqueue_many([((n, n), {}) for n in range(20)]),
        *tasks.add_async.enqueue_many([((n, n), {}) for n in range(20)]),
        *tasks.echo.enqueue_many([((n,), {}) for n in range(20)]),
    ]
    waiting = enqueue(path, "default", 20)
    patterns = ["tests.tasks.add*", "*.echo"]
    how: dict[str, Any] = (
        {"env": settings_of(TASKS=patterns)} if way == "setting" else {}
    )
    flags = ("--tasks", ",".join(patterns)) if way == "flag" else ()
    with run_worker("--worker-id", "chosen", "--no-schedules", *flags, **how):
        all_ended(served)
        ended(tasks.add.enqueue(1, 1))

        assert untouched(waiting)

        # Another one, which knows every task, leaves nothing.
        with run_worker("--worker-id", "every", "--no-schedules"):
            jobs = all_ended(waiting)

    assert {job.worker for job in jobs} == {"every"}


def test_two_workers_run_every_job_exactly_once(run_worker, tmp_path):
    path = tmp_path / "order"
    results = tasks.write.enqueue_many(
        [((str(path), str(n)), {}) for n in range(3_000)]
    )
    with (
        run_worker("--worker-id", "one", "--no-schedules"),
        run_worker("--worker-id", "two", "--no-schedules"),
    ):
        # These find both at work.
        slow = tasks.sleep.enqueue_many([((0.2,), {})] * 40)
        results += tasks.write.enqueue_many(
            [((str(path), str(n)), {}) for n in range(3_000, 6_000)]
        )
        jobs = all_ended([*results, *slow], deadline=40)

    assert sorted(map(int, lines(path))) == list(range(6_000))
    assert {(job.status, job.attempts) for job in jobs} == {("successful", 1)}
    assert not any(job.crashes or job.interruptions for job in jobs)
    shares = Counter(job.worker for job in jobs)
    assert set(shares) == {"one", "two"}, shares


# Pauses


def test_a_paused_queue_runs_nothing_until_it_is_resumed(run_worker, tmp_path):
    path = tmp_path / "order"
    control.pause("mail", reason="provider is down")
    waiting = enqueue(path, "mail", 30)
    with run_worker(*ALERT, "--no-schedules"):
        all_ended(enqueue(path, "other", 30))
        ended(enqueue(path, "other", 1)[0])
        assert untouched(waiting)

        control.resume("mail")

        jobs = all_ended(waiting)
    assert {(job.status, job.epoch) for job in jobs} == {("successful", 1)}


def test_a_queue_paused_in_the_middle_stops_and_goes_on(run_worker, tmp_path):
    path = tmp_path / "order"
    mail = enqueue(path, "mail", 300, task=tasks.write_slowly)
    other = enqueue(path, "other", 300, task=tasks.write_slowly)

    def queues() -> list[str]:
        return [line.split()[0] for line in lines(path)]

    with run_worker("--processes", "1", "--concurrency", "2", *ALERT):
        wait_until(lambda: {"mail", "other"} <= set(queues()))
        control.pause("mail")
        # Nothing of it among many of the other.
        wait_until(lambda: set(queues()[-30:]) == {"other"}, deadline=20)
        done = queues().count("mail")
        assert done < 300

        all_ended(other, deadline=30)

        assert queues().count("mail") == done
        control.resume("mail")
        jobs = all_ended(mail, deadline=30)
    assert sorted(lines(path)) == sorted(
        f"{queue} {n}" for queue in ("mail", "other") for n in range(300)
    )
    assert not any(attempts_of(job) for job in jobs)

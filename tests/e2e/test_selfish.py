"""Tasks that behave as if they were alone: the worker goes on around them."""

from uuid import uuid4

import pytest
from django.contrib.auth.models import Group

from django_workers import control
from django_workers.models import WorkerSession
from tests import tasks
from tests.e2e.jobs import (
    all_ended,
    attempts_of,
    ended,
    lines,
    settings_of,
    wait_for_lines,
)
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_task_that_holds_the_interpreter_stops_nobody_elses_work(
    run_worker, tmp_path
):
    path = tmp_path / "began"
    seconds = 6
    with run_worker(
        *("--processes", "2", "--concurrency", "16"),
        *("--lock-duration", "2", "--heartbeat-interval", "0.4"),
    ):
        selfish = tasks.hold_the_interpreter.enqueue(str(path), seconds)
        wait_for_lines(path, 1)
        # Far more than a socket's buffer holds goes to the process that reads nothing.
        text = "x" * 400_000
        others = all_ended(
            tasks.length_of.enqueue_many([((text,), {})] * 40), deadline=30
        )
        held = ended(selfish, deadline=30)

    assert {job.result for job in others} == {len(text)}
    # Only those that were already in that process had to wait for it.
    before = [job for job in others if job.finished_at < held.finished_at]
    assert len(before) >= 40 - 7
    # Heartbeats went on: nobody found the worker dead, nothing ran twice.
    (session,) = WorkerSession.objects.all()
    assert session.state == "running"
    assert session.heartbeat_at > others[0].finished_at
    assert attempts_of(held) == []
    assert not any(attempts_of(job) for job in others)
    assert lines(path) == ["began"]


@pytest.mark.parametrize("end", ["timeout", "cancel"])
def test_a_task_that_holds_the_interpreter_is_ended_with_its_process(
    run_worker, tmp_path, end
):
    path, beside = tmp_path / "began", tmp_path / "beside"
    with run_worker(
        *("--processes", "1", "--concurrency", "2"), env=settings_of(CANCEL_GRACE=0.5)
    ) as worker:
        neighbour = tasks.write_then_sleep.enqueue(str(beside), "x", 1)
        wait_for_lines(beside, 1)
        timeout = 0.5 if end == "timeout" else None
        held = tasks.hold_the_interpreter.using(timeout=timeout).enqueue(str(path), 90)
        wait_for_lines(path, 1)
        if end == "cancel":
            control.cancel(held.id)

        job = ended(held, deadline=20)

        assert job.status == ("failed" if end == "timeout" else "cancelled")
        assert "did not answer" in job.reason
        assert "answers nothing while a job's time is up: killed" in worker.output()
        # Its neighbour runs again elsewhere, at no charge.
        other = ended(neighbour, deadline=20)
        assert (other.status, other.attempts) == ("successful", 1)
        assert ended(tasks.add.enqueue(1, 1)).result == 2


@pytest.mark.parametrize(
    ("bad", "use"),
    [
        (tasks.close_the_connection_in_a_transaction, tasks.use_the_database),
        (
            tasks.close_the_connection_in_a_transaction_async,
            tasks.use_the_database_async,
        ),
    ],
    ids=["sync", "async"],
)
def test_a_connection_closed_inside_a_transaction_is_no_use_to_the_next_job(
    run_worker, bad, use
):
    with run_worker("--processes", "1", "--concurrency", "1") as worker:
        assert ended(bad.enqueue()).status == "successful"

        jobs = all_ended(use.enqueue_many([((), {})] * 3))

        assert [(job.status, job.result) for job in jobs] == [("successful", False)] * 3
        assert worker.output().count("left a transaction open") == 1


@pytest.mark.postgresql
@pytest.mark.sqlite
@pytest.mark.parametrize(
    ("bad", "use"),
    [
        (tasks.begin_by_hand, tasks.make_group),
        (tasks.begin_by_hand_async, tasks.make_group_async),
    ],
    ids=["sync", "async"],
)
def test_a_transaction_begun_by_hand_takes_no_other_jobs_rows_with_it(
    run_worker, bad, use
):
    name = f"neighbour {uuid4()}"
    with run_worker("--processes", "1", "--concurrency", "1") as worker:
        ended(bad.enqueue())
        assert ended(use.enqueue(name)).status == "successful"
        assert "left a transaction open" in worker.output()

    assert Group.objects.filter(name=name).exists()
    assert not Group.objects.filter(name__startswith="by hand").exists()


@pytest.mark.parametrize("kind", tasks.UNUSABLE)
@pytest.mark.parametrize(
    "task",
    [tasks.raise_unusable, tasks.raise_unusable_async],
    ids=["sync", "async"],
)
def test_an_exception_that_cannot_be_looked_at_ends_its_own_job_only(
    run_worker, task, kind
):
    with run_worker("--processes", "1", "--concurrency", "1") as worker:
        job = ended(task.enqueue(kind))

        assert (job.status, job.attempts) == ("failed", 1)
        assert f"tests.tasks.{kind}, which cannot be looked at" in job.reason
        (attempt,) = attempts_of(job)
        assert attempt.exception == "django_workers.exceptions.UnusableError"
        assert "raise UNUSABLE[kind]" in attempt.traceback
        assert ended(tasks.add.enqueue(1, 1)).result == 2
        assert "A slot goes on" not in worker.output()


def test_an_exception_with_such_a_one_in_its_chain_is_shown(run_worker):
    with run_worker("--processes", "1", "--concurrency", "1"):
        job = ended(tasks.raise_from_unusable.enqueue())

        assert (job.status, job.reason) == ("failed", "plain")
        assert ended(tasks.add.enqueue(1, 1)).result == 2


def test_a_coroutine_that_cancels_all_others_takes_no_slot_with_it(run_worker):
    with run_worker("--processes", "1", "--concurrency", "2"):
        results = tasks.cancel_everybody_else.enqueue_many([((0.05,), {})] * 6)

        jobs = all_ended(results, deadline=10)

        # Whoever was cancelled by another failed; the last of them was alone.
        assert {job.status for job in jobs} <= {"successful", "failed"}
        assert "successful" in {job.status for job in jobs}
        assert ended(tasks.add_async.enqueue(1, 1)).result == 2


@pytest.mark.parametrize("task", [tasks.fork_and_return, tasks.fork_and_return_async])
def test_the_copy_of_a_process_that_a_task_has_forked_has_no_say(
    run_worker, tmp_path, task
):
    path, ran = tmp_path / "forked", tmp_path / "ran"
    with run_worker("--processes", "1", "--concurrency", "1") as worker:
        before = {process.pid for process in worker.tree()}
        result = task.enqueue(str(path))
        others = tasks.write.enqueue_many(
            [((str(ran), str(n)), {}) for n in range(100)]
        )

        assert ended(result).result == "the original"
        assert {job.status for job in all_ended(others)} == {"successful"}

        wait_for_lines(path, 1)
        assert sorted(lines(ran), key=int) == [str(n) for n in range(100)]
        wait_until(lambda: {process.pid for process in worker.tree()} == before)

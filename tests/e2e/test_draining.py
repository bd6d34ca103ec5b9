"""A worker that is told to stop: what it finishes, hands back, interrupts, and says."""

import re
import signal
import time
from collections import Counter
from typing import Any

import pytest

from django_workers.models import Job, WorkerSession
from tests import tasks
from tests.e2e.jobs import (
    all_ended,
    attempts_of,
    ended,
    job_of,
    lines,
    outcomes_of,
    wait_for_lines,
)
from tests.support import RunningWorker

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.thorough]

ONE_SLOT = ("--processes", "1", "--concurrency", "1", "--no-schedules")


def last_words(worker: RunningWorker) -> tuple[int, int]:
    """Return the figures of the last line: finished, handed back."""
    said = re.findall(
        r"^Stopped: (\d+) finished, (\d+) handed back\.$", worker.output(), re.MULTILINE
    )
    assert len(said) == 1, worker.output()
    assert worker.output().rstrip().endswith("handed back.")
    return int(said[0][0]), int(said[0][1])


def charged(job: Any) -> tuple[int, int, int]:
    """Return what a job has been charged: attempts, crashes, interruptions."""
    return job.attempts, job.crashes, job.interruptions


# The first signal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_signal_lets_running_jobs_finish(run_worker, tmp_path, number):
    path = tmp_path / "runs"
    results = tasks.note_process.enqueue_many(
        [((str(path), str(n), 1.0), {}) for n in range(6)]
    )
    with run_worker("--processes", "1", "--concurrency", "2") as worker:
        wait_for_lines(path, 2)

        assert worker.stop(number) == 0

        said = worker.output()
    assert "Draining: waiting up to 25 s for 2 running jobs." in said
    assert "Stopped: 2 finished" in said
    jobs = [job_of(result) for result in results]
    assert [job.status for job in jobs] == ["successful"] * 2 + ["ready"] * 4
    assert len(lines(path)) == 2
    for job in jobs[2:]:
        assert (job.attempts, job.crashes, job.interruptions) == (0, 0, 0)
        assert attempts_of(job) == []
    session = WorkerSession.objects.get()
    assert (session.state, session.stop_reason) == ("stopped", "signal")
    assert session.stopped_at is not None


def test_a_task_may_look_whether_its_worker_drains(run_worker, tmp_path):
    path = tmp_path / "began"
    result = tasks.until_shutdown.enqueue(str(path))
    with run_worker() as worker:
        wait_for_lines(path, 1)

        assert worker.stop() == 0

    assert job_of(result).result == "left early"


def test_the_second_signal_interrupts_what_runs(run_worker, tmp_path):
    path = tmp_path / "runs"
    again = tasks.note_process.enqueue(str(path), "again", 60)
    once = tasks.note_process_once.enqueue(str(path), "once", 60)
    with run_worker("--processes", "1") as worker:
        wait_for_lines(path, 2)
        worker.send()
        worker.wait_for_output("Draining")
        began = time.monotonic()

        assert worker.stop() == 0

        assert time.monotonic() - began < 3
        assert "Stopped: 1 finished, 1 handed back." in worker.output()
    job = job_of(again)
    assert (job.status, outcomes_of(job)) == ("ready", ["interrupted"])
    assert (job.attempts, job.crashes, job.interruptions) == (0, 0, 1)
    # What must not run twice does not, and says so.
    job = job_of(once)
    assert (job.status, outcomes_of(job)) == ("failed", ["interrupted"])
    with run_worker():
        wait_for_lines(path, 3)


def test_a_drain_has_an_end(run_worker, tmp_path):
    path = tmp_path / "runs"
    result = tasks.note_process.enqueue(str(path), "long", 60)
    with run_worker("--shutdown-timeout", "1") as worker:
        wait_for_lines(path, 1)
        began = time.monotonic()

        assert worker.stop() == 0

        assert 1 <= time.monotonic() - began < 4
    assert (job_of(result).status, outcomes_of(result)) == ("ready", ["interrupted"])


def test_nothing_is_left_of_a_worker_that_has_ended(run_worker):
    ended_job = tasks.add.enqueue(1, 2)
    with run_worker() as worker:
        ended(ended_job)

        assert worker.stop() == 0

        assert worker.tree() == []


# What it says


def test_an_idle_worker_has_finished_and_handed_back_nothing(run_worker):
    with run_worker() as worker:
        assert worker.stop() == 0

        assert last_words(worker) == (0, 0)
        assert "Draining" not in worker.output()


def test_the_last_line_counts_jobs_not_attempts(run_worker, tmp_path):
    results = [
        *tasks.add.enqueue_many([((n, n), {}) for n in range(5)]),
        tasks.fail.enqueue(),
        tasks.fail_until.enqueue(str(tmp_path / "succeeds"), 3),
        tasks.fail_until.enqueue(str(tmp_path / "fails"), 99),
        tasks.snooze_once.enqueue(str(tmp_path / "snoozes")),
    ]
    with run_worker() as worker:
        all_ended(results)

        assert worker.stop() == 0

        assert last_words(worker) == (9, 0)


@pytest.mark.parametrize(
    ("task", "count"), [(tasks.write, 6_000), (tasks.write_slowly, 60)]
)
def test_what_is_handed_back_is_counted_and_uncharged(
    run_worker, tmp_path, task, count
):
    path = tmp_path / "order"
    results = task.enqueue_many([((str(path), str(n)), {}) for n in range(count)])
    with run_worker(*ONE_SLOT) as worker:
        wait_for_lines(path, count // 6)

        assert worker.stop() == 0

        finished, handed_back = last_words(worker)
    rows = Job.objects.all()
    assert finished == rows.filter(status="successful").count() == len(lines(path))
    returned = [row for row in rows.exclude(status="successful") if row.epoch]
    print(f"{finished} finished, {handed_back} handed back")
    assert handed_back == len(returned)
    for job in returned:
        assert (job.status, charged(job), job.session) == ("ready", (0, 0, 0), None)

    with run_worker(*ONE_SLOT):
        jobs = all_ended(results, deadline=30)

    assert Counter(lines(path)) == Counter(map(str, range(count)))
    assert {charged(job) for job in jobs} == {(1, 0, 0)}
    assert not any(attempts_of(job) for job in returned)


def test_what_is_handed_back_keeps_its_place(run_worker, tmp_path):
    path = tmp_path / "order"
    results = tasks.write.enqueue_many(
        [((str(path), str(n)), {}) for n in range(6_000)]
    )
    with run_worker(*ONE_SLOT) as worker:
        wait_for_lines(path, 1_000)
        assert worker.stop() == 0
    with run_worker(*ONE_SLOT):
        all_ended(results, deadline=30)

    assert lines(path) == [str(n) for n in range(6_000)]


# The second signal


def test_an_interruption_uses_up_no_attempt(run_worker, tmp_path):
    path = tmp_path / "runs"
    # A single attempt is all that these have.
    results = [
        tasks.note_process.enqueue(str(path), "sync", 60),
        tasks.until_cancelled_async.enqueue(str(path)),
    ]
    for times in (1, 2):
        with run_worker(*("--processes", "1", "--concurrency", "2")) as worker:
            waiting = tasks.noop.enqueue_many([((), {})] * 3)
            wait_for_lines(path, 2 * times)
            worker.send()
            worker.wait_for_output("Draining")

            assert worker.stop() == 0

            assert last_words(worker) == (0, 2)
        for result in results:
            job = job_of(result)
            assert (job.status, charged(job)) == ("ready", (0, 0, times))
            assert outcomes_of(job) == ["interrupted"] * times
        for result in waiting:
            job = job_of(result)
            assert (job.status, charged(job)) == ("ready", (0, 0, 0))
            assert attempts_of(job) == []
        Job.objects.filter(id__in=[result.id for result in waiting]).delete()


def test_an_interrupted_job_goes_before_those_behind_it(run_worker, tmp_path):
    path = tmp_path / "runs"
    first = tasks.note_process.enqueue(str(path), "first", 1.0)
    with run_worker(*ONE_SLOT) as worker:
        wait_for_lines(path, 1)
        behind = tasks.note_process.enqueue(str(path), "behind", 0.0)
        worker.send()
        worker.wait_for_output("Draining")
        assert worker.stop() == 0
    assert outcomes_of(first) == ["interrupted"]

    with run_worker(*ONE_SLOT):
        job, _ = ended(first), ended(behind)

    assert [line.split()[0] for line in lines(path)] == ["first", "first", "behind"]
    assert (job.status, charged(job)) == ("successful", (1, 0, 1))

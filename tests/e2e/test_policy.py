"""What becomes of a job whose attempt does not simply succeed."""

from datetime import timedelta

import pytest
from django.utils import timezone

from django_workers import control
from django_workers.models import Job
from tests import tasks
from tests.e2e import late_tasks
from tests.e2e.jobs import (
    attempts_of,
    ended,
    job_of,
    lines,
    outcomes_of,
    reached,
    seconds_until,
    settings_of,
)
from tests.support import running_worker, wait_until

pytestmark = pytest.mark.usefixtures("worker")
WORKER = ("--worker-id", "e2e-policy")


# Retries


def test_a_failing_job_is_retried_until_it_succeeds(tmp_path):
    result = tasks.fail_until.enqueue(str(tmp_path / "attempts"), 3)

    job = ended(result)

    assert (job.status, job.result, job.attempts) == ("successful", 3, 3)
    assert outcomes_of(job) == ["failed", "failed", "successful"]
    assert [row.number for row in attempts_of(job)] == [1, 2, 3]
    result.refresh()
    assert result.attempts == 3
    assert result.worker_ids == ["e2e-policy"] * 3
    assert [error.exception_class for error in result.errors] == [ValueError] * 2
    assert "attempt 2" in result.errors[1].traceback


def test_a_retry_starts_when_it_is_due(tmp_path):
    path = tmp_path / "attempts"
    result = tasks.fail_until.enqueue(str(path), 3)
    wait_until(lambda: lines(path))

    # Two pauses of 50 ms, not two looks a second apart.
    assert seconds_until(lambda: job_of(result).is_finished) < 0.8


def test_a_job_whose_attempts_are_used_up_fails(tmp_path):
    path = tmp_path / "attempts"
    result = tasks.fail_until.enqueue(str(path), 99)

    job = ended(result)

    assert (job.status, job.attempts, job.reason) == ("failed", 3, "attempt 3")
    assert outcomes_of(job) == ["failed"] * 3
    assert len(lines(path)) == 3
    result.refresh()
    assert len(result.errors) == 3


def test_retries_may_be_counted_instead_of_attempts():
    assert outcomes_of(ended(tasks.fail_with_retries.enqueue())) == ["failed"] * 2


def test_a_call_may_bring_its_own_number_of_attempts(tmp_path):
    task = tasks.fail_until.using(max_attempts=1)

    assert ended(task.enqueue(str(tmp_path / "attempts"), 99)).attempts == 1


@pytest.mark.parametrize(
    ("task", "kind", "attempts"),
    [
        (tasks.raise_retrying_some, "ConnectionError", 3),
        (tasks.raise_retrying_some, "ValueError", 1),
        (tasks.raise_retrying_others, "ValueError", 1),
        (tasks.raise_retrying_others, "KeyError", 2),
    ],
)
def test_only_some_exceptions_are_retried(task, kind, attempts):
    assert outcomes_of(ended(task.enqueue(kind))) == ["failed"] * attempts


def test_a_timeout_is_retried_only_where_other_exceptions_would_be():
    assert outcomes_of(ended(tasks.time_out_once.enqueue())) == ["timed_out"]


def test_a_back_off_sees_the_attempt_and_may_give_up(tmp_path):
    path = tmp_path / "asked"
    job = ended(tasks.fail_with_own_backoff.enqueue(str(path)))

    assert (job.status, job.attempts) == ("failed", 3)
    assert lines(path) == ["ValueError 1 0", "ValueError 2 1", "ValueError 3 2"]


def test_a_back_off_that_fails_is_replaced_by_the_default(worker):
    result = tasks.fail_with_broken_backoff.enqueue()

    job = reached(result, "scheduled")

    assert job.run_after > timezone.now()
    (attempt,) = attempts_of(job)
    assert attempt.message == "the task's own error"
    assert "The back-off of tests.tasks.fail_with_broken_backoff" in worker.output()
    control.cancel(result.id)


def test_no_attempt_starts_after_retry_until():
    result = tasks.fail_and_wait.using(retry_until=30).enqueue()

    job = ended(result)

    assert (job.status, job.attempts) == ("failed", 1)
    assert job.reason == "its time for retries is over"


# What a task says itself


def test_a_task_may_ask_for_another_attempt(tmp_path):
    job = ended(tasks.retry_soon.enqueue(str(tmp_path / "attempts")))

    assert (job.status, job.attempts, job.result) == ("successful", 2, "again")
    assert outcomes_of(job) == ["failed", "successful"]


def test_asking_again_and_again_ends_with_the_budget():
    job = ended(tasks.always_retry.enqueue())

    assert (job.status, job.attempts) == ("failed", 2)
    assert job.reason == "asked for another attempt, and none is left"


def test_a_snooze_is_not_charged(tmp_path):
    job = ended(tasks.snooze_once.enqueue(str(tmp_path / "looks")))

    assert (job.status, job.result) == ("successful", "later")
    assert (job.attempts, job.epoch) == (1, 2)
    assert outcomes_of(job) == ["snoozed"]


def test_a_task_may_end_its_job_as_cancelled():
    result = tasks.cancel_itself.using(max_attempts=5).enqueue()

    job = ended(result)

    assert (job.status, job.reason, job.attempts) == ("cancelled", "not needed", 0)
    assert outcomes_of(job) == ["cancelled"]
    result.refresh()
    assert result.is_cancelled
    assert "not needed" in result.errors[0].traceback


@pytest.mark.parametrize(
    ("kind", "kept"),
    [
        ("translated later", "not needed"),
        ("safe", "not needed"),
        ("of an enumeration", "post"),
        ("an exception", "not needed"),
        ("not storable", "not \ufffd needed \ufffd"),
    ],
)
def test_the_reason_of_a_cancellation_may_be_anything_with_a_text(kind, kept):
    job = ended(tasks.cancel_itself_because.enqueue(kind))

    assert (job.status, job.reason) == ("cancelled", kept)


def test_a_long_reason_is_cut():
    job = ended(tasks.cancel_itself_because.enqueue("long"))

    assert job.reason.startswith("not neededn")
    assert "cut" in job.reason
    assert len(job.reason) <= 200


def test_a_task_may_be_declared_with_members_of_enumerations():
    job = ended(tasks.from_an_enumeration.enqueue())

    assert (job.status, job.result, job.queue) == ("successful", "ran", "post")
    assert (job.on_crash, job.tags) == ("fail", ["post"])


# Deadlines


def test_a_job_that_did_not_start_in_time_is_dropped(tmp_path):
    path = tmp_path / "ran"
    result = tasks.write.using(
        run_after=timedelta(seconds=0.4), expires=timedelta(seconds=0.1)
    ).enqueue(str(path), "late")

    job = ended(result)

    assert (job.status, job.attempts) == ("cancelled", 0)
    assert job.reason == "not started before its deadline"
    assert outcomes_of(job) == ["expired"]
    assert not path.exists()


def test_a_job_that_starts_in_time_runs(tmp_path):
    result = tasks.noop.using(expires=60).enqueue()

    assert ended(result).status == "successful"


# Outcomes that cannot be kept, or should not end anything


def test_a_result_that_cannot_be_stored_fails_the_job():
    job = ended(tasks.return_unstorable.using(max_attempts=3).enqueue())

    assert (job.status, job.attempts) == ("failed", 1)
    assert job.reason.startswith("result: ")
    assert attempts_of(job)[0].exception.endswith("UnencodableValue")


def test_a_result_may_not_be_too_large():
    assert ended(tasks.return_much.enqueue(50)).status == "successful"

    job = ended(tasks.return_much.enqueue(200))

    assert job.status == "failed"
    assert "100" in job.reason


@pytest.mark.parametrize(
    "kind",
    ["SystemExit", "KeyboardInterrupt", "GeneratorExit", "MemoryError"],
)
def test_what_would_end_a_process_only_fails_the_job(worker, kind):
    before = {process.pid for process in worker.tree()}

    job = ended(tasks.raise_retrying_others.using(max_attempts=1).enqueue(kind))

    assert (job.status, job.crashes) == ("failed", 0)
    assert attempts_of(job)[0].exception.endswith(kind)
    assert {process.pid for process in worker.tree()} == before


@pytest.mark.parametrize(
    "kind", ["SystemExit", "KeyboardInterrupt", "CancelledError", "GeneratorExit"]
)
def test_what_would_end_an_event_loop_only_fails_the_job(worker, kind):
    before = {process.pid for process in worker.tree()}

    job = ended(tasks.raise_async.enqueue(kind))

    assert (job.status, job.crashes) == ("failed", 0)
    assert attempts_of(job)[0].exception.endswith(kind)
    assert ended(tasks.add_async.enqueue(1, 1)).result == 2
    assert {process.pid for process in worker.tree()} == before


def test_an_exception_that_cannot_be_shown_is_kept_all_the_same():
    job = ended(tasks.raise_evil.enqueue())

    (attempt,) = attempts_of(job)
    assert job.status == "failed"
    assert attempt.exception == "tests.tasks.EvilError"


def test_a_message_is_kept_as_far_as_a_database_can():
    nul = ended(tasks.raise_text.enqueue("a\\x00\\ud800b", 1))
    long = ended(tasks.raise_text.enqueue("long ", 100_000))

    assert nul.status == long.status == "failed"
    assert attempts_of(nul)[0].message == "a\ufffd\ufffdb"
    assert len(attempts_of(long)[0].traceback) < 70_000


# Calls that cannot work


@pytest.mark.parametrize("task", [tasks.add, tasks.add_async])
def test_arguments_that_do_not_fit_are_not_tried_again(task):
    # As a release stores them whose function took one argument.
    result = task.using(max_attempts=5, run_after=timedelta(hours=1)).enqueue(1, 2)
    Job.objects.filter(id=result.id).update(args=[1])
    control.run_now(result.id)

    job = ended(result)

    assert (job.status, job.attempts) == ("failed", 1)
    assert "missing 1 required positional argument" in job.reason


def test_a_type_error_of_the_tasks_own_is_tried_again():
    assert ended(tasks.call_wrongly.enqueue()).attempts == 2


def test_a_task_that_no_worker_knows_waits_and_is_shown(open_database, tmp_path):
    result = late_tasks.arrives_late.enqueue()

    parked = reached(result, "blocked")

    assert parked.reason.startswith("unroutable: ")
    assert "tests.e2e.late_tasks.arrives_late" in parked.reason
    assert (parked.attempts, parked.crashes, parked.interruptions) == (0, 0, 0)
    assert attempts_of(parked) == []
    result.refresh()
    assert result.status.name == "READY"

    with running_worker(
        *("--worker-id", "knows", "--concurrency", "1", "--no-schedules"),
        database_url=open_database,
        log=tmp_path / "log",
        env=settings_of(AUTODISCOVER=["tasks", "tests.e2e.late_tasks"]),
    ):
        job = ended(result)
        assert (job.status, job.worker) == ("successful", "knows")

        more = late_tasks.arrives_late.enqueue_many([((), {})] * 5)
        assert {ended(result).worker for result in more} == {"knows"}
        assert not any(attempts_of(result) for result in more)


def test_a_renamed_task_keeps_its_jobs():
    result = tasks.renamed.using(run_after=timedelta(hours=1)).enqueue()
    Job.objects.filter(id=result.id).update(task="tests.tasks.its_name_last_year")

    control.run_now(result.id)

    assert ended(result).result == "renamed"


# After the body


def test_a_transaction_left_open_is_rolled_back(worker):
    from django.contrib.auth.models import Group

    ended(tasks.leave_transaction_open.enqueue())

    assert "A task left a transaction open on 'default'" in worker.output()
    assert not Group.objects.filter(name__startswith="left open").exists()

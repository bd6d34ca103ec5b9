"""What `docs/coming-from.md` promises that no other test shows."""

from datetime import UTC, datetime, timedelta

import pytest
from django.urls import reverse

from django_workers import (
    control,
    enqueue,
    enqueue_at,
    enqueue_in,
    get_task,
    list_tasks,
    task,
)
from django_workers.models import Job, JobStatus
from tests.docs.pages import page
from tests.tasks import add

pytestmark = pytest.mark.django_db


@task(name="docs:email:send")
def send_email(address: str) -> None: ...


def make(status: JobStatus, **values: object) -> Job:
    """Store a job that has ended."""
    moment = datetime.now(UTC) - timedelta(days=365)
    defaults = {"enqueued_at": moment, "finished_at": moment, "attempts": 3}
    return Job.objects.create(
        task="docs:email:send", status=status, **{**defaults, **values}
    )


def test_every_row_names_its_test():
    for table in page("docs/coming-from.md").tables:
        assert all(
            "tests/" in row["shown by"] or row["shown by"] == "as above"
            for row in table.rows
        )


def test_a_task_is_enqueued_by_its_name():
    result = enqueue("docs:email:send", args=["ada@example.com"])

    job = Job.objects.get(id=result.id)
    assert (job.task, job.args) == ("docs:email:send", ["ada@example.com"])


def test_a_task_is_enqueued_by_its_module_path():
    result = enqueue("tests.tasks.add", args=[1, 2])

    assert Job.objects.get(id=result.id).task == add.key


def test_priority_and_attempts_are_given_at_the_call():
    first = send_email.using(priority=10, max_attempts=3).enqueue("ada@example.com")
    second = enqueue(send_email, args=["ada@example.com"], priority=10, max_attempts=3)

    for result in (first, second):
        job = Job.objects.get(id=result.id)
        assert (job.priority, job.max_attempts) == (10, 3)


def test_a_due_time_may_be_iso_text():
    result = enqueue(send_email, args=["a"], run_after="2031-01-01T12:00:00+01:00")

    job = Job.objects.get(id=result.id)
    assert job.status == JobStatus.SCHEDULED
    assert job.run_after == datetime(2031, 1, 1, 11, tzinfo=UTC)


def test_a_job_is_enqueued_for_later():
    when = datetime(2031, 1, 1, tzinfo=UTC)
    before = datetime.now(UTC)

    late = enqueue_in(300, send_email, args=["a"])
    later = enqueue_at(when, send_email, args=["a"])

    due = Job.objects.get(id=late.id).run_after
    assert due is not None
    assert timedelta(seconds=299) < due - before < timedelta(seconds=310)
    assert Job.objects.get(id=later.id).run_after == when


def test_a_waiting_job_is_cancelled():
    result = send_email.enqueue("a")

    assert control.cancel(result.id) == {result.id: "cancelled"}
    result.refresh()
    assert result.is_cancelled


def test_a_failed_job_is_retried_once_more():
    job = make(JobStatus.FAILED, max_attempts=3)

    assert control.retry(job.id) == {str(job.id): "retried"}
    job.refresh_from_db()
    assert (job.status, job.attempts, job.max_attempts) == ("ready", 3, 4)


def test_a_failed_job_is_retried_with_its_full_budget():
    job = make(JobStatus.FAILED, max_attempts=3)

    assert control.retry(job.id, reset_attempts=True) == {str(job.id): "retried"}
    job.refresh_from_db()
    assert (job.status, job.attempts, job.max_attempts) == ("ready", 0, 3)


def test_old_jobs_are_cleaned_up():
    old = make(JobStatus.SUCCESSFUL)
    waiting = send_email.enqueue("a")

    assert control.prune() == 1
    assert not Job.objects.filter(id=old.id).exists()
    assert Job.objects.filter(id=waiting.id).exists()


def test_the_registry_is_two_functions():
    assert get_task("docs:email:send") is send_email
    assert send_email in list_tasks()


def test_the_dashboard_is_in_the_admin(admin_client):
    page = admin_client.get(reverse("admin:app_list", args=["django_workers"]))

    assert page.status_code == 200
    assert "Task dashboard" in page.content.decode()

"""The page of one job: what it was called with, how it went, what can be done."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from django_workers import task
from django_workers.models import Job
from tests.admin.conftest import LogIn
from tests.admin.pages import text_of, url
from tests.admin.rows import add_attempt, add_job, add_schedule, add_worker


@task(name="admin:greet")
def greet(secret: str) -> None:
    """Have a parameter that is nobody's business."""


def page(client: Client, job: Job) -> str:
    response = client.get(url("job_change", job.pk))
    assert response.status_code == 200
    return text_of(response)


def html(client: Client, job: Job) -> str:
    return client.get(url("job_change", job.pk)).content.decode()


def test_every_attempt_is_shown_with_its_traceback(chief: Client):
    job = add_job("failed", attempts=2, max_attempts=2)
    add_attempt(job, outcome="timed_out", traceback="Traceback one")
    add_attempt(job, number=2, epoch=2, traceback="Traceback two", host="host-9")

    text = page(chief, job)

    for words in (
        "Attempt 1 timed out",
        "Attempt 2 failed",
        "Traceback one",
        "Traceback two",
        "builtins. ValueError",
        "host host-9",
        "process 4711",
        "ran 250 ms",
        "Finished failed",
    ):
        assert words in text, words


def test_a_first_success_is_an_attempt_though_it_has_no_row(chief: Client):
    text = page(chief, add_job("successful", result=42))

    assert "Attempt 1 successful" in text
    assert "waited 1 min" in text
    assert "Result 42" in text


def test_a_later_success_is_not_shown_twice(chief: Client):
    job = add_job("successful", attempts=2)
    add_attempt(job)
    add_attempt(job, number=2, epoch=2, outcome="successful", exception="", message="")

    assert page(chief, job).count("Attempt 2") == 1


def test_a_running_job_shows_its_attempt_and_its_worker(chief: Client):
    worker = add_worker()
    job = add_job("running", session=worker.pk)

    assert "Attempt 1 running" in page(chief, job)
    assert url("workersession_change", worker.pk) in html(chief, job)


def test_a_running_job_says_that_one_attempt_is_running(chief: Client):
    assert "Attempts 0 of 1 used, one is running" in page(chief, add_job("running"))
    assert "Attempts 1 of 1 used" in page(chief, add_job("failed"))


def test_only_attempts_that_count_have_a_number(chief: Client):
    job = add_job("running", epoch=2)
    add_attempt(job, outcome="cancelled")

    text = page(chief, job)

    assert "Attempt cancelled" in text
    assert text.count("Attempt 1") == 1


def test_a_cancelled_attempt_does_not_look_like_a_crash(chief: Client):
    job = add_job("cancelled", reason="tidied up")
    add_attempt(
        job,
        outcome="cancelled",
        exception="django_workers.exceptions.Cancel",
        message="tidied up",
        traceback="Traceback of a signal",
    )

    shown = html(chief, job)

    assert "<p>tidied up</p>" in shown
    assert "dw-exception" not in shown
    assert '<details class="dw-more" id="dw-traceback-2">' in shown


@pytest.mark.parametrize(
    ("status", "started", "words"),
    [
        ("scheduled", None, "Not before"),
        ("scheduled", -10, "Next attempt"),
        ("running", 10, "Not before"),
        ("successful", 10, "Not before"),
        ("failed", -10, None),
        ("ready", -10, None),
    ],
)
def test_it_says_when_it_is_due_while_that_means_something(
    chief: Client, status: str, started: int | None, words: str | None
):
    due = timezone.now()
    job = add_job(
        status,
        run_after=due,
        started_at=started and due + timedelta(seconds=started),
    )

    text = page(chief, job)

    assert {name for name in ("Not before", "Next attempt") if name in text} == (
        {words} if words else set()
    )


def test_instants_are_written_in_one_way_and_the_zone_stands_once(
    chief: Client, settings: Any
):
    settings.TIME_ZONE = "Asia/Tokyo"
    moment = datetime(2030, 1, 2, 18, 4, 5, tzinfo=UTC)
    job = add_job(enqueued_at=moment, expires_at=moment)

    text = page(chief, job)

    assert text.count("Thu 3 Jan 2030 03:04:05") == 2
    assert text.count("Asia/Tokyo") == 1


@pytest.mark.parametrize("status", ["scheduled", "blocked", "ready", "running"])
def test_the_page_of_an_unfinished_job_refreshes_itself(chief: Client, status: str):
    job = add_job(status)

    shown = html(chief, job)

    assert f'data-url="{url("job_change", job.pk)}"' in shown
    assert "live.js" in shown


@pytest.mark.parametrize("status", ["successful", "failed", "cancelled"])
def test_the_page_of_a_finished_job_does_not(chief: Client, status: str):
    shown = html(chief, add_job(status))

    assert "data-url" not in shown
    assert "live.js" not in shown


def test_a_worker_without_a_row_is_named_without_a_link(chief: Client):
    job = add_job("running")

    assert "on w-1" in page(chief, job)
    assert "workersession/0" not in html(chief, job)


def test_of_very_many_attempts_the_first_and_the_last_are_shown(chief: Client):
    job = add_job("failed", attempts=50, max_attempts=50)
    for number in range(1, 51):
        add_attempt(job, number=number, epoch=number)

    text = page(chief, job)

    assert "Attempt 3 " in text
    assert "Attempt 50 " in text
    assert "17 more attempts are not shown" in text
    assert "Attempt 10 " not in text


def test_positional_arguments_carry_the_names_of_their_parameters(chief: Client):
    arguments = chief.get(url("job_change", add_job().pk)).context["arguments"]

    assert arguments == [("a", 1), ("b", 2)]


def test_arguments_of_an_undeclared_task_are_numbered(chief: Client):
    job = add_job(task="gone:task", args=["x"], kwargs={"size": 3})

    arguments = chief.get(url("job_change", job.pk)).context["arguments"]

    assert arguments == [("[0]", "x"), ("size", 3)]
    assert "not declared here" in page(chief, job)


def test_private_values_are_hidden_wherever_they_are_shown(chief: Client):
    job = add_job(
        "successful",
        task="gone:task",
        kwargs={"password": "hunter2", "user": {"api_key": "hunter2", "name": "Ada"}},
        result={"session_id": "hunter2", "rows": [{"Token": "hunter2"}]},
        metadata={"cookie": "hunter2", "context": {"auth": "hunter2", "user": "7"}},
    )

    text = page(chief, job)

    assert "hunter2" not in text
    assert "Ada" in text
    assert text.count("•••") == 6


def test_a_private_positional_argument_is_hidden_by_its_parameter(chief: Client):
    job = add_job(task="admin:greet", args=["hunter2"])

    assert "hunter2" not in page(chief, job)


def test_a_huge_payload_is_cut(chief: Client):
    job = add_job("successful", result=["x" * 100] * 1_000)

    response = chief.get(url("job_change", job.pk))

    assert len(response.content) < 60_000
    assert "more characters" in text_of(response)


def test_the_schedule_that_made_it_is_linked(chief: Client):
    schedule = add_schedule()
    job = add_job(schedule=schedule, slot=timezone.now())

    assert url("schedule_change", schedule.pk) in html(chief, job)
    schedule.delete()
    assert chief.get(url("job_change", job.pk)).status_code == 200


def test_a_schedule_that_is_gone_without_a_trace_harms_nothing(chief: Client):
    job = add_job(schedule_id=4711, slot=timezone.now())

    assert chief.get(url("job_change", job.pk)).status_code == 200


@pytest.mark.parametrize(
    ("status", "buttons"),
    [
        ("scheduled", {"cancel", "run"}),
        ("blocked", {"cancel"}),
        ("ready", {"cancel"}),
        ("running", {"cancel"}),
        ("successful", set()),
        ("failed", {"retry"}),
        ("cancelled", {"retry"}),
    ],
)
def test_only_what_is_possible_has_a_button(
    chief: Client, status: str, buttons: set[str]
):
    job = add_job(status)
    text = html(chief, job)

    shown = {
        verb
        for verb in ("cancel", "retry", "run")
        if f'action="{url(f"job_{verb}", job.pk)}"' in text
    }

    assert shown == buttons


@pytest.mark.parametrize("status", ["scheduled", "failed", "running"])
def test_without_permission_there_is_no_button(log_in: LogIn, status: str):
    job = add_job(status)

    assert "<form" not in html(log_in("view_job"), job).split('id="content-main"')[1]


def test_a_job_asked_to_stop_says_so_and_is_not_asked_again(chief: Client):
    job = add_job("running", cancel_requested_at=timezone.now())

    assert "stopping" in page(chief, job)
    assert url("job_cancel", job.pk) not in html(chief, job)


def test_a_scheduled_job_says_when(chief: Client):
    job = add_job("scheduled", run_after=timezone.now() + timedelta(days=1))

    assert "Waits for its time scheduled" in page(chief, job)


def test_the_page_needs_the_permission(log_in: LogIn):
    job = add_job()

    response = log_in("view_queue", "retry_job").get(url("job_change", job.pk))

    assert response.status_code == 403


def test_a_post_to_the_page_changes_nothing(chief: Client):
    job = add_job()

    chief.post(url("job_change", job.pk), {"status": "successful", "_save": "Save"})

    job.refresh_from_db()
    assert job.status == "ready"


@pytest.mark.parametrize("address", ["add/", "{pk}/delete/"])
def test_jobs_are_neither_added_nor_deleted_here(chief: Client, address: str):
    job = add_job()
    path = url("job_changelist") + address.format(pk=job.pk)

    assert chief.get(path).status_code == 403
    assert chief.post(path, {"post": "yes"}).status_code == 403
    assert Job.objects.filter(pk=job.pk).exists()


def test_an_unknown_job_is_not_found(chief: Client):
    nobody = UUID("01890000-0000-7000-8000-000000000000")

    assert chief.get(url("job_change", nobody)).status_code == 404
    assert chief.get(url("job_change", "nonsense")).status_code == 404


def test_the_page_asks_the_database_a_bounded_number_of_times(chief: Client):
    job = add_job("failed", schedule=add_schedule(), slot=timezone.now())
    for number in range(1, 30):
        add_attempt(job, number=number, epoch=number, session=add_worker().pk)

    with CaptureQueriesContext(connection) as log:
        page(chief, job)

    assert len(log) <= 10


def test_who_did_what_is_kept(chief: Client):
    job = add_job("failed")
    chief.post(url("job_retry", job.pk))

    text = text_of(chief.get(url("job_history", job.pk)))

    assert "Retried." in text
    assert "chief" in text

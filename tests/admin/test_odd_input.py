"""What no browser sends by itself: an answer in words, never an error of the server."""

from typing import Any

import pytest
from django.test import Client

from django_workers.models import Job, Queue, Schedule
from tests.admin.pages import messages_of, url
from tests.admin.rows import TASK, add_job, add_schedule

NUL = "\0"


@pytest.mark.parametrize(
    "query",
    [
        *({name: NUL} for name in ("queue", "task", "tag", "worker", "status", "q")),
        {"session": NUL},
        {"session": "no id"},
        {"schedule": NUL},
        {"schedule": "x"},
        {"schedule": "99999999999999999999"},
        {"schedule": "-1"},
        {"schedule": "1.5"},
        {"before": NUL, "after": NUL},
        {"tag": "x" * 10_000},
        {"q": '"\\%_'},
    ],
    ids=repr,
)
def test_a_filter_that_nothing_can_match_shows_an_empty_list(
    chief: Client, query: dict[str, str]
):
    add_job()

    page = chief.get(url("job_changelist"), query, follow=True)

    assert page.status_code == 200
    assert list(page.context["cl"].result_list) == []
    bulk = chief.get(url("job_bulk"), {"verb": "cancel", **query}, follow=True)
    assert not bulk.context["any_found"]


@pytest.mark.parametrize("listing", ["schedule", "workersession"])
@pytest.mark.parametrize(
    "query", [{"q": NUL}, {"enabled": NUL}, {"is": NUL}, {"declared": "x"}], ids=repr
)
def test_other_lists_are_shown_too(chief: Client, listing: str, query: dict[str, str]):
    page = chief.get(url(f"{listing}_changelist"), query, follow=True)

    assert page.status_code == 200


@pytest.mark.parametrize(
    "until", ["9999-12-31T23:59", "0001-01-01T00:00", "2030-02-30T00:00", NUL]
)
def test_a_moment_no_queue_can_be_paused_until_is_refused(chief: Client, until: str):
    Queue.objects.create(name="mail")
    for page, more in (("queue_pause", {}), ("queue_changelist", {"queue": "mail"})):
        args = ["mail"] if page == "queue_pause" else []
        data = {"until": until, "action": "pause", "reason": "", **more}

        response = chief.post(url(page, *args), data, follow=True)

        assert len(messages_of(response)) == 1
    assert not Queue.objects.filter(paused_at__isnull=False).exists()


def test_a_reason_is_kept_without_what_no_database_stores(chief: Client):
    job = add_job()

    chief.post(url("job_cancel", job.pk), {"reason": f"wrong{NUL} file"})

    job.refresh_from_db()
    assert job.status == "cancelled"
    assert "wrong\N{REPLACEMENT CHARACTER} file" in job.reason


def test_a_pause_says_why_in_words_only(chief: Client):
    Queue.objects.create(name="mail")

    data = {"reason": f"wrong{NUL} file"}
    (told,) = messages_of(chief.post(url("queue_pause", "mail"), data, follow=True))

    assert "Null characters are not allowed" in told


@pytest.mark.parametrize(
    "address",
    [
        "job/%00/change/",
        "queue/%00/change/",
        "schedule/%00/change/",
        "schedule/99999999999999999999/change/",
        "workersession/%00/change/",
        "task/%00/",
    ],
)
def test_an_impossible_address_is_not_found(chief: Client, address: str):
    page = chief.get(f"/admin/django_workers/{address}")

    assert page.status_code in (302, 404)


@pytest.mark.parametrize("button", ["run", "enable", "disable"])
@pytest.mark.parametrize("number", ["99999999999999999999", "%00", "-1"])
def test_a_button_of_no_schedule_is_not_found(chief: Client, button: str, number: str):
    page = chief.post(f"/admin/django_workers/schedule/{number}/{button}/")

    assert page.status_code == 404


@pytest.mark.parametrize(
    "changes",
    [
        {"name": f"a{NUL}"},
        {"cron": NUL},
        {"cron": "* " * 5_000},
        {"interval": "1e400", "cron": "", "timezone": ""},
        {"interval": "nan", "cron": "", "timezone": ""},
        {"interval": "1e300", "cron": "", "timezone": ""},
        {"priority": "9" * 50},
        {"args": "[" * 100_000},
        {"args": f'["{NUL}", 1]'},
        {"args": "[1" + "0" * 10_000 + ", 1]"},
    ],
    ids=lambda changes: repr(changes)[:30],
)
def test_a_schedule_that_cannot_be_stored_is_refused(
    chief: Client, changes: dict[str, Any]
):
    data = {
        "name": "n",
        "enabled": "on",
        "task": TASK,
        "args": "[1, 2]",
        "kwargs": "{}",
        "cron": "30 2 * * *",
        "timezone": "",
        "interval": "",
        "queue": "",
        "priority": "",
        "backend": "default",
        **changes,
    }

    page = chief.post(url("schedule_add"), data)

    assert page.status_code == 200
    assert page.context["adminform"].form.errors
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"delay": "nan"},
        {"delay": "1e400"},
        {"queue": NUL},
        {"priority": "9" * 5_000},
        {"priority": NUL},
        {"args": "[" * 100_000},
    ],
    ids=lambda changes: repr(changes)[:30],
)
def test_a_job_that_cannot_be_stored_is_refused(chief: Client, changes: dict[str, str]):
    data = {"args": "[1, 2]", "kwargs": "{}", **changes}

    page = chief.post(url("task_enqueue", TASK), data)

    assert page.status_code == 200
    assert page.context["form"].errors
    assert not Job.objects.exists()


@pytest.mark.parametrize("chosen", [NUL, "x", "99999999999999999999"])
@pytest.mark.parametrize(
    ("page", "action"),
    [("job_changelist", "cancel_jobs"), ("schedule_changelist", "run_schedules")],
)
def test_an_action_on_what_is_no_row_is_refused(
    chief: Client, page: str, action: str, chosen: str
):
    job, schedule = add_job(), add_schedule()
    row = job if page.startswith("job") else schedule

    data = {"action": action, "_selected_action": [str(row.pk), chosen]}
    response = chief.post(url(page), data, follow=True)

    assert response.status_code == 400
    assert list(Job.objects.ready()) == [job]

"""Queues: how deep, how late, and the pause."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from django_workers.models import Queue
from tests.admin.conftest import LogIn
from tests.admin.pages import messages_of, text_of, url
from tests.admin.rows import add_job


def is_paused(name: str) -> bool:
    return Queue.objects.filter(name=name, paused_at__isnull=False).exists()


def test_a_queue_is_listed_as_soon_as_it_has_jobs(chief: Client):
    add_job(queue="mail")
    add_job(queue="mail", position=2)
    add_job("scheduled", queue="mail")

    text = text_of(chief.get(url("queue_changelist")))

    assert "mail open 2 0 1 0 5 min" in text


@pytest.mark.parametrize("name", ["dashboard", "queue_changelist"])
def test_queues_are_listed_before_a_job_waits_in_them(
    chief: Client, settings: Any, name: str
):
    settings.TASKS = {
        "default": {**settings.TASKS["default"], "QUEUES": ["default", "reports"]},
        "elsewhere": {
            "BACKEND": "django_workers.backend.ImmediateBackend",
            "QUEUES": ["nowhere"],
        },
    }
    settings.DJANGO_WORKERS = {"QUEUES": ["urgent"]}
    add_job("successful", queue="default")

    listed = {queue["name"] for queue in chief.get(url(name)).context["queues"]}

    # Of a task in tests.tasks, of the backend, of the settings.
    assert {"default", "reports", "urgent"} <= listed
    assert "nowhere" not in listed
    assert not Queue.objects.exists()


def test_a_queue_is_paused_before_a_job_waits_in_it(chief: Client, settings: Any):
    settings.DJANGO_WORKERS = {"QUEUES": ["urgent"]}

    assert chief.get(url("queue_change", "urgent")).status_code == 200
    chief.post(url("queue_pause", "urgent"))

    assert is_paused("urgent")


def test_a_pause_says_by_whom_until_when_and_why(chief: Client):
    until = timezone.now() + timedelta(hours=2)
    Queue.objects.create(
        name="mail",
        paused_at=timezone.now(),
        paused_by="ada",
        pause_reason="the server is away",
        paused_until=until,
    )

    for page in (url("queue_changelist"), url("queue_change", "mail")):
        text = text_of(chief.get(page))
        assert "paused" in text
        assert "by ada" in text
        assert f"{until:%H:%M:%S}" in text
        assert "the server is away" in text


def test_one_queue_is_paused_and_resumed(chief: Client):
    add_job(queue="mail")
    later = (timezone.now() + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M")

    response = chief.post(
        url("queue_pause", "mail"), {"reason": "away", "until": later}, follow=True
    )

    queue = Queue.objects.get()
    assert (queue.paused_by, queue.pause_reason) == ("chief", "away")
    assert queue.paused_until is not None
    assert messages_of(response) == ["The queue mail is paused."]
    assert LogEntry.objects.get().object_id == "mail"

    response = chief.post(url("queue_resume", "mail"), follow=True)

    assert not is_paused("mail")
    assert messages_of(response) == ["The queue mail is open again."]
    assert LogEntry.objects.count() == 2


def test_the_end_of_a_pause_is_asked_for_in_a_zone_that_is_named(
    chief: Client, settings: Any
):
    settings.TIME_ZONE = "Asia/Tokyo"

    for page in (url("queue_changelist"), url("queue_change", "default")):
        text = text_of(chief.get(page))
        assert "Time zone: Asia/Tokyo. Empty: until somebody resumes it." in text


def test_what_changes_nothing_is_said_and_not_logged(chief: Client):
    add_job(queue="mail")

    (told,) = messages_of(chief.post(url("queue_resume", "mail"), follow=True))

    assert told == "The queue mail was not paused."
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize("until", ["2020-01-01T00:00", "nonsense"])
def test_an_impossible_end_is_refused(chief: Client, until: str):
    add_job(queue="mail")

    (told,) = messages_of(
        chief.post(url("queue_pause", "mail"), {"until": until}, follow=True)
    )

    assert not is_paused("mail")
    assert told


def act(client: Client, action: str, *names: str, **more: Any) -> Any:
    return client.post(
        url("queue_changelist"), {"action": action, "queue": names, **more}, follow=True
    )


def test_several_are_paused_and_resumed_at_once(chief: Client):
    for name in ("a", "b", "c"):
        add_job(queue=name)

    assert len(messages_of(act(chief, "pause", "a", "b", reason="away"))) == 2
    assert [is_paused(name) for name in "abc"] == [True, True, False]
    act(chief, "resume", "a")
    assert [is_paused(name) for name in "abc"] == [False, True, False]


def test_none_chosen_is_said(chief: Client):
    assert messages_of(act(chief, "pause")) == ["Choose at least one queue."]
    assert messages_of(act(chief, "pause", "a b; --")) == ["Choose at least one queue."]
    assert not Queue.objects.exists()


def test_an_impossible_end_for_several_is_refused(chief: Client):
    add_job(queue="a")

    assert messages_of(act(chief, "pause", "a", until="2020-01-01T00:00"))
    assert not is_paused("a")


@pytest.mark.parametrize("name", ["pause", "resume"])
def test_it_needs_the_permission_and_a_post(log_in: LogIn, name: str):
    add_job(queue="mail")
    address = url(f"queue_{name}", "mail")
    viewer = log_in("view_queue", "change_queue")

    assert viewer.post(address).status_code == 403
    assert act(viewer, name, "mail").status_code == 403
    assert log_in("pause_queue").get(address).status_code == 405
    assert not is_paused("mail")
    assert (
        "<button"
        not in viewer.get(url("queue_changelist"))
        .content.decode()
        .split('id="content-main"')[1]
    )


def test_the_pages_need_the_permission(log_in: LogIn):
    add_job(queue="mail")
    stranger = log_in("view_job")

    assert stranger.get(url("queue_changelist")).status_code == 403
    assert stranger.get(url("queue_change", "mail")).status_code == 403


def test_a_queue_page_shows_its_depth_with_links_to_its_jobs(chief: Client):
    add_job(queue="mail")
    running = add_job("running", queue="mail")

    page = chief.get(url("queue_change", "mail"))

    html = page.content.decode()
    assert f"{url('job_changelist')}?queue=mail&amp;status=ready" in html
    assert url("job_change", running.pk) in html


def test_a_viewer_of_queues_is_not_shown_jobs(log_in: LogIn):
    job = add_job("running", queue="mail")

    html = log_in("view_queue").get(url("queue_change", "mail")).content.decode()

    assert str(job.pk) not in html
    assert url("job_changelist") not in html


def test_an_empty_queue_of_a_declared_task_has_a_page(chief: Client):
    assert "default" in text_of(chief.get(url("queue_change", "default")))


@pytest.mark.parametrize("name", ["nobody-uses-this", "a b", "x" * 200])
def test_a_queue_nobody_knows_is_not_found(chief: Client, name: str):
    assert chief.get(url("queue_change", name)).status_code == 404


def test_a_name_that_no_queue_can_have_is_not_paused(chief: Client):
    assert chief.post(url("queue_pause", "a b")).status_code == 404
    assert not Queue.objects.exists()

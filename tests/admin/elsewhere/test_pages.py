"""Every page and every button, where the queue has a database of its own.

A statement about a table of ours on `default` fails the test (see conftest.py).
"""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from django_workers import control, stats
from django_workers.brokers import broker_for
from django_workers.ids import uuid7
from django_workers.models import (
    Attempt,
    Job,
    JobStatus,
    Queue,
    Rollup,
    Schedule,
    WorkerSession,
)
from django_workers.schedules import fire_due, next_fires, plan, policies_of
from django_workers.task import get_task
from django_workers.templatetags import django_workers_admin as show
from tests.admin.pages import messages_of, text_of, url
from tests.admin.rows import TASK
from tests.admin.test_schedules import errors_of, form

pytestmark = pytest.mark.django_db(databases=["default", "queue"])

QUEUE = "queue"


def add_job(status: str = "ready", **fields: Any) -> Job:
    """Store a job of a status in the database of the queue."""
    now = timezone.now()
    started = {
        "started_at": now,
        "last_attempted_at": now,
        "worker": "w-1",
        "epoch": 1,
    }
    values: dict[str, dict[str, Any]] = {
        "ready": {"position": 1},
        "scheduled": {"run_after": now + timedelta(hours=1)},
        "running": {"session": uuid7(), **started},
        "failed": {"finished_at": now, "attempts": 1, **started},
    }
    return Job.objects.using(QUEUE).create(
        task=TASK,
        status=status,
        enqueued_at=now,
        args=[1, 2],
        **{**values[status], **fields},
    )


def add_attempt(job: Job) -> Attempt:
    now = timezone.now()
    return Attempt.objects.using(QUEUE).create(
        job=job,
        number=1,
        epoch=1,
        outcome="failed",
        exception="builtins.ValueError",
        traceback="ValueError: no such number",
        started_at=now,
        finished_at=now,
    )


def add_worker() -> WorkerSession:
    now = timezone.now()
    return WorkerSession.objects.using(QUEUE).create(
        worker_id="w-1",
        host="host-1",
        pid=4711,
        version="0.1.0",
        state="running",
        started_at=now,
        heartbeat_at=now,
        lease_until=now + timedelta(minutes=10),
    )


def add_schedule(**fields: Any) -> Schedule:
    schedule = Schedule(
        **{"name": "nightly", "task": TASK, "args": [1, 2], "cron": "0 2 * * *"}
        | fields
    )
    plan(schedule)
    schedule.save(using=QUEUE)
    return schedule


def status_of(job: Job) -> str:
    return str(Job.objects.using(QUEUE).get(pk=job.pk).status)


def posted(client: Client, page: str, *args: object, **data: Any) -> list[str]:
    """Press a button; return what the visitor is told."""
    response = client.post(url(page, *args), data, follow=True)
    assert response.status_code == 200
    return messages_of(response)


# What is shown


def test_every_page_shows_the_rows_of_the_queue(chief: Client):
    worker, schedule = add_worker(), add_schedule()
    failed = add_job("failed", schedule=schedule, slot=timezone.now())
    add_attempt(failed)
    running = add_job("running", session=worker.pk, queue="mail")
    Queue.objects.using(QUEUE).create(name="mail")
    Rollup.objects.using(QUEUE).create(
        minute=timezone.now().replace(second=0, microsecond=0),
        worker="w-1",
        queue="mail",
        task=TASK,
        outcome="failed",
        count=7,
        run_seconds=3.5,
    )
    pages: dict[str, tuple[Any, ...]] = {
        url("dashboard"): ("w-1", "nightly", "mail"),
        url("live"): ("w-1", "nightly", "mail"),
        url("job_changelist"): (str(failed.pk)[-8:], str(running.pk)[-8:]),
        url("job_changelist") + "?status=failed": (str(failed.pk)[-8:],),
        url("job_changelist") + "?q=add&queue=mail": (str(running.pk)[-8:],),
        url("job_changelist") + "?tag=nightly": (),
        url("job_change", failed.pk): ("no such number", "nightly"),
        url("job_change", running.pk): ("w-1", "mail"),
        url("job_bulk") + "?verb=retry": (show.short_id(failed.pk),),
        url("job_history", failed.pk): (),
        url("task_changelist"): (TASK,),
        url("task_change", TASK): ("nightly", "7"),
        url("queue_changelist"): ("mail",),
        url("queue_change", "mail"): (show.short_id(running.pk),),
        url("schedule_changelist"): ("nightly",),
        url("schedule_add"): ("Add schedule",),
        url("schedule_change", schedule.pk): ("nightly", "At 02:00 every day"),
        url("schedule_delete", schedule.pk): ("nightly",),
        url("schedule_history", schedule.pk): (),
        url("workersession_changelist"): ("w-1",),
        url("workersession_change", worker.pk): (show.short_id(running.pk),),
        "/admin/": ("Task dashboard",),
    }

    for address, words in pages.items():
        page = chief.get(address)
        assert page.status_code == 200, address
        # A long name may be broken anywhere.
        text = text_of(page).replace(" ", "")
        for word in words:
            assert word.replace(" ", "") in text, (address, word)
    assert chief.get(url("stats")).json()["failed"] == 1


# What is done to jobs, queues and tasks


@pytest.mark.parametrize(
    ("verb", "status", "becomes"),
    [
        ("cancel", "ready", "cancelled"),
        ("retry", "failed", "ready"),
        ("run", "scheduled", "ready"),
    ],
)
def test_a_verb_is_carried_out_there_from_each_place(
    chief: Client, verb: str, status: str, becomes: str
):
    action = {"cancel": "cancel_jobs", "retry": "retry_jobs", "run": "run_jobs"}[verb]
    jobs = [add_job(status) for _ in range(3)]

    told = posted(chief, f"job_{verb}", jobs[0].pk)
    told += posted(chief, "job_changelist", action=action, _selected_action=jobs[1].pk)
    response = chief.post(url("job_bulk") + f"?verb={verb}", follow=True)
    told += messages_of(response)

    assert len(told) == 3
    assert [status_of(job) for job in jobs] == [becomes] * 3
    assert LogEntry.objects.count() == 3


def test_a_running_job_is_asked_to_stop(chief: Client):
    job = add_job("running")

    posted(chief, "job_cancel", job.pk)

    assert Job.objects.using(QUEUE).get(pk=job.pk).cancel_requested_at


def paused() -> list[str]:
    return [row["name"] for row in stats.queue_rows(using=QUEUE) if row["paused"]]


def test_a_queue_is_paused_and_resumed_there(chief: Client):
    posted(chief, "queue_pause", "mail", reason="upgrade")
    assert paused() == ["mail"]

    posted(chief, "queue_resume", "mail")
    posted(chief, "queue_changelist", action="pause", queue="news")
    assert paused() == ["news"]


def test_a_task_is_enqueued_there(chief: Client):
    posted(chief, "task_enqueue", TASK, args="[1, 2]", kwargs="{}")

    assert Job.objects.using(QUEUE).get().task == TASK


# What is done to schedules


def test_a_schedule_is_made_there_and_fires(chief: Client):
    posted(chief, "schedule_add", **form(cron="", timezone="", interval="60"))

    schedule = Schedule.objects.using(QUEUE).get()
    assert schedule.next_fire_at is not None
    assert schedule.next_fire_at > broker_for(QUEUE).now()
    early = schedule.next_fire_at - timedelta(hours=1)
    Schedule.objects.using(QUEUE).update(anchor_at=early, next_fire_at=early)
    assert len(fire_due(QUEUE, policies_of([get_task(TASK)]))) == 1


def test_a_name_is_unique_there(chief: Client):
    first, second = add_schedule(), add_schedule(name="other")

    taken = chief.post(url("schedule_add"), form())
    assert "already exists" in errors_of(taken)
    taken = chief.post(url("schedule_change", second.pk), form())
    assert "already exists" in errors_of(taken)
    # Its own name is free for itself.
    posted(chief, "schedule_change", first.pk, **form(queue="mail"))
    first.refresh_from_db()
    assert first.queue == "mail"


def test_a_schedule_is_edited_switched_run_and_deleted_there(chief: Client):
    schedule = add_schedule()

    posted(chief, "schedule_change", schedule.pk, **form(cron="@hourly"))
    schedule.refresh_from_db()
    assert schedule.cron == "@hourly"
    for enabled in (False, True):
        posted(chief, f"schedule_{'enable' if enabled else 'disable'}", schedule.pk)
        schedule.refresh_from_db()
        assert schedule.enabled is enabled
    posted(chief, "schedule_run", schedule.pk)
    assert Job.objects.using(QUEUE).get().schedule_id == schedule.pk
    posted(chief, "schedule_delete", schedule.pk, post="yes")

    assert not Schedule.objects.using(QUEUE).exists()
    assert Job.objects.using(QUEUE).get().schedule_id is None


def test_schedules_are_switched_run_and_deleted_together(chief: Client):
    schedules = [add_schedule(name="a"), add_schedule(name="b")]
    chosen = [schedule.pk for schedule in schedules]

    def act(action: str, **more: str) -> None:
        data = {"action": action, "_selected_action": chosen, **more}
        posted(chief, "schedule_changelist", **data)

    act("disable_schedules")
    assert not Schedule.objects.using(QUEUE).filter(enabled=True).exists()
    act("enable_schedules")
    assert Schedule.objects.using(QUEUE).filter(enabled=True).count() == 2
    act("run_schedules")
    assert Job.objects.using(QUEUE).filter(status=JobStatus.READY).count() == 2
    act("delete_selected", post="yes")
    assert not Schedule.objects.using(QUEUE).exists()


def test_only_backends_of_that_database_are_offered(chief: Client, settings: Any):
    settings.TASKS = {
        **settings.TASKS,
        "here": {**settings.TASKS["default"], "OPTIONS": {"DATABASE": "default"}},
        "there": settings.TASKS["default"],
    }

    page = chief.get(url("schedule_add"))

    offered = page.context["adminform"].form.fields["backend"].choices
    assert [value for value, _word in offered] == ["default", "there"]


def test_a_new_schedule_is_reckoned_by_the_clock_there():
    schedule = Schedule(name="nightly", task=TASK, interval=60)

    plan(schedule)

    assert len(next_fires(schedule)) == 5


def test_control_needs_no_alias():
    schedule = add_schedule()

    assert control.run_schedule("nightly")
    assert control.disable_schedule("nightly")
    assert control.enable_schedule(schedule.pk)

"""Tasks: what the code declares, how it fares, and a form to enqueue it."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from django_workers import control, exponential, task
from django_workers.models import Job, Queue
from tests.admin.conftest import LogIn
from tests.admin.pages import messages_of, text_of, url
from tests.admin.rows import TASK, add_job, add_rollup, add_schedule


@task(
    name="admin:deliver",
    queue_name="parcels",
    priority="high",
    max_attempts=4,
    timeout=90,
    backoff=exponential(initial=2, cap=60),
    retry_on=ConnectionError,
    aliases=["admin:old-deliver"],
    tags=["eu"],
)
def deliver(parcel: int, *, express: bool = False) -> None:
    """Carry a parcel to its door."""


@task(name="admin:looks", takes_context=True)
def looks(context: Any, word: str) -> None:
    """Know the context."""


@task(name="admin:label")
def label(*, text: str) -> None:
    """Have one parameter, which only its name can give."""


def enqueue(client: Client, name: str = "admin:deliver", **data: Any) -> Any:
    return client.post(url("task_enqueue", name), data, follow=True)


def row_of(client: Client, name: str = "admin:deliver") -> Any:
    rows = client.get(url("task_changelist")).context["rows"]
    return next(row for row in rows if row.task.key == name)


def test_every_declared_task_is_listed_with_its_policy(chief: Client):
    text = text_of(chief.get(url("task_changelist")))

    assert "admin: deliver parcels 25 high 4 1 min 30 s" in text
    assert "tests. tasks. add default 0 normal 1 1 h" in text


def test_it_tells_how_the_last_hour_went(chief: Client):
    add_rollup(task="admin:deliver", count=7, run_seconds=3.5)
    add_rollup(task="admin:old-deliver", count=1, run_seconds=0.5, worker="w-2")
    add_rollup(task="admin:deliver", outcome="timed_out", count=2, run_seconds=0)
    add_rollup(task="admin:deliver", outcome="snoozed", count=9)
    old = timezone.now() - timedelta(hours=2)
    add_rollup(task="admin:deliver", minute=old, count=99)

    row = row_of(chief)

    assert (row.successful, row.failed, row.mean) == (8, 2, 0.4)


def test_a_page_does_not_mistake_attempts_for_jobs(chief: Client):
    add_rollup(task="admin:deliver", count=1)
    add_rollup(task="admin:deliver", outcome="failed", count=2)

    text = text_of(chief.get(url("task_change", "admin:deliver")))

    assert "Last hour attempts: 1 succeeded, 2 failed" in text
    assert "Jobs that failed last None." in text


def test_it_links_to_the_last_failure(chief: Client):
    now = timezone.now()
    add_job("failed", task="admin:deliver", finished_at=now - timedelta(hours=2))
    last = add_job("failed", task="admin:old-deliver", finished_at=now)

    assert row_of(chief).last_failure.pk == last.pk


def test_a_page_tells_the_whole_policy(chief: Client):
    add_schedule(task="admin:deliver", args=[1])

    text = text_of(chief.get(url("task_change", "admin:deliver")))

    for words in (
        "deliver(parcel: int, *, express: bool = False) -> None",
        "Carry a parcel to its door.",
        "parcels",
        "25 high",
        "Retried on ConnectionError",
        "1 min 30 s",
        "admin: old-deliver",
        "eu",
        "At 02:30 every day",
        "Pause between exponential from 2 s, at most 1 min, with jitter",
    ):
        assert words in text, words


def test_a_task_is_found_by_its_alias_and_its_path(chief: Client):
    for name in ("admin:old-deliver", "tests.admin.test_tasks.deliver"):
        assert (
            chief.get(url("task_change", name)).context["task"].key == "admin:deliver"
        )


def test_the_context_is_no_argument_of_the_caller(chief: Client):
    text = text_of(chief.get(url("task_change", "admin:looks")))

    assert "looks(word: str)" in text


def test_it_is_enqueued_with_its_arguments(chief: Client):
    response = enqueue(chief, args="[7]", kwargs='{"express": true}')

    job = Job.objects.get()
    assert (job.task, job.args, job.kwargs) == ("admin:deliver", [7], {"express": True})
    assert (job.queue, job.priority, job.tags) == ("parcels", 25, ["eu"])
    assert url("job_change", job.pk) in response.content.decode()
    assert "was enqueued" in messages_of(response)[0]
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.is_addition()) == (str(job.pk), True)


def test_queue_priority_and_delay_may_differ(chief: Client):
    enqueue(chief, args="[7]", queue="slow", priority="low", delay="60")
    enqueue(chief, args="[7]", priority="-7")

    first, second = Job.objects.order_by("id")
    assert (first.queue, first.priority, first.status) == ("slow", -50, "scheduled")
    assert first.run_after is not None
    assert second.priority == -7


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        ({"args": "[7"}, "This is not JSON"),
        ({"args": "7"}, "This must be a JSON list"),
        ({"kwargs": "[]"}, "This must be a JSON object"),
        ({"args": "[]"}, "missing a required argument"),
        ({"args": "[1, 2]"}, "too many positional"),
        ({"args": "[1]", "kwargs": '{"fast": 1}'}, "unexpected keyword"),
        ({"args": '[1, {"a": 1, "a": 2}]'}, "This is not JSON"),
        ({"args": "[Infinity]"}, "This is not JSON"),
        ({"args": "[1]", "queue": "a b"}, "A queue's name has letters"),
        ({"args": "[1]", "priority": "urgent"}, "A whole number from -100"),
        ({"args": "[1]", "priority": "1000"}, "A whole number from -100"),
        ({"args": "[1]", "delay": "-1"}, "greater than or equal to 0"),
        ({"args": "[1]", "delay": "1e300"}, "less than or equal to"),
        ({"args": "[" * 100 + "]" * 100}, "nested"),
        ({"args": json.dumps(["x" * 1_000_001])}, "bytes"),
    ],
)
def test_what_cannot_be_enqueued_is_said_and_nothing_stored(
    chief: Client, data: dict[str, str], complaint: str
):
    text = text_of(enqueue(chief, **data))

    assert complaint in text, text[-600:]
    assert not Job.objects.exists()
    assert not LogEntry.objects.exists()


@pytest.mark.parametrize(
    ("data", "field"),
    [
        ({"args": "[1, 2]"}, "args"),
        ({"args": "[]", "kwargs": '{"express": true}'}, "args"),
        ({"args": "[1]", "kwargs": '{"fast": 1}'}, "kwargs"),
        ({"args": "[1]", "kwargs": '{"parcel": 1}'}, "kwargs"),
    ],
)
def test_what_does_not_fit_is_told_at_its_own_field(
    chief: Client, data: dict[str, str], field: str
):
    assert list(enqueue(chief, **data).context["form"].errors) == [field]


def test_a_missing_argument_that_has_only_a_name_is_told_there(chief: Client):
    response = enqueue(chief, "admin:label")

    assert list(response.context["form"].errors) == ["kwargs"]


def test_it_says_that_the_job_waits_in_a_paused_queue(chief: Client):
    control.pause("parcels", by="ada")

    told = messages_of(enqueue(chief, args="[7]"))
    elsewhere = messages_of(enqueue(chief, args="[7]", queue="slow"))

    Queue.objects.update(paused_until=timezone.now() - timedelta(seconds=1))
    over = messages_of(enqueue(chief, args="[7]"))

    assert "The queue parcels is paused: the job waits there." in told
    assert [len(elsewhere), len(over)] == [1, 1]


@pytest.mark.parametrize("name", ["os.system", "subprocess.run", "nobody:knows"])
def test_only_declared_tasks_are_enqueued(chief: Client, name: str):
    assert enqueue(chief, name, args='["true"]').status_code == 404
    assert chief.get(url("task_change", name)).status_code == 404
    assert not Job.objects.exists()


def test_enqueueing_needs_the_permission_to_add_jobs(log_in: LogIn):
    viewer = log_in("view_job", "retry_job", "cancel_job")

    assert enqueue(viewer, args="[7]").status_code == 403
    assert (
        "<form"
        not in viewer.get(url("task_change", "admin:deliver"))
        .content.decode()
        .split('id="content-main"')[1]
    )
    assert enqueue(log_in("view_job", "add_job"), args="[7]").status_code == 200
    assert Job.objects.count() == 1


def test_enqueueing_needs_a_post_with_its_token(chief: Client):
    careful = Client(enforce_csrf_checks=True)
    careful.cookies = chief.cookies

    assert chief.put(url("task_enqueue", "admin:deliver")).status_code == 405
    assert enqueue(careful, args="[7]").status_code == 403
    assert not Job.objects.exists()


def test_the_address_of_the_form_leads_to_the_page_of_the_task(chief: Client):
    response = chief.get(url("task_enqueue", "admin:deliver"))

    assert response.status_code == 302
    assert response.headers["Location"] == url("task_change", "admin:deliver")
    assert not Job.objects.exists()


def test_the_pages_need_the_permission(log_in: LogIn):
    stranger = log_in("view_queue")

    assert stranger.get(url("task_changelist")).status_code == 403
    assert stranger.get(url("task_change", TASK)).status_code == 403


def test_a_module_that_cannot_be_imported_is_told_until_it_can(
    chief: Client, settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    module = tmp_path / "admin_broken" / "tasks.py"
    module.parent.mkdir()
    module.with_name("__init__.py").touch()
    module.write_text("def deliver(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    settings.DJANGO_WORKERS = {"AUTODISCOVER": ["tests.tasks", "admin_broken.tasks"]}

    text = text_of(chief.get(url("task_changelist")))
    assert "could not be imported: SyntaxError: " in text
    assert TASK in text.replace(" ", "")
    # A page of one task, or of a job, is there all the same.
    assert chief.get(url("task_change", TASK)).status_code == 200

    module.write_text("")
    text = text_of(chief.get(url("task_changelist")))
    assert "could not be imported" not in text

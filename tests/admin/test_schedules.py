"""Schedules: checked when saved, planned, switched, run at once."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from django_workers.models import Job, Schedule
from tests.admin.conftest import LogIn
from tests.admin.pages import messages_of, text_of, url
from tests.admin.rows import TASK, add_job, add_schedule

OURS = "django_workers.backend.DatabaseBackend"
EVERYTHING = ("add_schedule", "change_schedule", "view_schedule", "delete_schedule")


def form(**changes: Any) -> dict[str, Any]:
    return {
        "name": "nightly",
        "enabled": "on",
        "task": TASK,
        "args": "[1, 2]",
        "kwargs": "{}",
        "cron": "30 2 * * *",
        "timezone": "Europe/Berlin",
        "interval": "",
        "queue": "",
        "priority": "",
        "backend": "default",
        **changes,
    }


def errors_of(response: Any) -> str:
    assert response.status_code == 200, response.headers
    return str(response.context["adminform"].form.errors)


def test_a_schedule_is_made_and_planned(chief: Client):
    response = chief.post(url("schedule_add"), form())

    assert response.status_code == 302
    schedule = Schedule.objects.get()
    due = schedule.next_fire_at
    assert due is not None
    assert due > timezone.now()
    local = due.astimezone(ZoneInfo("Europe/Berlin"))
    assert (local.hour, local.minute) == (2, 30)


def test_an_interval_counts_from_now(chief: Client):
    chief.post(url("schedule_add"), form(cron="", timezone="", interval="3600"))

    schedule = Schedule.objects.get()
    assert schedule.anchor_at is not None
    assert schedule.next_fire_at == schedule.anchor_at + timedelta(hours=1)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"cron": "61 * * * *"}, "no cron expression"),
        ({"cron": "0 0 30 2 *"}, "never fires"),
        ({"cron": ""}, "Give either a cron expression or an interval"),
        ({"interval": "60"}, "Give either a cron expression or an interval"),
        ({"cron": "", "timezone": "", "interval": "0.1"}, "between 1 second"),
        ({"cron": "", "interval": "60"}, "An interval has no time zone"),
        ({"timezone": "Mars/Olympus"}, "Select a valid choice"),
        ({"task": "os.system"}, "Select a valid choice"),
        ({"args": "[1"}, "not JSON"),
        ({"args": "{}"}, "must be a JSON list"),
        ({"kwargs": "[]"}, "must be a JSON object"),
        ({"args": "[NaN, 1]"}, "not JSON"),
        ({"args": '["\\u0000", 1]'}, "[0]"),
        ({"args": "[1, 2, 3]"}, "too many positional arguments"),
        ({"args": "[]"}, "missing a required argument"),
        ({"queue": "a b"}, "A queue&#x27;s name has letters"),
        ({"priority": "101"}, "A whole number from -100 to 100"),
        ({"priority": "urgent"}, "or the name of a level"),
        ({"backend": "elsewhere"}, "Select a valid choice"),
    ],
)
def test_what_cannot_work_is_refused_at_save(
    chief: Client, changes: dict[str, Any], complaint: str
):
    assert complaint in errors_of(chief.post(url("schedule_add"), form(**changes)))
    assert not Schedule.objects.exists()


@pytest.mark.parametrize(
    ("queues", "queue", "complaint"),
    [
        (["default", "emails"], "bulk", "it takes: default, emails"),
        (["default", "emails"], "email", "did you mean &#x27;emails&#x27;?"),
        (["emails"], "", "&#x27;default&#x27; is not among the QUEUES"),
    ],
    ids=["another", "misspelt", "the task's own"],
)
def test_a_queue_that_the_backend_does_not_take_is_refused_at_save(
    chief: Client, settings: Any, queues: list[str], queue: str, complaint: str
):
    settings.TASKS = {"default": {"BACKEND": OURS, "QUEUES": queues}}

    page = chief.post(url("schedule_add"), form(queue=queue))

    assert complaint in errors_of(page)
    assert list(page.context["adminform"].form.errors) == ["queue"]
    assert not Schedule.objects.exists()

    chief.post(url("schedule_add"), form(queue="emails"))
    assert Schedule.objects.get().queue == "emails"


@pytest.mark.parametrize(
    ("text", "number"), [("high", 25), ("low", -50), ("-7", -7), ("", None)]
)
def test_a_priority_is_a_number_or_a_level(
    chief: Client, text: str, number: int | None
):
    chief.post(url("schedule_add"), form(priority=text))

    assert Schedule.objects.get().priority == number


@pytest.mark.parametrize("changes", [{"cron": ""}, {"interval": "60"}])
def test_a_missing_choice_of_timing_is_told_once_in_plain_words(
    chief: Client, changes: dict[str, Any]
):
    response = chief.post(url("schedule_add"), form(timezone="", **changes))

    assert list(response.context["adminform"].form.errors.values()) == [
        ["Give either a cron expression or an interval."]
    ]


def test_an_argument_that_does_not_fit_is_told_at_its_own_field(chief: Client):
    response = chief.post(url("schedule_add"), form(kwargs='{"fast": 1}'))

    assert list(response.context["adminform"].form.errors) == ["kwargs"]


def test_a_stored_task_that_is_gone_is_not_lost_by_editing(chief: Client):
    schedule = add_schedule(task="gone:task", args=[])
    page = chief.get(url("schedule_change", schedule.pk)).content.decode()

    assert "gone:task (unknown here)" in page
    chief.post(
        url("schedule_change", schedule.pk),
        form(task="gone:task", args="[]", queue="mail"),
    )

    schedule.refresh_from_db()
    assert (schedule.task, schedule.queue) == ("gone:task", "mail")


def test_another_timing_is_planned_anew_and_other_changes_are_not(chief: Client):
    schedule = add_schedule()
    planned = datetime(2030, 1, 1, tzinfo=UTC)
    Schedule.objects.update(next_fire_at=planned)

    chief.post(url("schedule_change", schedule.pk), form(queue="mail"))
    schedule.refresh_from_db()
    assert (schedule.queue, schedule.next_fire_at) == ("mail", planned)

    chief.post(url("schedule_change", schedule.pk), form(queue="mail", cron="@hourly"))
    schedule.refresh_from_db()
    assert schedule.next_fire_at != planned


def test_a_save_leaves_alone_what_a_worker_moved_meanwhile(
    chief: Client, monkeypatch: pytest.MonkeyPatch
):
    from django_workers.admin.schedule_form import ScheduleForm

    schedule = add_schedule()
    moved = datetime(2031, 1, 1, tzinfo=UTC)
    real = ScheduleForm.plan

    def fire_first(self: Any, *, by: str) -> list[str]:
        Schedule.objects.update(next_fire_at=moved, last_fire_at=moved)
        return real(self, by=by)

    monkeypatch.setattr(ScheduleForm, "plan", fire_first)
    chief.post(url("schedule_change", schedule.pk), form(queue="mail"))

    schedule.refresh_from_db()
    assert (schedule.queue, schedule.last_fire_at) == ("mail", moved)
    assert schedule.next_fire_at == moved


def test_switching_off_in_the_form_says_who_did_it(chief: Client):
    schedule = add_schedule()

    chief.post(url("schedule_change", schedule.pk), form(enabled=""))

    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.disabled_reason) == (False, "by chief")


def test_of_a_declared_one_only_the_switch_is_open(chief: Client):
    schedule = add_schedule(declared=True)
    page = chief.get(url("schedule_change", schedule.pk))

    assert list(page.context["adminform"].form.fields) == ["enabled"]
    assert "Code declares this schedule" in text_of(page)
    chief.post(url("schedule_change", schedule.pk), form(enabled="", cron="@hourly"))

    schedule.refresh_from_db()
    assert (schedule.cron, schedule.enabled) == ("30 2 * * *", False)


def test_a_declared_one_that_cannot_work_is_switched_off_but_not_on(chief: Client):
    schedule = add_schedule(declared=True)
    Schedule.objects.update(cron="nonsense", args={"not": "a list"})
    address = url("schedule_change", schedule.pk)

    assert chief.post(address, form(enabled="")).status_code == 302
    schedule.refresh_from_db()
    assert not schedule.enabled

    assert "&#x27;nonsense&#x27; has 1 fields" in errors_of(chief.post(address, form()))
    schedule.refresh_from_db()
    assert not schedule.enabled


@pytest.mark.parametrize("declared", [True, False])
def test_arguments_that_are_not_edited_hide_what_is_private(
    log_in: LogIn, declared: bool
):
    schedule = add_schedule(
        declared=declared, args=[], kwargs={"password": "hunter2", "name": "Ada"}
    )
    permission = "change_schedule" if declared else "view_schedule"

    text = text_of(log_in(permission).get(url("schedule_change", schedule.pk)))

    assert "hunter2" not in text
    assert "Ada" in text


def test_a_declared_one_cannot_be_deleted(chief: Client):
    declared, own = add_schedule(declared=True), add_schedule(name="own")

    assert (
        chief.post(url("schedule_delete", declared.pk), {"post": "yes"}).status_code
        == 403
    )
    chief.post(url("schedule_delete", own.pk), {"post": "yes"})

    assert list(Schedule.objects.all()) == [declared]


def test_the_page_shows_the_next_five_runs_on_the_clock_of_its_zone(chief: Client):
    schedule = add_schedule(cron="15 9 * * *", timezone="Asia/Tokyo")

    page = chief.get(url("schedule_change", schedule.pk))

    upcoming = page.context["upcoming"]
    assert len(upcoming) == 5
    assert {(at.hour, at.minute) for at in upcoming} == {(9, 15)}
    assert upcoming == sorted(set(upcoming))
    assert "Asia/Tokyo" in text_of(page)
    assert text_of(page).count("09:15:00") == 5


def test_the_last_run_is_on_the_same_clock_as_the_next_ones(chief: Client):
    fired = datetime(2030, 1, 2, 18, 4, 5, tzinfo=UTC)
    schedule = add_schedule(timezone="Asia/Tokyo", last_fire_at=fired)

    text = text_of(chief.get(url("schedule_change", schedule.pk)))

    assert "Last run: Thu 3 Jan 2030 03:04:05" in text


def test_a_row_that_cannot_fire_has_a_page_all_the_same(chief: Client):
    schedule = add_schedule()
    Schedule.objects.update(cron="nonsense", timezone="Mars/Olympus")

    page = chief.get(url("schedule_change", schedule.pk))
    listing = chief.get(url("schedule_changelist"))

    assert page.status_code == listing.status_code == 200
    assert "nonsense" in text_of(listing)
    assert "Mars/Olympus (unknown here)" in page.content.decode()


def test_the_list_says_it_in_english(chief: Client):
    job = add_job()
    schedule = add_schedule(last_fire_at=timezone.now(), last_job=job.pk, declared=True)

    page = chief.get(url("schedule_changelist"))

    text = text_of(page)
    for words in ("At 02:30 every day", "enabled", "in code", "now"):
        assert words in text, words
    assert url("job_change", job.pk) in page.content.decode()
    assert url("schedule_change", schedule.pk) in page.content.decode()


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"enabled": "1"}, {"on"}),
        ({"enabled": "0"}, {"off"}),
        ({"declared": "1"}, {"off"}),
        ({"q": "on"}, {"on"}),
        ({}, {"on", "off"}),
    ],
)
def test_the_list_is_filtered(chief: Client, query: dict[str, str], names: set[str]):
    add_schedule(name="on")
    add_schedule(name="off", enabled=False, declared=True)

    found = chief.get(url("schedule_changelist"), query).context["cl"].result_list

    assert {schedule.name for schedule in found} == names


# Buttons and actions


@pytest.mark.parametrize("name", ["enable", "disable", "run"])
def test_each_button_needs_its_permission_and_a_post(log_in: LogIn, name: str):
    schedule = add_schedule(enabled=name != "enable")
    address = url(f"schedule_{name}", schedule.pk)
    permission = "run_schedule" if name == "run" else "change_schedule"
    others = {*EVERYTHING, "run_schedule"} - {permission}

    assert log_in(*others).post(address).status_code == 403
    assert log_in(permission).get(address).status_code == 405
    assert not LogEntry.objects.exists()
    response = log_in("view_schedule", permission).post(address, follow=True)

    assert len(messages_of(response)) == 1
    assert LogEntry.objects.get().object_id == str(schedule.pk)


def test_run_now_enqueues_a_job_and_links_to_it(chief: Client):
    schedule = add_schedule()

    response = chief.post(url("schedule_run", schedule.pk), follow=True)

    job = Job.objects.get()
    assert (job.task, job.args, job.schedule_id) == (TASK, [1, 2], schedule.pk)
    assert url("job_change", job.pk) in response.content.decode()


def test_run_now_of_a_task_that_is_gone_says_why(chief: Client):
    schedule = add_schedule(task="gone:task")

    (told,) = messages_of(chief.post(url("schedule_run", schedule.pk), follow=True))

    assert "gone:task" in told
    assert not Job.objects.exists()
    assert not LogEntry.objects.exists()


def act(client: Client, action: str, *schedules: Schedule) -> Any:
    targets = [str(schedule.pk) for schedule in schedules]
    return client.post(
        url("schedule_changelist"),
        {"action": action, "index": "0", "_selected_action": targets},
        follow=True,
    )


def test_several_are_switched_at_once(chief: Client):
    on, off = add_schedule(name="on"), add_schedule(name="off", enabled=False)

    told = messages_of(act(chief, "disable_schedules", on, off))

    assert "1 schedule is disabled: on." in told
    assert "Nothing to change: off." in told
    assert not Schedule.objects.filter(enabled=True).exists()
    told = messages_of(act(chief, "enable_schedules", on, off))
    assert told == ["2 schedules are enabled: off, on."]


def test_several_are_run_at_once(chief: Client):
    first, second = add_schedule(name="a"), add_schedule(name="b")

    assert len(messages_of(act(chief, "run_schedules", first, second))) == 2
    assert Job.objects.count() == 2


@pytest.mark.parametrize(
    ("action", "permission"),
    [
        ("enable_schedules", "change_schedule"),
        ("disable_schedules", "change_schedule"),
        ("run_schedules", "run_schedule"),
    ],
)
def test_an_action_is_not_obeyed_without_its_permission(
    log_in: LogIn, action: str, permission: str
):
    schedule = add_schedule(enabled=action != "enable_schedules")
    others = {*EVERYTHING, "run_schedule"} - {permission}

    act(log_in(*others), action, schedule)

    before = schedule.enabled
    schedule.refresh_from_db()
    assert schedule.enabled == before
    assert not Job.objects.exists()


def test_an_unknown_schedule_is_not_found(chief: Client):
    assert chief.post(url("schedule_run", 4711)).status_code == 404
    assert chief.post(url("schedule_run", "x")).status_code == 404
    assert chief.get(url("schedule_change", 4711)).status_code == 302


def test_deleting_one_keeps_the_jobs_it_made(chief: Client):
    schedule = add_schedule()
    job = add_job(schedule=schedule, slot=timezone.now())

    chief.post(url("schedule_delete", schedule.pk), {"post": "yes"})

    job.refresh_from_db()
    assert job.schedule_id is None

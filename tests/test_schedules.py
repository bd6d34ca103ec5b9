"""Schedules: what code declares reaches the table, and each slot makes one job."""

import marshal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from django.core.exceptions import ValidationError
from django.db import DatabaseError, connection, connections, transaction
from django.db.models import QuerySet

from django_workers import every, task
from django_workers.brokers import Lane, broker_for
from django_workers.compat import TASKS_APP
from django_workers.cron import Every
from django_workers.exceptions import ConfigurationError, InvalidSchedule, UnknownTask
from django_workers.models import Job, JobStatus, Schedule, WorkerSession
from django_workers.schedules import (
    CANNOT_FIRE,
    ENDED,
    NOT_DECLARED,
    UNKNOWN_TASK,
    declaration_from,
    declared_schedules,
    fire_due,
    next_fires,
    plan,
    policies_of,
    run_now,
    seconds_until_next,
    sync_declared,
)

USING = "default"
OURS = "django_workers.backend.DatabaseBackend"
MINUTE = timedelta(minutes=1)


@task(
    name="schedules:report",
    queue_name="reports",
    priority=7,
    max_attempts=4,
    timeout=9.5,
    on_crash="fail",
    expires=60,
    tags=["nightly"],
    metadata={"team": "blue"},
    aliases=["schedules:old_report"],
    schedule=every(60),
)
def report(kind: str = "daily") -> None:
    pass


@task(name="schedules:plain")
def plain(*args: Any, **kwargs: Any) -> None:
    pass


POLICIES = policies_of([report, plain])
DECLARED = declared_schedules([report], {})
KNOWN = list(POLICIES)


def now() -> datetime:
    return broker_for(USING).now()


def due_row(**fields: Any) -> Schedule:
    """Make a schedule whose first slot passed a good two minutes ago."""
    anchor = now() - timedelta(seconds=150)
    values = {
        "name": "minutely",
        "task": "schedules:plain",
        "interval": 60.0,
        "anchor_at": anchor,
        "next_fire_at": anchor + MINUTE,
    }
    return Schedule.objects.create(**{**values, **fields})


def spoilt_row(**fields: Any) -> Schedule:
    """Make a due schedule that save() would refuse."""
    row = due_row(name=fields.pop("name", "spoilt"))
    Schedule.objects.filter(pk=row.pk).update(**fields)
    row.refresh_from_db()
    return row


@pytest.fixture
def two_queues(settings: Any) -> None:
    """Let the backend take jobs for two queues only."""
    settings.TASKS = {"default": {"BACKEND": OURS, "QUEUES": ["default", "emails"]}}


def living_worker(*tasks: str) -> None:
    moment = now()
    WorkerSession.objects.create(
        worker_id="other",
        host="h",
        pid=1,
        version="1",
        state="running",
        tasks=list(tasks),
        started_at=moment,
        heartbeat_at=moment,
        lease_until=moment + MINUTE,
    )


# What travels from a child to its supervisor


def test_policies_and_declarations_are_plain_values():
    assert marshal.loads(marshal.dumps([POLICIES, DECLARED])) == [POLICIES, DECLARED]


def test_policies_stand_under_every_name_of_the_task():
    policy = POLICIES["schedules:report"]

    assert POLICIES["schedules:old_report"] == policy
    assert policy["task"] == "schedules:report"
    assert (policy["queue"], policy["priority"]) == ("reports", 7)
    assert (policy["max_attempts"], policy["timeout"]) == (4, 9.5)


def test_deadlines_are_seconds_or_an_instant():
    moment = datetime(2030, 1, 1, tzinfo=UTC)
    dated = report.using(expires=moment, retry_until=timedelta(minutes=2))

    policy = policies_of([dated])["schedules:report"]

    assert policy["expires"] == moment.isoformat()
    assert policy["retry_until"] == 120.0


def test_a_task_declares_its_schedule_under_its_own_name():
    (declared,) = DECLARED

    assert declared["name"] == declared["task"] == "schedules:report"
    assert (declared["interval"], declared["cron"]) == (60.0, "")
    assert declared["database"] == USING


def test_settings_declare_schedules_too():
    declared = declared_schedules(
        [plain],
        {
            "nightly": {
                "task": f"{__name__}.plain",
                "cron": "30 2 * * *",
                "timezone": "Europe/Berlin",
                "args": (1, "two"),
                "kwargs": {"three": 3},
                "queue": "slow",
                "priority": "high",
            }
        },
    )

    assert declared == [
        {
            "name": "nightly",
            "task": "schedules:plain",
            "backend": "default",
            "database": USING,
            "args": [1, "two"],
            "kwargs": {"three": 3},
            "queue": "slow",
            "priority": 25,
            "cron": "30 2 * * *",
            "interval": None,
            "timezone": "Europe/Berlin",
        }
    ]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"task": "schedules:plain"}, "either 'cron' or 'interval'"),
        ({"task": "schedules:plain", "cron": "@daily", "interval": 5}, "either"),
        ({"cron": "@daily"}, "needs 'task'"),
        ({"task": "schedules:plain", "crom": "@daily"}, "did you mean 'cron'"),
        ({"task": "schedules:plain", "whatever": 1}, "known: task"),
        ({"task": "schedules:plain", "cron": "61 * * * *"}, "cron expression"),
        ({"task": "schedules:plain", "interval": 0}, "interval"),
        ({"task": "schedules:plain", "interval": "60"}, "'interval' cannot be '60'"),
        (
            {"task": "schedules:plain", "cron": "@daily", "timezone": "Mars/Olympus"},
            "Mars/Olympus",
        ),
        (
            {"task": "schedules:plain", "interval": 60, "timezone": "UTC"},
            "no 'timezone'",
        ),
        ({"task": "schedules:plain", "cron": "@daily", "args": "abc"}, "'args'"),
        ({"task": "schedules:plain", "cron": "@daily", "args": [{1}]}, r"args\[0\]"),
        ({"task": "schedules:plain", "cron": "@daily", "priority": 101}, "priority"),
        ({"task": "schedules:plain", "cron": "@daily", "queue": "a b"}, "name a queue"),
        ("every day", "must be a dict"),
    ],
)
def test_an_entry_that_cannot_work_is_refused_with_its_place(entry: Any, said: str):
    with pytest.raises(ConfigurationError, match=said) as error:
        declaration_from("nightly", entry)

    assert "DJANGO_WORKERS['SCHEDULES']['nightly']" in str(error.value)


@pytest.mark.usefixtures("two_queues")
def test_an_entry_for_a_queue_that_its_backend_does_not_take_is_refused():
    entry = {"task": "schedules:plain", "cron": "@daily"}

    assert declaration_from("good", {**entry, "queue": "emails"})["queue"] == "emails"
    with pytest.raises(ConfigurationError, match="'bulk' is not among the QUEUES"):
        declaration_from("nightly", {**entry, "queue": "bulk"})


def test_an_entry_needs_a_name():
    with pytest.raises(ConfigurationError, match="1 to 255 characters"):
        declaration_from("", {"task": "schedules:plain", "cron": "@daily"})


def test_an_entry_for_an_unknown_task_is_refused():
    with pytest.raises(UnknownTask, match="schedules:plain"):
        declaration_from("nightly", {"task": "schedules:plane", "cron": "@daily"})


def test_a_name_is_declared_once():
    entry = {"task": "schedules:plain", "cron": "@daily"}

    with pytest.raises(ConfigurationError, match="another name"):
        declared_schedules([report], {"schedules:report": entry})


# Declarations and their rows


@pytest.mark.django_db
def test_a_new_declaration_becomes_a_row_due_at_its_next_slot():
    synced = sync_declared(USING, DECLARED, known=KNOWN)

    row = Schedule.objects.get()
    assert synced.created == ("schedules:report",)
    assert (row.name, row.task, row.declared) == (
        "schedules:report",
        "schedules:report",
        True,
    )
    assert row.next_fire_at is not None
    assert row.anchor_at is not None
    assert row.next_fire_at == row.anchor_at + MINUTE


@pytest.mark.django_db
def test_declaring_again_changes_nothing():
    sync_declared(USING, DECLARED, known=KNOWN)
    before = Schedule.objects.values().get()

    synced = sync_declared(USING, DECLARED, known=KNOWN)

    assert (synced.created, synced.changed, synced.disabled) == ((), (), ())
    assert Schedule.objects.values().get() == before


@pytest.mark.django_db
def test_declarations_of_another_database_are_left_out():
    sync_declared("default", [{**DECLARED[0], "database": "elsewhere"}], known=KNOWN)
    sync_declared("default", [{**DECLARED[0], "database": None}], known=KNOWN)

    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_a_changed_timing_is_planned_anew():
    sync_declared(USING, DECLARED, known=KNOWN)

    synced = sync_declared(USING, [{**DECLARED[0], "interval": 3600.0}], known=KNOWN)

    row = Schedule.objects.get()
    assert synced.changed == ("schedules:report",)
    assert row.next_fire_at is not None
    assert row.next_fire_at - now() > 50 * MINUTE


@pytest.mark.django_db
def test_changed_arguments_leave_the_due_time_alone():
    sync_declared(USING, DECLARED, known=KNOWN)
    due = Schedule.objects.get().next_fire_at

    sync_declared(USING, [{**DECLARED[0], "args": ["weekly"]}], known=KNOWN)

    row = Schedule.objects.get()
    assert (row.args, row.next_fire_at) == (["weekly"], due)


@pytest.mark.django_db
def test_what_a_person_switched_off_stays_off_though_it_is_refreshed():
    sync_declared(USING, DECLARED, known=KNOWN)
    Schedule.objects.update(enabled=False, disabled_reason="too noisy")

    sync_declared(USING, [{**DECLARED[0], "args": ["weekly"]}], known=KNOWN)

    row = Schedule.objects.get()
    assert (row.enabled, row.disabled_reason) == (False, "too noisy")
    assert row.args == ["weekly"]


@pytest.mark.django_db
def test_a_row_made_by_a_person_becomes_the_declarations():
    due_row(name="schedules:report", interval=5.0)

    sync_declared(USING, DECLARED, known=KNOWN)

    row = Schedule.objects.get()
    assert (row.declared, row.interval, row.task) == (True, 60.0, "schedules:report")


@pytest.mark.django_db
def test_what_code_declares_no_longer_is_switched_off_and_kept():
    sync_declared(USING, DECLARED, known=KNOWN)

    synced = sync_declared(USING, [], known=["schedules:report"])

    row = Schedule.objects.get()
    assert synced.disabled == ("schedules:report",)
    assert (row.enabled, row.disabled_reason) == (False, NOT_DECLARED)


@pytest.mark.django_db
def test_a_declaration_goes_though_living_workers_keep_its_task():
    sync_declared(USING, DECLARED, known=KNOWN)
    living_worker("schedules:report")

    synced = sync_declared(USING, [], known=["schedules:report"])

    assert synced.disabled == ("schedules:report",)


@pytest.mark.django_db
def test_a_declaration_of_another_living_workers_code_is_left_alone():
    sync_declared(USING, DECLARED, known=KNOWN)
    living_worker("schedules:report")

    synced = sync_declared(USING, [], known=["something:else"])

    assert synced.disabled == ()
    assert Schedule.objects.get().enabled


@pytest.mark.django_db
def test_what_code_declares_again_is_switched_on_again():
    sync_declared(USING, DECLARED, known=KNOWN)
    sync_declared(USING, [], known=KNOWN)
    Schedule.objects.update(next_fire_at=now() - timedelta(days=9))

    synced = sync_declared(USING, DECLARED, known=KNOWN)

    row = Schedule.objects.get()
    assert synced.changed == ("schedules:report",)
    assert (row.enabled, row.disabled_reason) == (True, "")
    assert row.next_fire_at is not None
    assert row.next_fire_at > now()


@pytest.mark.django_db
def test_rows_made_by_people_are_never_taken_for_abandoned_declarations():
    due_row()

    assert sync_declared(USING, [], known=KNOWN).disabled == ()
    assert Schedule.objects.get().enabled


@pytest.mark.django_db
def test_a_broken_declaration_gets_another_chance_only_once_it_is_changed():
    sync_declared(USING, DECLARED, known=KNOWN)
    Schedule.objects.update(enabled=False, disabled_reason=f"{CANNOT_FIRE}: oh")

    sync_declared(USING, DECLARED, known=KNOWN)
    assert not Schedule.objects.get().enabled

    sync_declared(USING, [{**DECLARED[0], "interval": 30.0}], known=KNOWN)
    assert Schedule.objects.get().enabled


@pytest.mark.django_db
def test_a_row_waits_for_the_first_worker_that_knows_its_task():
    row = due_row(task="schedules:later")
    fire_due(USING, POLICIES)
    row.refresh_from_db()
    assert row.disabled_reason == f"{UNKNOWN_TASK}: schedules:later"

    synced = sync_declared(USING, [], known=["schedules:later"])

    row.refresh_from_db()
    assert synced.changed == ("minutely",)
    assert (row.enabled, row.disabled_reason) == (True, "")
    assert row.next_fire_at is not None
    assert row.next_fire_at < now(), "the missed slot is still due"


# What save() refuses

IMPOSSIBLE: dict[str, dict[str, Any]] = {
    "cron": {"cron": "bogus", "interval": None},
    "a day that never comes": {"cron": "0 0 31 2 *", "interval": None},
    "no timing": {"interval": None},
    "two timings": {"cron": "@daily"},
    "interval": {"interval": 0.5},
    "zone": {"timezone": "Mars/X"},
    "queue": {"queue": "bulk"},
    "no name of a queue": {"queue": "a b"},
    "priority": {"priority": 500},
    "level": {"priority": "urgent"},
}


@pytest.mark.django_db
@pytest.mark.usefixtures("two_queues")
@pytest.mark.parametrize("fields", IMPOSSIBLE.values(), ids=IMPOSSIBLE)
def test_what_cannot_work_is_never_stored(fields: dict[str, Any]):
    row = due_row(name="sound")

    with pytest.raises(InvalidSchedule, match="schedule 'new', "):
        due_row(name="new", **fields)
    for name, value in fields.items():
        setattr(row, name, value)
    with pytest.raises(InvalidSchedule):
        row.save()
    with pytest.raises(InvalidSchedule):
        row.save(update_fields=[*fields])
    with pytest.raises(ValidationError):
        row.full_clean()

    stored = Schedule.objects.get()
    assert all(getattr(stored, name) != value for name, value in fields.items())


@pytest.mark.django_db
def test_what_is_not_written_is_not_looked_at():
    row = due_row()
    row.cron = "bogus"

    row.save(update_fields=["name", "queue"])
    Schedule.objects.only("name").get().save()

    assert Schedule.objects.get().cron == ""


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"cron": "bogus", "interval": None},
        {"timezone": "Mars/X"},
        {"queue": "a b"},
        {"priority": 500},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_a_row_that_is_wrong_already_is_switched_off_and_deleted(
    fields: dict[str, Any],
):
    row = spoilt_row(**fields)

    row.enabled = False
    row.save()
    assert not Schedule.objects.get().enabled

    row.enabled = True
    with pytest.raises(InvalidSchedule):
        row.save()
    with pytest.raises(InvalidSchedule):
        row.save(update_fields=["enabled"])
    row.delete()
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_a_level_is_stored_as_its_number():
    row = due_row(priority="high")
    assert row.priority == 25

    row.priority = "low"  # type: ignore[assignment]
    row.full_clean()
    assert row.priority == -50


# Firing


@pytest.mark.django_db
def test_a_due_schedule_fires_once_for_its_latest_slot():
    row = due_row()

    (fired,) = fire_due(USING, POLICIES)

    job = Job.objects.get()
    row.refresh_from_db()
    assert row.anchor_at is not None
    assert (fired.schedule, fired.job_id) == ("minutely", job.id)
    assert fired.slot == job.slot == row.anchor_at + 2 * MINUTE
    assert fired.lane == Lane("default", 0)
    assert (job.schedule_id, job.status) == (row.pk, JobStatus.READY)
    assert row.next_fire_at == row.anchor_at + 3 * MINUTE
    assert row.last_job == job.id
    assert row.last_fire_at is not None


@pytest.mark.django_db
def test_nothing_fires_twice():
    due_row()
    fire_due(USING, POLICIES)

    assert fire_due(USING, POLICIES) == []
    assert Job.objects.count() == 1


@pytest.mark.django_db
def test_the_job_carries_the_policy_of_its_task():
    due_row(task="schedules:old_report", kwargs={"kind": "weekly"})

    fire_due(USING, POLICIES)

    job = Job.objects.get()
    assert (job.task, job.queue, job.priority) == ("schedules:report", "reports", 7)
    assert (job.max_attempts, job.timeout, job.on_crash) == (4, 9.5, "fail")
    assert (job.tags, job.metadata) == (["nightly"], {"team": "blue"})
    assert job.kwargs == {"kind": "weekly"}
    assert job.expires_at is not None
    lifetime = (job.expires_at - job.enqueued_at).total_seconds()
    assert lifetime == pytest.approx(60, abs=1)


@pytest.mark.django_db
def test_an_absolute_deadline_is_kept():
    moment = datetime(2040, 1, 1, tzinfo=UTC)
    due_row(task="schedules:report")

    fire_due(USING, policies_of([report.using(expires=moment)]))

    assert Job.objects.get().expires_at == moment


@pytest.mark.django_db
def test_the_rows_own_queue_and_priority_win():
    due_row(task="schedules:report", queue="slow", priority=-3)

    (fired,) = fire_due(USING, POLICIES)

    assert fired.lane == Lane("slow", -3)


@pytest.mark.django_db
def test_cron_fires_on_the_clock_of_its_zone():
    row = Schedule(
        name="nightly",
        task="schedules:plain",
        cron="30 2 * * *",
        timezone="Asia/Kolkata",
    )
    plan(row)
    row.save()
    assert row.next_fire_at is not None
    row.next_fire_at -= timedelta(days=3)
    row.save()

    (fired,) = fire_due(USING, POLICIES)

    assert (fired.slot.hour, fired.slot.minute) == (21, 0)
    assert now() - fired.slot < timedelta(days=1)


@pytest.mark.django_db
def test_what_is_not_due_or_switched_off_does_not_fire():
    due_row(name="later", next_fire_at=now() + MINUTE)
    due_row(name="off", enabled=False)

    assert fire_due(USING, POLICIES) == []


@pytest.mark.django_db
def test_at_most_limit_schedules_fire_the_longest_due_first():
    for number in range(3):
        row = due_row(name=f"s{number}")
        anchor = now() - timedelta(minutes=10 - number)
        Schedule.objects.filter(pk=row.pk).update(
            anchor_at=anchor, next_fire_at=anchor + MINUTE
        )

    assert [f.schedule for f in fire_due(USING, POLICIES, limit=2)] == ["s0", "s1"]
    assert [f.schedule for f in fire_due(USING, POLICIES, limit=2)] == ["s2"]


@pytest.mark.django_db
def test_a_row_made_by_hand_is_planned_before_it_fires():
    row = due_row(anchor_at=None, next_fire_at=None)

    assert fire_due(USING, POLICIES) == []

    row.refresh_from_db()
    assert row.next_fire_at is not None
    assert row.next_fire_at > now()
    assert row.enabled


@pytest.mark.django_db
def test_a_timing_changed_behind_our_back_moves_the_schedule_without_a_run():
    row = due_row()
    Schedule.objects.update(cron="0 0 1 1 *", interval=None, timezone="UTC")

    assert fire_due(USING, POLICIES) == []

    row.refresh_from_db()
    assert row.next_fire_at is not None
    assert (row.next_fire_at.month, row.next_fire_at.day) == (1, 1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"task": "schedules:gone"}, f"{UNKNOWN_TASK}: schedules:gone"),
        ({"interval": None, "cron": "61 * * * *"}, f"{CANNOT_FIRE}: '61"),
        ({"interval": None, "cron": "@daily", "timezone": "Mars/X"}, CANNOT_FIRE),
        ({"args": {"not": "a list"}}, f"{CANNOT_FIRE}: arguments are a list"),
        ({"queue": "no queue"}, f"{CANNOT_FIRE}: 'no queue'"),
        ({"priority": 1000}, f"{CANNOT_FIRE}: priority"),
    ],
)
def test_a_poisoned_schedule_is_switched_off_and_the_others_go_on(
    fields: dict[str, Any], reason: str
):
    poisoned = spoilt_row(**fields)
    due_row(name="sound")

    fired = fire_due(USING, POLICIES)

    poisoned.refresh_from_db()
    assert [f.schedule for f in fired] == ["sound"]
    assert not poisoned.enabled
    assert poisoned.disabled_reason.startswith(reason)


@pytest.mark.django_db
@pytest.mark.usefixtures("two_queues")
@pytest.mark.parametrize(
    "fields",
    [{"queue": "bulk"}, {"task": "schedules:report"}],
    ids=["its own", "its task's"],
)
def test_a_queue_that_the_backend_does_not_take_switches_a_schedule_off(
    fields: dict[str, Any],
):
    row = spoilt_row(**fields)
    due_row(name="sound", queue="emails")

    assert [f.schedule for f in fire_due(USING, POLICIES)] == ["sound"]

    row.refresh_from_db()
    assert not row.enabled
    assert "is not among the QUEUES of TASKS['default']" in row.disabled_reason


@pytest.mark.django_db
def test_an_unplanned_row_with_an_impossible_timing_is_switched_off():
    row = spoilt_row(interval=None, cron="nonsense", next_fire_at=None)

    fire_due(USING, POLICIES)

    row.refresh_from_db()
    assert (row.enabled, row.disabled_reason[:11]) == (False, CANNOT_FIRE)


@pytest.mark.django_db
def test_a_job_the_database_refuses_switches_its_schedule_off():
    row = due_row()
    policies = {
        "schedules:plain": {**POLICIES["schedules:plain"], "max_attempts": None}
    }

    assert fire_due(USING, policies) == []

    row.refresh_from_db()
    assert (row.enabled, row.disabled_reason[:11]) == (False, CANNOT_FIRE)


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_job_that_a_trigger_refuses_switches_its_schedule_off_and_no_other():
    refused = due_row(queue="refused")
    due_row(name="another", interval=61.0)
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION tests_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF new.queue = 'refused' THEN RAISE EXCEPTION 'no'; END IF;
                    RETURN new;
                END $$;
            CREATE TRIGGER tests_refuse BEFORE INSERT ON django_workers_job
                FOR EACH ROW EXECUTE FUNCTION tests_refuse();
            """
        )
    try:
        fired = fire_due(USING, POLICIES)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER tests_refuse ON django_workers_job")
            cursor.execute("DROP FUNCTION tests_refuse")

    assert [each.schedule for each in fired] == ["another"]
    refused.refresh_from_db()
    assert (refused.enabled, refused.disabled_reason[:11]) == (False, CANNOT_FIRE)


@pytest.mark.django_db
def test_a_task_that_only_another_worker_knows_is_left_to_it():
    row = due_row(task="theirs")
    living_worker("theirs")

    assert fire_due(USING, POLICIES) == []

    row.refresh_from_db()
    assert row.enabled
    assert seconds_until_next(USING) == pytest.approx(1.0)


@pytest.mark.django_db
def test_any_number_of_other_workers_schedules_keep_none_of_ours_waiting():
    for number in range(5):
        due_row(name=f"theirs {number}", task="theirs")
    due_row(name="ours", interval=61.0)
    living_worker("theirs")

    assert [f.schedule for f in fire_due(USING, POLICIES, limit=3)] == ["ours"]
    assert Schedule.objects.filter(enabled=True).count() == 6


@pytest.mark.django_db
def test_a_slot_that_has_its_job_is_passed_over_in_silence():
    row = due_row()
    fire_due(USING, POLICIES)
    # As after a restored backup, or two planners that disagreed for a moment.
    slot = Job.objects.get().slot
    Schedule.objects.update(next_fire_at=slot)

    assert fire_due(USING, POLICIES) == []

    row.refresh_from_db()
    assert Job.objects.count() == 1
    assert row.enabled
    assert row.next_fire_at is not None
    assert row.next_fire_at > now()


@pytest.mark.django_db
def test_a_timing_without_a_further_moment_ends(monkeypatch: pytest.MonkeyPatch):
    row = due_row()
    monkeypatch.setattr(Every, "next_after", lambda *a, **k: None)

    assert len(fire_due(USING, POLICIES)) == 1

    row.refresh_from_db()
    assert (row.enabled, row.disabled_reason) == (False, ENDED)


@pytest.mark.django_db
def test_a_timing_that_never_had_a_moment_ends(monkeypatch: pytest.MonkeyPatch):
    row = due_row(next_fire_at=None)
    monkeypatch.setattr(Every, "next_after", lambda *a, **k: None)

    assert fire_due(USING, POLICIES) == []

    row.refresh_from_db()
    assert (row.enabled, row.disabled_reason) == (False, ENDED)


@pytest.mark.django_db
def test_another_host_that_was_faster_is_a_normal_answer(
    monkeypatch: pytest.MonkeyPatch,
):
    due_row()

    def faster(policies: Any, name: str) -> Any:
        Schedule.objects.update(next_fire_at=now() + MINUTE)
        return POLICIES[name]

    policies = type("Policies", (dict,), {"get": faster})()

    assert fire_due(USING, policies) == []
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_many_hosts_fire_a_slot_once():
    due_row()
    start = threading.Barrier(4)
    fired: list[Any] = []

    def host() -> None:
        try:
            start.wait(10)
            fired.extend(fire_due(USING, POLICIES))
        finally:
            connections[USING].close()

    hosts = [threading.Thread(target=host) for _ in range(4)]
    for thread in hosts:
        thread.start()
    for thread in hosts:
        thread.join(20)

    assert len(fired) == 1
    assert Job.objects.count() == 1


# Rows that somebody holds


@contextmanager
def in_an_open_transaction(do: Callable[[], Any]) -> Iterator[threading.Thread]:
    """Let another connection do something, and commit it at the end of the block.

    Its thread lives as long as its transaction is open: ten seconds at most.
    """
    done, release = threading.Event(), threading.Event()

    def transact() -> None:
        try:
            with transaction.atomic():
                do()
                done.set()
                release.wait(10)
        finally:
            connections[USING].close()

    other = threading.Thread(target=transact)
    other.start()
    try:
        assert done.wait(10)
        yield other
    finally:
        release.set()
        other.join(20)


def held(row: Schedule) -> AbstractContextManager[threading.Thread]:
    """Hold a row as an admin's save does, whose request has not ended."""
    rows = Schedule.objects.filter(pk=row.pk)
    return in_an_open_transaction(lambda: rows.update(disabled_reason=""))


@pytest.mark.postgresql
@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_a_row_that_somebody_holds_stops_no_other_and_fires_once_it_is_free():
    row = due_row(name="held", next_fire_at=now() - timedelta(hours=1))
    due_row(name="free")

    with held(row):
        assert [f.schedule for f in fire_due(USING, POLICIES)] == ["free"]
        assert fire_due(USING, POLICIES) == []
        # Looked at again soon, not at its next slot.
        assert seconds_until_next(USING) == 1.0

    assert [f.schedule for f in fire_due(USING, POLICIES)] == ["held"]
    assert fire_due(USING, POLICIES) == []
    assert Job.objects.filter(schedule=row).count() == 1


@pytest.mark.postgresql
@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    ("fields", "becomes"),
    [
        ({"next_fire_at": None}, True),  # made by hand: it is planned
        ({"task": "schedules:gone"}, False),  # it cannot fire: it is switched off
    ],
)
def test_what_else_is_written_waits_for_nobody_either(
    fields: dict[str, Any], becomes: bool
):
    row = due_row(name="held", **fields)

    with held(row):
        assert fire_due(USING, POLICIES) == []
        row.refresh_from_db()
        assert (row.next_fire_at is None, row.enabled) == (
            "next_fire_at" in fields,
            True,
        )

    assert fire_due(USING, POLICIES) == []
    row.refresh_from_db()
    assert row.next_fire_at is not None
    assert row.enabled is becomes


@pytest.mark.postgresql
@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_run_now_in_an_open_transaction_holds_up_no_slot():
    row = due_row()

    with in_an_open_transaction(lambda: run_now(Schedule.objects.get())):
        (fired,) = fire_due(USING, POLICIES)
        row.refresh_from_db()
        assert row.last_job == fired.job_id

    row.refresh_from_db()
    by_hand = Job.objects.get(schedule=row, slot=None)
    assert row.last_job == by_hand.id


@pytest.mark.postgresql
@pytest.mark.mariadb
@pytest.mark.django_db(transaction=True)
def test_run_now_waits_for_no_row_that_somebody_holds():
    row = due_row()

    with held(row) as holder:
        job_id = run_now(row)
        assert holder.is_alive()

    assert Job.objects.get().pk == UUID(job_id)


# When to look again


@pytest.mark.django_db
def test_without_an_enabled_schedule_there_is_nothing_to_wait_for():
    due_row(enabled=False)

    assert seconds_until_next(USING) is None


@pytest.mark.django_db
def test_the_wait_is_the_time_to_the_nearest_slot():
    for name, seconds in (("far", 500), ("near", 100)):
        moment = now() + timedelta(seconds=seconds)
        due_row(name=name, next_fire_at=moment)

    assert seconds_until_next(USING) == pytest.approx(100, abs=5)


@pytest.mark.django_db
def test_the_next_fires_are_a_preview():
    row = due_row()
    assert row.anchor_at is not None

    assert next_fires(row, 3, after=row.anchor_at) == [
        row.anchor_at + n * MINUTE for n in (1, 2, 3)
    ]
    assert next_fires(row, 1)[0] > now()
    assert len(next_fires(row, 10**9)) == 1_000


@pytest.mark.django_db
def test_a_preview_ends_where_the_timing_does(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Every, "next_after", lambda *a, **k: None)

    assert next_fires(due_row(), 3) == []


@pytest.mark.django_db
def test_an_impossible_timing_cannot_be_planned():
    with pytest.raises(InvalidSchedule):
        plan(Schedule(name="x", task="schedules:plain", cron="61 * * * *"))


# Run now


@pytest.mark.django_db
def test_run_now_makes_a_job_beside_the_slots(
    django_capture_on_commit_callbacks: Any,
):
    row = due_row(
        task="schedules:report", args=["now"], queue="slow", priority=3, enabled=False
    )
    due = row.next_fire_at

    with django_capture_on_commit_callbacks(execute=True):
        job_id = run_now(row, by="ann")

    job = Job.objects.get(id=job_id)
    row.refresh_from_db()
    assert (job.schedule_id, job.slot) == (row.pk, None)
    assert (job.queue, job.priority, job.args) == ("slow", 3, ["now"])
    assert job.metadata == {"team": "blue", "triggered_by": "ann"}
    assert (str(row.last_job), row.next_fire_at) == (job_id, due)


@pytest.mark.django_db
def test_run_now_has_worked_though_its_note_cannot_be_written(
    django_capture_on_commit_callbacks: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
):
    def lost(*args: Any, **kwargs: Any) -> None:
        raise DatabaseError("the connection is gone")

    row = due_row()
    monkeypatch.setattr(QuerySet, "update", lost)

    with django_capture_on_commit_callbacks(execute=True):
        job_id = run_now(row)

    assert Job.objects.get().pk == UUID(job_id)
    assert "its last run is not noted" in caplog.text


@pytest.mark.django_db
def test_run_now_of_an_unknown_task_says_so():
    with pytest.raises(UnknownTask):
        run_now(due_row(task="schedules:gone"))


@pytest.mark.django_db
def test_run_now_works_under_a_backend_of_djangos(settings: Any):
    path = f"{TASKS_APP}.backends.dummy.DummyBackend"
    settings.TASKS = {"default": {"BACKEND": path, "QUEUES": []}}
    row = due_row()

    assert run_now(row)
    assert not Job.objects.exists()

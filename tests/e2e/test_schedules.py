"""Schedules and real workers: each slot runs once, whoever looks at the clock."""

import json
from datetime import datetime
from itertools import pairwise

import pytest

from django_workers import control
from django_workers.models import Job, JobStatus, Schedule
from tests.e2e.jobs import lines, settings_of
from tests.support import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


def done() -> list[Job]:
    return list(Job.objects.successful().filter(slot__isnull=False).order_by("slot"))


def test_two_workers_run_each_slot_of_a_schedule_once(run_worker):
    schedule = Schedule.objects.create(
        name="every second", task="tests.tasks.noop", interval=1
    )

    with run_worker(), run_worker():
        jobs = wait_until(
            lambda: len(found := done()) >= 3 and found,
            deadline=20,
            message="the schedule did not fire three times",
        )

    slots = [job.slot for job in jobs]
    assert len(set(slots)) == len(slots)
    assert {job.schedule_id for job in jobs} == {schedule.pk}
    gaps = [(after - before).total_seconds() for before, after in pairwise(slots)]
    assert all(gap >= 1 and gap.is_integer() for gap in gaps)


def test_a_schedule_made_enabled_and_run_from_outside_reaches_a_worker(run_worker):
    Schedule.objects.create(
        name="switch", task="tests.tasks.noop", interval=1, enabled=False
    )

    with run_worker():
        by_hand = control.run_schedule("switch", by="ann")
        wait_until(
            lambda: Job.objects.get(id=by_hand).status == JobStatus.SUCCESSFUL,
            message="the job made by hand did not run",
        )
        assert done() == []

        control.enable_schedule("switch")
        wait_until(done, message="the schedule did not fire once it was enabled")


def test_the_job_of_a_slot_is_told_like_any_other_and_then_that_it_fired(
    run_worker, tmp_path
):
    ledger = tmp_path / "ledger"
    env = {
        **settings_of(AUTODISCOVER=["tasks", "tests.e2e.receivers"]),
        "TESTS_SIGNALS": str(ledger),
    }
    schedule = Schedule.objects.create(name="s", task="tests.tasks.noop", interval=1)

    def told() -> list[dict]:
        names = ("task_enqueued", "job_created", "schedule_fired")
        pages = [json.loads(line) for line in lines(ledger)]
        return [page for page in pages if page["signal"] in names]

    with run_worker(env=env):
        wait_until(lambda: len(told()) >= 3, message="no schedule_fired was received")

    enqueued, created, fired = told()[:3]
    job = Job.objects.get(id=fired["job_id"])
    assert enqueued["signal"] == "task_enqueued"
    assert enqueued["keywords"] == ["task_result"]
    assert enqueued["task_result"][0] == str(job.id)
    assert created["signal"] == "job_created"
    assert created["keywords"] == ["job"]
    assert created["job"] == enqueued["task_result"]
    assert enqueued["sender"] == created["sender"] == "DatabaseBackend"
    assert fired["signal"] == "schedule_fired"
    assert fired["sender"] == "Schedule"
    assert fired["keywords"] == ["job_id", "schedule", "slot"]
    assert fired["schedule"] == schedule.name
    assert datetime.fromisoformat(fired["slot"]) == job.slot
    assert {page["pid"] for page in (enqueued, created, fired)} == {enqueued["pid"]}

"""Schedules and real workers: each slot runs once, whoever looks at the clock."""

from itertools import pairwise

import pytest

from django_workers import control
from django_workers.models import Job, JobStatus, Schedule
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

"""The CHECK constraints refuse rows whose status contradicts the rest of them."""

from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from django_workers.ids import uuid7
from django_workers.models import FINISHED, UNFINISHED, Job, JobStatus, Schedule
from tests.contracts.jobs import PAST

pytestmark = pytest.mark.django_db


def sound(status, **changes):
    """Return a row that is allowed, with changes."""
    finished = status in FINISHED
    values = {
        "id": uuid7(),
        "task": "tests.tasks.noop",
        "status": status,
        "position": 1,
        "run_after": PAST,
        "enqueued_at": PAST,
        "finished_at": PAST if finished else None,
        "session": uuid4() if status == JobStatus.RUNNING else None,
    }
    return Job(**values | changes)


def is_refused(job):
    try:
        with transaction.atomic():
            job.save(force_insert=True)
    except IntegrityError:
        return True
    return False


@pytest.mark.parametrize("status", JobStatus)
def test_a_sound_row_is_stored(status):
    assert not is_refused(sound(status))


@pytest.mark.parametrize("status", ["", "done", "pending", "running-"])
def test_an_unknown_status_is_refused(status):
    assert is_refused(sound(status, session=None))


@pytest.mark.parametrize("status", JobStatus)
def test_a_job_has_a_holder_just_while_it_runs(status):
    wrong = None if status == JobStatus.RUNNING else uuid4()

    assert is_refused(sound(status, session=wrong))


@pytest.mark.parametrize("status", FINISHED)
def test_a_finished_job_has_an_end(status):
    assert is_refused(sound(status, finished_at=None))


@pytest.mark.parametrize("status", UNFINISHED)
def test_an_unfinished_job_has_none(status):
    assert is_refused(sound(status, finished_at=PAST))


@pytest.mark.parametrize("status", JobStatus)
def test_only_a_scheduled_job_needs_a_due_time(status):
    refused = is_refused(sound(status, run_after=None))

    assert refused == (status == JobStatus.SCHEDULED)


@pytest.mark.parametrize("status", JobStatus)
def test_only_a_ready_job_needs_a_place(status):
    refused = is_refused(sound(status, position=None))

    assert refused == (status == JobStatus.READY)


@pytest.mark.parametrize("status", JobStatus)
def test_a_row_is_not_updated_into_a_contradiction(status):
    job = sound(status)
    job.save(force_insert=True)
    rows = Job.objects.filter(id=job.id)
    other = JobStatus.READY if status == JobStatus.RUNNING else JobStatus.RUNNING

    with pytest.raises(IntegrityError), transaction.atomic():
        rows.update(status=other)

    assert rows.get().status == status


def test_a_schedule_fires_a_slot_once():
    schedule = Schedule.objects.create(name="s", task="tests.tasks.noop", interval=60)
    sound("ready", schedule=schedule, slot=PAST).save(force_insert=True)

    assert is_refused(sound("ready", schedule=schedule, slot=PAST))
    assert not is_refused(sound("ready", schedule=schedule, slot=None))
    assert not is_refused(sound("ready", schedule=schedule, slot=None))
    later = PAST + timedelta(seconds=60)
    assert not is_refused(sound("ready", schedule=schedule, slot=later))

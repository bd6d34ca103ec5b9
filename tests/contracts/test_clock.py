"""Only the database's clock decides, and every instant is UTC."""

import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from django_workers.dialect import DatabaseNow, DatabaseNowPlus, NextPosition
from django_workers.models import Job
from tests import tasks
from tests.contracts.jobs import (
    as_uuids,
    claim,
    claim_one,
    fail,
    new_job,
    retry,
    row,
    store,
    succeed,
)

pytestmark = pytest.mark.django_db

# Far from UTC, with a quarter of an hour that nobody expects.
KATHMANDU = "Asia/Kathmandu"


@pytest.fixture(params=["site", "database"])
def elsewhere(request, settings, monkeypatch):
    """Move the site, or this connection to the database, into another time zone."""
    if request.param == "site":
        settings.TIME_ZONE = KATHMANDU
        yield
    elif connection.vendor == "postgresql":
        # A zone of its own in DATABASES, or one that the role or the server has.
        monkeypatch.setitem(connection.settings_dict, "TIME_ZONE", KATHMANDU)
        _read_zone_again()
        yield
        monkeypatch.undo()
        _read_zone_again()
    elif connection.vendor == "mysql":
        # Django leaves the zone to the server.
        with connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+05:45'")
            yield
            cursor.execute("SET time_zone = DEFAULT")
    else:
        yield  # SQLite has none


def _read_zone_again():
    for name in ("timezone", "timezone_name"):
        connection.__dict__.pop(name, None)
    connection.ensure_timezone()


@pytest.fixture(params=[-3_600, 3_600], ids=["slow", "fast"])
def wrong_clock(request, monkeypatch):
    """Let the clock of this host go wrong by an hour; the database's does not."""
    now, seconds = timezone.now, time.time
    shift = request.param
    monkeypatch.setattr(timezone, "now", lambda: now() + timedelta(seconds=shift))
    monkeypatch.setattr(time, "time", lambda: seconds() + shift)


def is_now(moment):
    """Whether an instant is this machine's now: the database runs on it too."""
    return abs(datetime.now(UTC) - moment) < timedelta(seconds=5)


def is_now_in_seconds(seconds):
    return is_now(datetime.fromtimestamp(seconds, UTC))


def test_the_databases_clock_is_utc(broker, elsewhere):
    assert broker.now().tzinfo == UTC
    assert is_now(broker.now())


def test_every_instant_of_a_job_is_utc(broker, elsewhere):
    session = uuid4()
    enqueued = tasks.noop.enqueue().enqueued_at
    (job,) = claim(broker, session=session)
    ending = fail(job)
    broker.fail(session, [ending])

    stored = row(job.id)
    assert is_now(enqueued)
    assert is_now_in_seconds(job.enqueued_at)
    assert is_now_in_seconds(job.started_at)
    assert is_now_in_seconds(job.claimed_at)
    for name in ("enqueued_at", "started_at", "last_attempted_at", "finished_at"):
        assert is_now(getattr(stored, name)), name
    attempt = stored.attempt_set.get()
    assert is_now(attempt.started_at)
    assert is_now(attempt.finished_at)


def test_the_instants_a_claim_returns_are_those_stored(broker, elsewhere):
    moment = datetime(2030, 6, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    (job_id,) = store(broker, expires_at=moment, retry_until=moment)
    Job.objects.filter(id=job_id).update(run_after=moment)

    (job,) = claim(broker)

    stored = row(job_id)
    assert stored.expires_at == stored.retry_until == stored.run_after == moment
    assert job.run_after == pytest.approx(moment.timestamp(), abs=1e-3)
    assert job.retry_until == pytest.approx(moment.timestamp(), abs=1e-3)
    assert job.enqueued_at == pytest.approx(stored.enqueued_at.timestamp(), abs=1e-3)
    assert job.started_at == pytest.approx(stored.started_at.timestamp(), abs=1e-3)


def test_a_delay_counts_from_the_databases_now(broker, elsewhere):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=2)

    broker.retry(session, [retry(job, delay=3_600.0)])

    assert is_now(row(job.id).run_after - timedelta(hours=1))
    assert broker.promote().next_due == pytest.approx(3_600, abs=5)


def test_what_is_due_is_due_in_every_zone(broker, elsewhere):
    (due,) = store(broker, run_after=broker.now() - timedelta(seconds=1))
    (waiting,) = store(broker, run_after=broker.now() + timedelta(seconds=60))

    promotion = broker.promote()

    assert promotion.count == 1
    assert promotion.next_due == pytest.approx(60, abs=5)
    assert [row(due).status, row(waiting).status] == ["ready", "scheduled"]


def test_an_expiry_is_judged_alike_in_every_zone(broker, elsewhere):
    (early,) = store(broker, expires_at=broker.now() + timedelta(seconds=60))
    (late,) = store(broker, expires_at=broker.now() - timedelta(seconds=1))

    expired = {job.id: job.expired for job in claim(broker)}

    assert expired == {early: False, late: True}


# A host whose clock is wrong


def test_a_job_that_expires_soon_is_not_dropped_by_a_wrong_clock(broker, wrong_clock):
    result = tasks.noop.using(expires=30).enqueue()

    (job,) = claim(broker)

    assert job.id == result.id
    assert not job.expired
    assert is_now(row(job.id).expires_at - timedelta(seconds=30))


def test_a_job_that_has_expired_is_found_out_whatever_the_clock(broker, wrong_clock):
    tasks.noop.using(expires=0).enqueue()

    (job,) = claim(broker)

    assert job.expired


def test_a_delay_of_a_call_counts_by_the_databases_clock(broker, wrong_clock):
    due = tasks.noop.using(run_after=timedelta(seconds=-1)).enqueue()
    later = tasks.noop.using(run_after=timedelta(seconds=600)).enqueue()
    tasks.noop.using(run_after=timedelta(0)).enqueue()

    promotion = broker.promote()

    assert promotion.count == 2
    assert promotion.next_due == pytest.approx(600, abs=5)
    assert row(due.id).status == "ready"
    assert (due.job_status, later.job_status) == ("scheduled", "scheduled")


def test_time_for_retries_counts_by_the_databases_clock(broker, wrong_clock):
    result = tasks.noop.using(retry_until=timedelta(minutes=10)).enqueue()

    assert is_now(row(result.id).retry_until - timedelta(minutes=10))


def test_a_moment_that_is_given_is_stored_as_it_is(broker, wrong_clock):
    moment = datetime(2030, 6, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    call = tasks.noop.using(run_after=moment, expires=moment, retry_until=moment)

    stored = row(call.enqueue().id)

    assert stored.run_after == stored.expires_at == stored.retry_until == moment


def test_delays_and_moments_of_one_batch_keep_apart(broker):
    moment = datetime(2030, 6, 1, tzinfo=UTC)
    jobs = [
        new_job(run_after=run_after, expires_at=expires_at)
        for run_after in (None, moment, 60.0)
        for expires_at in (3_600.0, None, moment)
    ]

    broker.enqueue(jobs)

    for job in jobs:
        stored = row(str(job.id))
        assert stored.status == ("ready" if job.run_after is None else "scheduled")
        for given, name in (
            (job.run_after, "run_after"),
            (job.expires_at, "expires_at"),
        ):
            found = getattr(stored, name)
            if isinstance(given, float):
                assert is_now(found - timedelta(seconds=given))
            else:
                assert found == given


def test_age_is_counted_alike_in_every_zone(broker, elsewhere):
    session = uuid4()
    job = claim_one(broker, session)
    broker.succeed(session, [succeed(job)])
    Job.objects.update(finished_at=broker.now() - timedelta(hours=2))

    older = timedelta(hours=2, minutes=10)
    assert broker.prune(status="successful", older_than=older) == 0
    assert broker.prune(status="successful", older_than=timedelta(hours=1)) == 1


def test_people_see_the_databases_now(broker, elsewhere):
    ids = as_uuids(store(broker, run_after=broker.now() + timedelta(days=1)))
    broker.hasten(ids)

    assert is_now(Job.objects.get().run_after)

    broker.cancel(ids)

    assert is_now(Job.objects.get().finished_at)


def test_the_expressions_read_the_clock_in_queries_too(broker, elsewhere):
    store(broker)

    now, later, place = Job.objects.values_list(
        DatabaseNow(), DatabaseNowPlus(3_600.0), NextPosition()
    ).get()

    assert is_now(now)
    assert is_now(later - timedelta(hours=1))
    assert place >= Job.objects.get().position


def test_places_of_later_calls_are_later(broker, elsewhere):
    (first,) = store(broker)
    (second,) = store(broker)

    assert row(first).position <= row(second).position

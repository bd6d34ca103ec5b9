"""What the SQL words of each database promise: the clock, positions, ties, upserts."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from django_workers.brokers import Ending, broker_for
from django_workers.dialect import (
    DIALECTS,
    DatabaseNow,
    DatabaseNowPlus,
    NextPosition,
    database_now,
    datetime_value,
    dialect_of,
    uuid_value,
)
from django_workers.models import Job, Rollup
from tests.contracts.jobs import claim, let_time_pass, new_job, row, store
from tests.support import wait_until

pytestmark = pytest.mark.django_db

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# The finest step of the database's clock.
TICK = timedelta(milliseconds=1 if connection.vendor == "sqlite" else 0.001)


@pytest.fixture
def dialect():
    return dialect_of(connection)


def ask(*fragments: str, params: Any = ()) -> tuple[Any, ...]:
    """Read fragments in one statement, with a parameter as the product does."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(fragments)} WHERE %s = %s", [*params, 1, 1])
        return tuple(cursor.fetchone())


def moment(value: Any) -> datetime:
    """Read an instant as the driver returns it."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def is_close(one: datetime, other: datetime) -> bool:
    return abs(one - other) <= TICK


# The clock


def test_the_clock_is_utc_and_between_two_of_ours(dialect):
    before = datetime.now(UTC) - TICK
    (now,) = ask(dialect.clock)
    after = datetime.now(UTC) + TICK

    assert before <= moment(now) <= after


def test_the_clock_goes_on_within_a_transaction(dialect):
    with transaction.atomic():
        (first,) = ask(dialect.clock)
        wait_until(lambda: ask(dialect.clock) != (first,))
        (second,) = ask(dialect.clock)

    assert moment(first) < moment(second)


def test_one_statement_has_one_now(dialect):
    first, second, seconds, plus = ask(
        dialect.clock, dialect.clock, dialect.epoch, dialect.clock_plus, params=[0]
    )

    assert first == second
    assert moment(plus) == moment(first)
    assert is_close(EPOCH + timedelta(seconds=float(seconds)), moment(first))


@pytest.mark.parametrize(
    "seconds", [0, 1, -1, 0.25, -0.25, 86_400, -7 * 86_400.0, 1e9, 3_600.001]
)
def test_a_delay_of_any_size_is_added_to_the_clock(dialect, seconds):
    now, later = ask(dialect.clock, dialect.clock_plus, params=[seconds])

    assert is_close(moment(later), moment(now) + timedelta(seconds=seconds))


def test_a_minute_begins_at_its_second_zero(dialect):
    now, minute = ask(dialect.clock, dialect.minute)

    assert moment(minute) == moment(now).replace(second=0, microsecond=0)


def test_the_database_tells_the_time_in_utc():
    first, second = database_now(connection), database_now(connection)

    assert first.tzinfo == second.tzinfo == UTC
    assert first <= second


def test_the_expressions_mean_the_same_in_the_orm(dialect):
    (job_id,) = store(broker_for("default"))

    Job.objects.filter(id=job_id).update(
        started_at=DatabaseNow(),
        finished_at=None,
        run_after=DatabaseNowPlus(90.5),
        position=NextPosition(),
    )

    job = row(job_id)
    assert is_close(job.run_after, job.started_at + timedelta(seconds=90.5))
    assert job.started_at >= job.enqueued_at
    assert job.position > 0


# Positions


def test_positions_never_go_back(dialect):
    places = [ask(dialect.position)[0] for _ in range(50)]

    assert all(a <= b for a, b in pairwise(places))
    if dialect.counts_positions:
        assert all(a < b for a, b in pairwise(places))


@pytest.mark.sqlite
@pytest.mark.mariadb
def test_a_position_that_is_not_counted_is_the_clock_in_microseconds(dialect):
    place, now = ask(dialect.position, dialect.clock)

    assert not dialect.counts_positions
    assert is_close(EPOCH + timedelta(microseconds=place), moment(now))


def test_a_job_that_comes_later_has_a_later_place():
    broker = broker_for("default")
    (first,) = store(broker)
    let_time_pass(broker)
    (second,) = store(broker)

    assert row(first).position < row(second).position


def test_jobs_of_one_instant_go_by_their_ids(dialect):
    broker = broker_for("default")
    jobs = [new_job() for _ in range(20)]

    # The last first: only the ids can put them right.
    broker.enqueue(list(reversed(jobs)))

    places = [row(str(job.id)).position for job in jobs]
    order = [job.id for job in claim(broker)]
    if dialect.counts_positions:
        # Never a tie: as they stand in the statement.
        assert len(set(places)) == len(places)
        assert order == [str(job.id) for job in reversed(jobs)]
    else:
        assert len(set(places)) == 1
        assert order == [str(job.id) for job in jobs]


@pytest.mark.postgresql
def test_a_transaction_has_its_id_before_it_draws_a_position(dialect):
    with transaction.atomic():
        _, after = ask(dialect.position, "pg_current_xact_id_if_assigned() IS NOT NULL")
        assert after
    assert "PG_CURRENT_XACT_ID() IS NOT NULL THEN NEXTVAL" in dialect.position


# Values


def test_a_uuid_reads_back_from_text_and_from_itself():
    value = UUID("01890000-0000-7000-8000-000000000001")
    store(broker_for("default"), id=value)

    for given in (value, str(value), value.hex):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT COUNT(*) FROM django_workers_job WHERE id = %s",
                [uuid_value(connection, given)],
            )
            assert cursor.fetchone() == (1,)


def test_an_instant_keeps_its_moment_whatever_its_zone():
    instant = datetime(2030, 6, 1, 12, 30, 15, 250_000, tzinfo=UTC)
    (job_id,) = store(
        broker_for("default"),
        expires_at=instant.astimezone(timezone(timedelta(hours=5, minutes=45))),
    )

    assert row(job_id).expires_at == instant
    assert datetime_value(connection, None) is None


# Upserts


def test_an_upsert_adds_and_keeps_the_greater():
    broker = broker_for("default")
    for duration in (2.0, 5.0, 3.0):
        (job_id,) = store(broker, task="t")
        session = UUID(job_id)  # any will do
        (job,) = claim(broker, session=session)
        broker.settle(session, [Ending.succeed(job, result="1", duration=duration)])

    rows = list(Rollup.objects.all())

    assert sum(figure.count for figure in rows) == 3
    assert sum(figure.run_seconds for figure in rows) == pytest.approx(10.0)
    assert max(figure.run_max for figure in rows) == 5.0
    assert len(rows) <= 2  # a minute may have ended meanwhile


def test_an_unknown_database_is_spoken_to_as_postgresql():
    stranger: Any = SimpleNamespace(vendor="oracle")

    assert dialect_of(stranger) is DIALECTS["postgresql"]

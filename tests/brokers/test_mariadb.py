"""MariaDB and MySQL: what only they can get wrong."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from django.db import connection

from django_workers.brokers import broker_for
from tests.contracts.jobs import row, store

pytestmark = [pytest.mark.mariadb, pytest.mark.django_db]

# Where clocks are put back, the hour before that moment comes twice.
PUT_FORWARD = datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
PUT_BACK = datetime(2026, 10, 25, 1, 0, tzinfo=UTC)


@pytest.fixture
def in_berlin():
    """Give the session a zone with summer time, as a server may have."""
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO mysql.time_zone (Use_leap_seconds) VALUES ('N')")
        zone = cursor.lastrowid
        try:
            _describe_zone(cursor, zone)
            cursor.execute("SET time_zone = 'tests/Berlin'")
            yield
        finally:
            cursor.execute("SET time_zone = DEFAULT, TIMESTAMP = DEFAULT")
            for suffix in ("", "_name", "_transition_type", "_transition"):
                cursor.execute(
                    f"DELETE FROM mysql.time_zone{suffix} WHERE Time_zone_id = %s",
                    [zone],
                )


def _describe_zone(cursor, zone):
    for table, values in (
        ("name", ("tests/Berlin", zone)),
        ("transition_type", (zone, 0, 3_600, 0, "CET")),
        ("transition_type", (zone, 1, 7_200, 1, "CEST")),
        ("transition", (zone, int(PUT_FORWARD.timestamp()), 1)),
        ("transition", (zone, int(PUT_BACK.timestamp()), 0)),
    ):
        marks = ", ".join(["%s"] * len(values))
        cursor.execute(f"INSERT INTO mysql.time_zone_{table} VALUES ({marks})", values)


def set_clock(moment):
    with connection.cursor() as cursor:
        cursor.execute("SET TIMESTAMP = %s", [moment.timestamp()])


@pytest.mark.parametrize("minutes", [-90, -30, 30, 90])
def test_the_clock_is_right_where_the_servers_own_hour_comes_twice(in_berlin, minutes):
    moment = PUT_BACK + timedelta(minutes=minutes)
    set_clock(moment)

    assert broker_for("default").now() == moment


def test_places_go_on_where_the_servers_own_hour_comes_twice(in_berlin):
    broker = broker_for("default")
    ids = []
    for minutes in range(-120, 121, 10):
        set_clock(PUT_BACK + timedelta(minutes=minutes))
        ids += store(broker)

    places = [row(job_id).position for job_id in ids]

    assert [b - a for a, b in pairwise(places)] == [600_000_000] * 24
    assert row(ids[0]).enqueued_at == PUT_BACK - timedelta(minutes=120)

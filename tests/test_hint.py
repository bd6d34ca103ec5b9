"""The hint that no worker runs: under DEBUG, after the commit, not too often."""

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_workers.backend import hint
from django_workers.brokers import broker_for
from django_workers.models import Job, SessionState, WorkerSession
from tests import tasks

pytestmark = pytest.mark.django_db(transaction=True)

SAID = "No worker is running: python manage.py runworkers"
MINUTE = timedelta(minutes=1)


@pytest.fixture(autouse=True)
def _as_a_developer_does(settings: Any) -> Iterator[None]:
    settings.DEBUG = True
    hint._looked_at.clear()
    yield
    hint._looked_at.clear()


@pytest.fixture
def hints(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """Return what has been said so far."""
    caplog.set_level(logging.WARNING)

    def said() -> list[str]:
        records = [r for r in caplog.records if r.name == "django_workers.enqueue"]
        assert {record.levelname for record in records} <= {"WARNING"}
        return [record.getMessage() for record in records]

    return said


def add_worker(*, lease: timedelta, state: SessionState) -> None:
    moment = broker_for("default").now()
    WorkerSession.objects.create(
        worker_id="w",
        host="h",
        pid=1,
        version="1",
        state=state,
        started_at=moment,
        heartbeat_at=moment,
        lease_until=moment + lease,
    )


def test_whoever_enqueues_while_no_worker_is_alive_is_told(hints):
    tasks.noop.enqueue()

    assert hints() == [SAID]


@pytest.mark.parametrize(
    ("lease", "state", "said"),
    [
        (MINUTE, SessionState.RUNNING, []),
        (-MINUTE, SessionState.RUNNING, [SAID]),
        (MINUTE, SessionState.STOPPED, [SAID]),
    ],
    ids=["alive", "silent", "stopped"],
)
def test_only_a_living_worker_counts(hints, lease, state, said):
    add_worker(lease=lease, state=state)

    tasks.noop.enqueue()

    assert hints() == said


def test_it_is_said_once_a_minute_at_most(hints, monkeypatch):
    tasks.noop.enqueue()
    tasks.noop.enqueue_many([((), {})] * 3)
    assert hints() == [SAID]

    now = hint.time.monotonic()
    monkeypatch.setattr(hint.time, "monotonic", lambda: now + hint.LOOK_SECONDS)
    tasks.noop.enqueue()

    assert hints() == [SAID] * 2


def test_it_is_said_after_the_commit(hints):
    with transaction.atomic():
        tasks.noop.enqueue()
        assert hints() == []

    assert hints() == [SAID]


def test_what_is_taken_back_needs_no_worker(hints):
    with transaction.atomic():
        tasks.noop.enqueue()
        transaction.set_rollback(True)

    assert hints() == []
    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=False)
def test_a_test_inside_a_transaction_hears_nothing(hints):
    tasks.noop.enqueue()

    assert hints() == []


def test_a_transaction_by_hand_is_left_alone(hints):
    connection.set_autocommit(False)
    try:
        tasks.noop.enqueue()
        connection.commit()
    finally:
        connection.set_autocommit(True)

    assert hints() == []


def test_without_debug_nobody_asks(hints, settings):
    settings.DEBUG = False

    with CaptureQueriesContext(connection) as asked:
        tasks.noop.enqueue()

    assert hints() == []
    table = WorkerSession._meta.db_table
    assert not any(table in query["sql"] for query in asked.captured_queries)

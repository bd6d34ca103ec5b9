"""Hints that jobs are there: they come after the commit, and never in its way."""

from contextlib import contextmanager

import pytest
from django.db import connection, transaction

from django_workers import control
from django_workers.models import Job
from tests import tasks

pytestmark = [
    pytest.mark.mariadb,
    pytest.mark.postgresql,
    pytest.mark.sqlite,
    pytest.mark.django_db(transaction=True),
]


@contextmanager
def by_hand():
    """Switch autocommit off: the caller commits when it likes."""
    connection.set_autocommit(False)
    try:
        yield
    finally:
        connection.rollback()
        connection.set_autocommit(True)


def test_jobs_may_be_enqueued_and_cancelled_without_autocommit():
    with by_hand():
        result = tasks.noop.enqueue()
        tasks.noop.enqueue_many([((), {})] * 2)
        assert control.cancel(result.id) == {result.id: "cancelled"}
        assert control.retry(result.id) == {result.id: "retried"}
        transaction.commit()

    assert Job.objects.count() == 3


def test_what_is_not_committed_by_hand_is_not_there():
    with by_hand():
        tasks.noop.enqueue()

    assert not Job.objects.exists()

"""What is left of a task's connections for the next one."""

import logging

import pytest
from django.db import DatabaseError, connection

from django_workers.runtime import connections

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db(transaction=True)]


def killed() -> None:
    """Have the server end this connection, as in a restart."""
    with connection.cursor() as cursor, pytest.raises(DatabaseError):
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def test_a_connection_that_was_lost_is_closed_and_nobody_is_blamed(
    caplog: pytest.LogCaptureFixture,
):
    killed()

    with caplog.at_level(logging.WARNING):
        connections.after_job()

    assert connection.connection is None
    assert "left a transaction open" not in caplog.text


@pytest.mark.parametrize("fails", [False, True], ids=["open", "failed"])
def test_a_transaction_django_does_not_know_of_is_rolled_back(
    caplog: pytest.LogCaptureFixture, fails: bool
):
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
        if fails:
            with pytest.raises(DatabaseError):
                cursor.execute("SELECT 1 / 0")

    connections.after_job()

    assert connection.connection is None
    assert "left a transaction open" in caplog.text

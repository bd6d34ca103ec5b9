"""Jobs that wait for a commit in another database than the queue's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import connections, transaction

from django_workers import enqueue_on_commit
from django_workers.models import Job
from tests.tasks import add, look_around, noop


@pytest.fixture
def data(
    django_db_setup: None, django_db_blocker: Any, tmp_path: Path
) -> Iterator[str]:
    """Return the alias of a database that holds no queue.

    Commits are real ones: Django's test cases know no alias that comes later.
    """
    connections.settings["data"] = {
        **connections["default"].settings_dict,
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(tmp_path / "data.sqlite3"),
        "OPTIONS": {},
    }
    with django_db_blocker.unblock():
        yield "data"
        Job.objects.all().delete()
        for alias in ("data", "default"):
            connections[alias].close()
    del connections["data"]
    del connections.settings["data"]


@pytest.mark.django_db(transaction=True)
def test_a_job_waits_for_the_commit_of_the_default_database():
    with transaction.atomic():
        enqueue_on_commit(noop)
        assert not Job.objects.exists()

    assert Job.objects.get().task == noop.key


def test_a_job_waits_for_the_commit_of_another_database(data: str):
    given = [1, 2]

    with transaction.atomic(using=data):
        enqueue_on_commit(
            "tests.tasks.add", given, using=data, queue="slow", priority="high"
        )
        given.append(3)
        with transaction.atomic():
            pass  # a commit of the default database is not the one
        assert not Job.objects.exists()

    job = Job.objects.get()
    assert (job.task, job.args, job.kwargs) == (add.key, [1, 2], {})
    assert (job.queue, job.priority) == ("slow", 25)


def test_a_job_of_a_transaction_that_is_rolled_back_is_not_enqueued(data: str):
    with transaction.atomic(using=data):
        enqueue_on_commit(noop, using=data)
        transaction.set_rollback(True, using=data)

    assert not Job.objects.exists()


def test_outside_a_transaction_a_job_is_enqueued_at_once(data: str):
    enqueue_on_commit(look_around, kwargs={"using": "its own"}, using=data)

    assert Job.objects.get().kwargs == {"using": "its own"}

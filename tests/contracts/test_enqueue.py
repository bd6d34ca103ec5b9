"""Enqueue: a plain insert in the caller's transaction, all or none."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, connection, transaction

from django_workers.models import Job, JobStatus
from tests import tasks
from tests.contracts.jobs import FAR, claim, new_job, rolled_back, row, store

pytestmark = pytest.mark.django_db


def test_a_job_without_a_due_time_is_ready_and_has_a_place(broker):
    (job_id,) = store(broker)

    job = row(job_id)
    assert job.status == JobStatus.READY
    assert job.position is not None
    assert (job.epoch, job.session, job.worker) == (0, None, "")
    assert (job.attempts, job.crashes, job.interruptions) == (0, 0, 0)
    assert (job.started_at, job.finished_at) == (None, None)


def test_a_job_with_a_due_time_is_scheduled_even_if_it_is_past(broker):
    moment = broker.now() - timedelta(days=1)

    (job_id,) = store(broker, run_after=moment)

    assert row(job_id).status == JobStatus.SCHEDULED
    assert row(job_id).run_after == moment
    assert claim(broker) == []


def test_everything_given_is_stored_and_claimed_as_it_was(broker):
    given = {
        "backend": "other",
        "task": "tests.tasks.add",
        "queue": "a:b.c-d",
        "priority": -100,
        "args": '[1,"zwei",null,{"é":[true,1.5,9223372036854775807]}]',
        "kwargs": '{"b":[]}',
        "max_attempts": 7,
        "timeout": 1.5,
        "on_crash": "fail",
        "expires_at": FAR,
        "retry_until": FAR,
        "tags": '["x","ÿ"]',
        "metadata": '{"tenant":{"id":3}}',
    }

    (job_id,) = store(broker, **given)

    job = row(job_id)
    assert job.args == [1, "zwei", None, {"é": [True, 1.5, 2**63 - 1]}]
    assert job.kwargs == {"b": []}
    assert job.tags == ["x", "ÿ"]
    assert job.metadata == {"tenant": {"id": 3}}
    (claimed,) = claim(broker)
    for name in ("backend", "task", "queue", "priority", "max_attempts", "timeout"):
        assert getattr(job, name) == getattr(claimed, name) == given[name]
    assert job.on_crash == claimed.on_crash == "fail"
    assert job.expires_at == job.retry_until == FAR
    assert claimed.retry_until == FAR.timestamp()
    assert not claimed.expired


def test_positions_follow_the_order_of_the_calls(broker):
    ids = [job_id for _ in range(5) for job_id in store(broker, 3)]

    assert [job.id for job in claim(broker)] == ids


def test_nothing_to_store_stores_nothing(broker):
    assert broker.enqueue([]) is not None

    assert not Job.objects.exists()


def test_a_rolled_back_savepoint_leaves_nothing(broker):
    with transaction.atomic():
        (kept,) = store(broker)
        with rolled_back():
            store(broker, 3)
        (after,) = store(broker)

    assert {str(job.id) for job in Job.objects.all()} == {kept, after}


def test_a_chunked_batch_in_a_rolled_back_savepoint_leaves_nothing(broker):
    with rolled_back():
        store(broker, 2_500)

    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_rolled_back_transaction_leaves_nothing():
    with rolled_back():
        tasks.noop.enqueue()
        tasks.noop.enqueue_many([((), {})] * 3)

    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_five_thousand_calls_are_stored_in_order():
    results = tasks.add.enqueue_many([((number, 1), {}) for number in range(5_000)])

    rows = Job.objects.order_by("position", "id").values_list("id", "args")
    assert [str(job_id) for job_id, _ in rows] == [result.id for result in results]
    assert [args for _, args in rows] == [[number, 1] for number in range(5_000)]
    assert set(Job.objects.values_list("status", flat=True)) == {"ready"}


@pytest.mark.django_db(transaction=True)
def test_one_refused_job_among_thousands_leaves_nothing(broker):
    jobs = [new_job() for _ in range(2_999)]

    with pytest.raises(DatabaseError):
        broker.enqueue([*jobs, new_job(id=jobs[0].id)])

    assert not Job.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_an_id_that_exists_is_refused_and_changes_nothing(broker):
    (job_id,) = store(broker, args="[1]")

    with pytest.raises(DatabaseError), transaction.atomic():
        broker.enqueue([new_job(id=job_id, args="[2]")])

    assert row(job_id).args == [1]


def test_enqueueing_takes_few_statements(broker, django_assert_max_num_queries):
    limit = connection.features.max_query_params

    with django_assert_max_num_queries(3):
        store(broker)
    with django_assert_max_num_queries(8 if not limit or limit > 17_000 else 60):
        store(broker, 1_000)

"""Cancel, requeue and their kin: what people may do to jobs from outside."""

from datetime import timedelta
from uuid import uuid4

import pytest

from django_workers.models import Attempt, Job, JobStatus
from tests.contracts.jobs import (
    FAR,
    NO_LUCK,
    as_uuids,
    cancel,
    claim,
    claim_one,
    fail,
    let_time_pass,
    park,
    release,
    row,
    snapshot,
    store,
    succeed,
)

pytestmark = pytest.mark.django_db


def one_of_each(broker):
    """Store a job in every status; return their ids by status."""
    session = uuid4()
    ids = {}
    for name, end in {
        "successful": succeed,
        "failed": fail,
        "cancelled": cancel,
        "blocked": park,
    }.items():
        job = claim_one(broker, session)
        broker.settle(session, [end(job)])
        ids[name] = job.id
    ids["running"] = claim_one(broker, session).id
    (ids["scheduled"],) = store(broker, run_after=FAR)
    (ids["ready"],) = store(broker)
    return ids


def answers(found, ids):
    """Turn answers by id into answers by the status a job had."""
    return {status: found[as_uuids([job_id])[0]] for status, job_id in ids.items()}


# Cancel


def test_cancel_says_what_happened_to_each(broker):
    ids = one_of_each(broker)

    found = broker.cancel(as_uuids(ids.values()), reason="enough")

    assert answers(found, ids) == {
        "successful": "finished first",
        "failed": "finished first",
        "cancelled": "finished first",
        "blocked": "cancelled",
        "running": "requested",
        "scheduled": "cancelled",
        "ready": "cancelled",
    }


@pytest.mark.parametrize("status", ["blocked", "scheduled", "ready"])
def test_a_waiting_job_ends_at_once(broker, status):
    job_id = one_of_each(broker)[status]

    broker.cancel(as_uuids([job_id]), reason="enough")

    job = row(job_id)
    assert job.status == JobStatus.CANCELLED
    assert job.reason == "enough"
    assert job.finished_at == job.cancel_requested_at
    assert broker.now() - job.finished_at < timedelta(seconds=60)
    assert job_id not in [claimed.id for claimed in claim(broker)]


@pytest.mark.parametrize("status", ["successful", "failed", "cancelled"])
def test_a_finished_job_stays_as_it_is(broker, status):
    job_id = one_of_each(broker)[status]
    before = snapshot(job_id)

    broker.cancel(as_uuids([job_id]), reason="too late")

    assert snapshot(job_id) == before


def test_the_holder_of_a_running_job_learns_of_the_request(broker):
    session = uuid4()
    job = claim_one(broker, session)
    untouched = claim_one(broker, session)

    broker.cancel(as_uuids([job.id]), reason="enough")

    assert broker.cancel_requests(session) == [(job.id, job.epoch, "enough")]
    assert broker.cancel_requests(uuid4()) == []
    assert row(job.id).status == JobStatus.RUNNING
    assert row(job.id).finished_at is None
    assert row(untouched.id).cancel_requested_at is None


def test_the_first_request_counts(broker):
    session = uuid4()
    job = claim_one(broker, session)
    broker.cancel(as_uuids([job.id]), reason="first")
    asked_at = row(job.id).cancel_requested_at

    assert broker.cancel(as_uuids([job.id]), reason="second") == {
        as_uuids([job.id])[0]: "requested"
    }

    assert row(job.id).reason == "first"
    assert row(job.id).cancel_requested_at == asked_at


def test_unknown_ids_are_missing_from_the_answer(broker):
    (job_id,) = store(broker)
    known, unknown = as_uuids([job_id])[0], uuid4()

    assert broker.cancel([unknown, known, known]) == {known: "cancelled"}
    assert broker.requeue([unknown]) == {}
    assert broker.hasten([unknown]) == {}
    assert broker.postpone([unknown], FAR) == {}
    assert broker.cancel([]) == broker.requeue([]) == broker.hasten([]) == {}


def test_thousands_are_cancelled_at_once(broker):
    ids = as_uuids(store(broker, 3_000))

    assert set(broker.cancel(ids).values()) == {"cancelled"}

    assert Job.objects.cancelled().count() == 3_000


# Requeue


def test_requeue_says_what_happened_to_each(broker):
    ids = one_of_each(broker)

    found = broker.requeue(as_uuids(ids.values()))

    assert answers(found, ids) == {
        "successful": "successful",
        "failed": "retried",
        "cancelled": "retried",
        "blocked": "not finished",
        "running": "not finished",
        "scheduled": "not finished",
        "ready": "not finished",
    }


@pytest.mark.parametrize("status", ["successful", "blocked", "running", "scheduled"])
@pytest.mark.parametrize("reset", [False, True])
def test_what_is_not_retried_stays_as_it_is(broker, status, reset):
    job_id = one_of_each(broker)[status]
    before = snapshot(job_id)

    broker.requeue(as_uuids([job_id]), reset_attempts=reset)

    assert snapshot(job_id) == before


def test_without_reset_the_counters_stay_and_one_more_attempt_is_granted(broker):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=1)
    broker.fail(session, [fail(job)])
    Job.objects.filter(id=job.id).update(attempts=3, crashes=2, interruptions=1)

    broker.requeue(as_uuids([job.id]))

    (again,) = claim(broker, session=session)
    assert (again.attempts, again.crashes, again.interruptions) == (3, 2, 1)
    assert again.max_attempts == 4
    assert again.epoch == 2


def test_a_budget_that_is_left_is_not_cut(broker):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=10)
    broker.fail(session, [fail(job)])

    broker.requeue(as_uuids([job.id]))

    assert row(job.id).max_attempts == 10


def test_with_reset_the_full_budget_is_back(broker):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=2)
    broker.fail(session, [fail(job)])
    Job.objects.filter(id=job.id).update(attempts=2, crashes=2, interruptions=1)

    broker.requeue(as_uuids([job.id]), reset_attempts=True)

    (again,) = claim(broker, session=session)
    assert (again.attempts, again.crashes, again.interruptions) == (0, 0, 0)
    assert again.max_attempts == 2
    # The token never goes back, whatever is reset.
    assert again.epoch == 2


def test_a_requeued_job_starts_with_a_clean_slate_and_keeps_its_history(broker):
    session = uuid4()
    job = claim_one(broker, session, expires_at=FAR, retry_until=FAR)
    broker.cancel(as_uuids([job.id]), reason="enough")
    broker.cancel_requests(session)
    broker.settle(session, [cancel(job)])
    (other,) = store(broker)
    let_time_pass(broker)

    broker.requeue(as_uuids([job.id]))

    again = row(job.id)
    assert again.status == JobStatus.READY
    assert (again.finished_at, again.cancel_requested_at) == (None, None)
    assert (again.expires_at, again.retry_until) == (None, None)
    # It waits from now on, not since it was first enqueued.
    assert again.run_after is not None
    assert (again.result, again.reason, again.session) == (None, "", None)
    assert [claimed.id for claimed in claim(broker)] == [other, job.id]
    assert Attempt.objects.filter(job_id=job.id).count() == 1


def test_a_requeued_job_can_fail_again_and_leave_a_second_row(broker):
    session = uuid4()
    job = claim_one(broker, session)
    broker.fail(session, [fail(job)])
    broker.requeue(as_uuids([job.id]), reset_attempts=True)
    (again,) = claim(broker, session=session)

    broker.fail(session, [fail(again)])

    rows = Attempt.objects.filter(job_id=job.id).values_list("number", "epoch")
    assert list(rows) == [(1, 1), (1, 2)]


# Hasten and postpone


def test_hasten_says_what_happened_to_each(broker):
    ids = one_of_each(broker)

    found = answers(broker.hasten(as_uuids(ids.values())), ids)

    assert [status for status in found if found[status] == "ready"] == [
        "scheduled",
        "ready",
    ]
    assert set(found.values()) == {"ready", "not waiting"}
    assert row(ids["scheduled"]).status == JobStatus.READY


def test_a_hastened_job_is_claimed_after_those_that_were_ready(broker):
    (due,) = store(broker, run_after=FAR)
    (first,) = store(broker)
    let_time_pass(broker)

    broker.hasten(as_uuids([due]))

    assert [job.id for job in claim(broker)] == [first, due]
    assert row(due).run_after <= broker.now()


def test_postpone_moves_what_waits_and_nothing_else(broker):
    ids = one_of_each(broker)

    found = answers(broker.postpone(as_uuids(ids.values()), FAR), ids)

    assert [status for status in found if found[status] == "rescheduled"] == [
        "scheduled",
        "ready",
    ]
    assert set(found.values()) == {"rescheduled", "not waiting"}
    for status in ("scheduled", "ready"):
        assert row(ids[status]).status == JobStatus.SCHEDULED
        assert row(ids[status]).run_after == FAR
    assert claim(broker) == []


@pytest.mark.parametrize("verb", ["cancel", "requeue", "hasten", "postpone"])
def test_the_epoch_of_a_job_never_changes_but_by_a_claim(broker, verb):
    ids = one_of_each(broker)
    epochs = {job.id: job.epoch for job in Job.objects.all()}

    more = (FAR,) if verb == "postpone" else ()
    getattr(broker, verb)(as_uuids(ids.values()), *more)

    assert {job.id: job.epoch for job in Job.objects.all()} == epochs


def test_a_released_job_that_was_to_be_cancelled_can_be_requeued(broker):
    session = uuid4()
    job = claim_one(broker, session)
    broker.cancel(as_uuids([job.id]))
    broker.release(session, [release(job)])

    assert set(broker.requeue(as_uuids([job.id])).values()) == {"retried"}

    (again,) = claim(broker, session=session)
    assert broker.cancel_requests(session) == []
    assert broker.succeed(session, [succeed(again)]) == {job.id: "successful"}


def test_the_history_is_told_oldest_first(broker):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=3)
    other = claim_one(broker, session)
    for _ in range(2):
        ending = fail(job)
        ending.status, ending.worker = "ready", f"worker-{job.epoch}"
        broker.retry(session, [ending])
        (job,) = claim(broker, session=session)

    history = broker.history([job.id, other.id])

    assert history == {
        job.id: [
            {
                "outcome": "failed",
                "worker": f"worker-{epoch}",
                "exception": NO_LUCK.exception,
                "traceback": NO_LUCK.traceback,
            }
            for epoch in (1, 2)
        ]
    }


def test_only_the_newest_of_very_many_attempts_are_told(broker, monkeypatch):
    monkeypatch.setattr("django_workers.brokers.claim.MOST_HISTORY", 3)
    session = uuid4()
    jobs = [claim_one(broker, session) for _ in range(2)]
    for job in jobs:
        Attempt.objects.bulk_create(
            Attempt(
                job_id=job.id,
                number=1,
                epoch=epoch,
                outcome="snoozed",
                worker=f"worker-{epoch}",
                finished_at=broker.now(),
            )
            for epoch in range(1, 8)
        )

    history = broker.history([job.id for job in jobs])

    assert history.keys() == {job.id for job in jobs}
    for attempts in history.values():
        assert [row["worker"] for row in attempts] == [
            "worker-5",
            "worker-6",
            "worker-7",
        ]

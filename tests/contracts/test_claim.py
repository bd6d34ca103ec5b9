"""Claim: who gets which job, in which order, and how many."""

from datetime import timedelta
from uuid import uuid4

import pytest

from django_workers.brokers import Lane
from django_workers.models import Job, JobStatus
from tests.contracts.jobs import (
    FAR,
    PAST,
    claim,
    lanes_of,
    new_job,
    retry,
    row,
    store,
    succeed,
)

pytestmark = pytest.mark.django_db


def test_a_claim_makes_the_job_the_sessions_own_and_charges_nothing(broker):
    session = uuid4()
    (job_id,) = store(broker)

    (job,) = claim(broker, session=session, worker="worker-7")

    held = row(job_id)
    assert held.status == JobStatus.RUNNING
    assert (held.session, held.worker, held.epoch) == (session, "worker-7", 1)
    assert (held.attempts, held.crashes, held.interruptions) == (0, 0, 0)
    assert held.started_at == held.last_attempted_at
    assert (job.id, job.epoch, job.attempts) == (job_id, 1, 0)
    assert job.position == held.position
    assert job.claimed_at == pytest.approx(held.last_attempted_at.timestamp(), abs=1e-3)


def test_a_job_is_claimed_once(broker):
    store(broker, 3)

    assert len(claim(broker)) == 3
    assert claim(broker, lanes=[(Lane("default", 0), 0)]) == []


def test_each_claim_raises_the_epoch_and_keeps_the_first_start(broker):
    session = uuid4()
    (job_id,) = store(broker, max_attempts=2)
    (first,) = claim(broker, session=session)
    broker.retry(session, [retry(first)])

    (second,) = claim(broker, session=session)

    assert (first.epoch, second.epoch) == (1, 2)
    assert second.started_at == pytest.approx(first.started_at, abs=1e-3)
    assert second.claimed_at >= first.claimed_at
    assert row(job_id).epoch == 2


def test_a_lane_is_worked_off_by_position_and_lanes_in_the_order_given(broker):
    low = store(broker, 2, priority=-5)
    high = store(broker, 2, priority=50)
    other = store(broker, 2, queue="other")

    jobs = claim(
        broker,
        lanes=[
            (Lane("other", 0), 0),
            (Lane("default", 50), 0),
            (Lane("default", -5), 0),
        ],
    )

    assert [job.id for job in jobs] == [*other, *high, *low]


def test_the_limit_is_never_exceeded_and_cuts_the_last_lane(broker):
    first = store(broker, 3, priority=1)
    second = store(broker, 3, priority=0)

    jobs = claim(broker, limit=4)

    assert [job.id for job in jobs] == [*first, second[0]]
    assert Job.objects.running().count() == 4


@pytest.mark.parametrize("limit", [0, -1])
def test_no_room_claims_nothing(broker, limit):
    store(broker)

    assert claim(broker, limit=limit) == []
    assert claim(broker, lanes=[]) == []


def test_only_the_lanes_asked_for_are_claimed(broker):
    store(broker, queue="a")
    wanted = store(broker, queue="b")

    jobs = claim(
        broker, lanes=[(Lane("b", 0), 0), (Lane("b", 1), 0), (Lane("c", 0), 0)]
    )

    assert [job.id for job in jobs] == wanted


def test_a_lane_of_a_task_leaves_other_tasks_alone(broker):
    store(broker, 3, task="tests.tasks.foreign")
    mine = store(broker, 2, task="tests.tasks.mine")
    store(broker, 3, task="tests.tasks.foreign")

    lanes = lanes_of(broker, ["tests.tasks.mine", "tests.tasks.absent"])
    jobs = claim(broker, lanes=lanes)

    assert lanes == [(Lane("default", 0, "tests.tasks.mine"), 0)]
    assert [job.id for job in jobs] == mine


def test_lanes_of_several_tasks_come_in_the_order_given(broker):
    a = store(broker, 2, task="a")
    b = store(broker, 2, task="b", priority=3)
    lanes = [(Lane("default", 3, "b"), 0), (Lane("default", 0, "a"), 0)]

    assert [job.id for job in claim(broker, lanes=lanes)] == [*b, *a]


def test_the_lanes_are_those_with_ready_jobs(broker):
    store(broker, 2, queue="a", priority=1)
    store(broker, 2, queue="a", priority=-1)
    store(broker, 2, queue="b", priority=100, task="t")
    store(broker, 2, queue="c", run_after=FAR)
    store(broker, queue="d")
    claim(broker, lanes=[(Lane("d", 0), 0)])

    assert sorted(broker.lanes()) == [Lane("a", -1), Lane("a", 1), Lane("b", 100)]
    assert broker.lanes(["t", "u"]) == [Lane("b", 100, "t")]
    assert broker.lanes([]) == []


def test_many_lanes_are_all_found(broker):
    expected = set()
    for queue in ("a", "b", "a.b", "a-b", "a:b", "ab", "1", "z" * 128):
        for priority in (-100, 0, 1, 100):
            store(broker, queue=queue, priority=priority)
            expected.add(Lane(queue, priority))

    found = broker.lanes()

    assert set(found) == expected
    assert len(found) == len(expected)
    assert len(claim(broker)) == len(expected)


def test_lanes_are_found_in_one_statement(broker, django_assert_num_queries):
    for number in range(30):
        store(broker, queue=f"q{number % 10}", priority=number, task=f"t{number % 7}")

    with django_assert_num_queries(1):
        lanes = broker.lanes()
    with django_assert_num_queries(1):
        of_tasks = broker.lanes([f"t{number}" for number in range(9)])

    assert len(set(lanes)) == len(lanes) == 30
    assert {lane[:2] for lane in of_tasks} == {lane[:2] for lane in lanes}
    assert {lane.task for lane in of_tasks} == {f"t{number}" for number in range(7)}


def test_thousands_of_lanes_are_found(broker):
    jobs = [
        new_job(queue=f"q{number % 1_100}", priority=number % 2, task=f"t{number % 3}")
        for number in range(6_600)
    ]
    broker.enqueue(jobs)

    assert len(broker.lanes()) == 1_100
    assert len(broker.lanes(["t0", "t1"])) == 2_200


def test_a_jobs_deadline_is_judged_by_the_databases_clock(broker):
    (late,) = store(broker, expires_at=PAST)
    (early,) = store(broker, expires_at=FAR)
    (never,) = store(broker)

    expired = {job.id: job.expired for job in claim(broker)}

    assert expired == {late: True, early: False, never: False}


def test_the_wait_counts_from_when_the_job_could_run(broker):
    (job_id,) = store(broker)
    Job.objects.filter(id=job_id).update(
        enqueued_at=broker.now() - timedelta(seconds=100),
        run_after=broker.now() - timedelta(seconds=40),
    )

    (job,) = claim(broker)

    assert job.wait == pytest.approx(40, abs=5)


def test_a_claim_forgets_why_the_job_was_held_up(broker):
    (job_id,) = store(broker)
    Job.objects.filter(id=job_id).update(reason="unroutable: once")

    claim(broker)

    assert row(job_id).reason == ""


def test_counters_and_history_travel_with_the_claim(broker):
    session = uuid4()
    (job_id,) = store(broker, max_attempts=9)
    Job.objects.filter(id=job_id).update(attempts=2, crashes=1, interruptions=3)

    (job,) = claim(broker, session=session)
    broker.succeed(session, [succeed(job)])

    assert (job.attempts, job.crashes, job.interruptions) == (2, 1, 3)
    assert row(job_id).attempts == 3


def test_a_floor_is_only_a_hint(broker):
    first, second = store(broker, 2)
    position = row(second).position

    jobs = claim(broker, lanes=[(Lane("default", 0), position)])

    found = [job.id for job in jobs]
    # Only PostgreSQL looks at it; the others may find more, and nobody less.
    assert found == ([second] if broker.knows_snapshots else [first, second])


def test_a_snapshot_comes_back_even_when_nothing_was_claimed(broker):
    claim = broker.claim(uuid4(), worker="w", lanes=[(Lane("default", 0), 0)], limit=5)

    assert claim.jobs == []
    assert (
        (claim.xmin is not None) == (claim.xmax is not None) == broker.knows_snapshots
    )

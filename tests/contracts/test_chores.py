"""Promote, admit, rescue, prune: verbs that move whole sets by what the rows say."""

from datetime import timedelta
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_workers.brokers import Lane
from django_workers.ids import uuid7
from django_workers.models import (
    FINISHED,
    UNFINISHED,
    Attempt,
    Job,
    JobStatus,
    Rollup,
    SessionState,
)
from tests.contracts.jobs import (
    FAR,
    PAST,
    as_uuids,
    claim,
    claim_one,
    fail,
    let_time_pass,
    open_session,
    park,
    retry,
    row,
    snapshot,
    store,
    succeed,
)

pytestmark = pytest.mark.django_db


# Promote


def test_what_is_due_becomes_ready_and_the_rest_waits(broker):
    (due,) = store(broker, run_after=PAST, queue="a", priority=3)
    (waiting,) = store(broker, run_after=FAR)

    promotion = broker.promote()

    assert promotion.count == 1
    assert promotion.lanes == {Lane("a", 3)}
    assert promotion.next_due == pytest.approx(
        (FAR - broker.now()).total_seconds(), abs=9
    )
    assert row(due).status == JobStatus.READY
    assert row(waiting).status == JobStatus.SCHEDULED


def test_places_follow_due_times_and_not_the_order_of_enqueueing(broker):
    ids = [
        store(broker, run_after=PAST + timedelta(seconds=seconds))[0]
        for seconds in (5, 3, 9, 1, 7, 2, 8, 0, 6, 4)
    ]

    broker.promote()

    order = [ids[place] for place in (7, 3, 5, 1, 9, 0, 8, 4, 6, 2)]
    assert [job.id for job in claim(broker)] == order


def test_the_longest_due_go_first_when_the_limit_cuts(broker):
    (late,) = store(broker, run_after=PAST + timedelta(days=1))
    (later,) = store(broker, run_after=PAST + timedelta(days=2))
    (first,) = store(broker, run_after=PAST)

    assert broker.promote(limit=2).count == 2

    assert [row(i).status for i in (first, late, later)] == [
        "ready",
        "ready",
        "scheduled",
    ]
    let_time_pass(broker)
    assert broker.promote(limit=2).count == 1
    assert [job.id for job in claim(broker)] == [first, late, later]


def test_a_due_job_that_is_left_over_is_due_at_once(broker):
    store(broker, 2, run_after=PAST)

    assert broker.promote(limit=1).next_due < 0


def test_with_nothing_scheduled_nothing_is_due(broker):
    store(broker)

    promotion = broker.promote()

    assert (promotion.count, promotion.lanes, promotion.next_due) == (
        0,
        frozenset(),
        None,
    )


def test_a_retry_waits_for_its_promotion(broker):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=2)
    broker.retry(session, [retry(job, delay=60.0)])
    assert broker.promote().count == 0
    Job.objects.filter(id=job.id).update(run_after=PAST)

    assert broker.promote().count == 1

    assert claim(broker)[0].attempts == 1


# Admit


def test_parked_jobs_return_when_somebody_knows_their_task(broker):
    session = uuid4()
    known = claim_one(broker, session, task="tests.tasks.known")
    unknown = claim_one(broker, session, task="tests.tasks.unknown")
    broker.release(session, [park(known), park(unknown)])

    assert broker.admit(["tests.tasks.known", "tests.tasks.other"]) == 1

    assert row(known.id).status == JobStatus.READY
    assert row(known.id).reason == ""
    assert row(unknown.id).status == JobStatus.BLOCKED
    assert [job.id for job in claim(broker)] == [known.id]


def test_what_is_blocked_for_another_reason_stays_blocked(broker):
    session = uuid4()
    job = claim_one(broker, session, task="tests.tasks.known")
    ending = park(job)
    ending.reason = "waits for a limit"
    broker.release(session, [ending])

    assert broker.admit(["tests.tasks.known"]) == 0
    assert broker.admit([]) == 0

    assert row(job.id).status == JobStatus.BLOCKED


@pytest.mark.parametrize("state", list(SessionState))
def test_a_task_is_known_elsewhere_while_a_living_worker_lists_it(broker, state):
    open_session(state=state, tasks=["tests.tasks.noop"])

    lives = state not in (SessionState.STOPPED, SessionState.LOST)
    assert broker.known_elsewhere("tests.tasks.noop") == lives
    assert not broker.known_elsewhere("tests.tasks.no")


# Rescue


@pytest.mark.parametrize("state", list(SessionState))
def test_only_jobs_of_the_dead_are_rescued(broker, state):
    session = open_session(state=state)
    job = claim_one(broker, session)

    rescued = broker.rescue()

    dead = state in (SessionState.STOPPED, SessionState.LOST)
    assert [item.job_id for item in rescued] == ([job.id] if dead else [])
    assert row(job.id).status == ("ready" if dead else "running")


def test_neither_age_nor_an_old_lease_makes_a_job_rescued(broker):
    session = open_session(lease=-3_600)
    job = claim_one(broker, session)
    Job.objects.filter(id=job.id).update(started_at=PAST, last_attempted_at=PAST)

    assert broker.rescue() == []


def test_a_job_whose_session_has_no_row_is_rescued(broker):
    job = claim_one(broker, uuid4())

    assert [item.job_id for item in broker.rescue()] == [job.id]


def test_a_rescued_job_keeps_its_place_and_is_charged_an_interruption(broker):
    session = open_session(state=SessionState.LOST)
    ids = store(broker, 2)
    position = row(ids[0]).position
    claim(broker, session=session, worker="worker-3", limit=1)

    (rescued,) = broker.rescue()

    job = row(ids[0])
    assert (rescued.job_id, rescued.task) == (ids[0], job.task)
    assert (rescued.session, rescued.status) == (session, "ready")
    assert "worker-3" in rescued.reason
    assert (job.position, job.session) == (position, None)
    assert (job.attempts, job.crashes, job.interruptions) == (0, 0, 1)
    attempt = Attempt.objects.get(job_id=job.id)
    assert (attempt.outcome, attempt.epoch, attempt.session) == ("lost", 1, session)
    assert attempt.worker == "worker-3"
    assert [found.id for found in claim(broker)] == ids


def test_a_rescue_ends_the_claim(broker):
    session = open_session(state=SessionState.LOST)
    job = claim_one(broker, session)
    broker.rescue()
    before = snapshot(job.id)

    assert broker.succeed(session, [succeed(job)]) == {}

    assert snapshot(job.id) == before


def test_a_job_that_must_not_run_twice_fails_instead(broker):
    session = open_session(state=SessionState.LOST)
    job = claim_one(broker, session, on_crash="fail", max_attempts=5)

    (rescued,) = broker.rescue()

    assert rescued.status == "failed"
    assert row(job.id).status == JobStatus.FAILED
    assert "must not run twice" in row(job.id).reason
    assert row(job.id).attempts == 0
    assert claim(broker) == []


def test_a_cancelled_job_of_the_dead_ends_as_cancelled(broker):
    session = open_session(state=SessionState.LOST)
    job = claim_one(broker, session)
    broker.cancel(as_uuids([job.id]), reason="enough")

    (rescued,) = broker.rescue()

    assert rescued.status == "cancelled"
    assert row(job.id).reason == "enough"


def test_a_dry_run_tells_and_changes_nothing(broker):
    session = open_session(state=SessionState.LOST)
    job = claim_one(broker, session)
    fails = claim_one(broker, session, on_crash="fail")
    before = list(Job.objects.order_by("id").values())

    told = {item.job_id: item.status for item in broker.rescue(dry_run=True)}

    assert told == {job.id: "ready", fails.id: "failed"}
    assert list(Job.objects.order_by("id").values()) == before
    assert not Attempt.objects.exists()
    assert {item.job_id: item.status for item in broker.rescue()} == told


def test_a_rescue_goes_on_where_its_limit_stopped(broker):
    sessions = [open_session(state=SessionState.LOST) for _ in range(2)]
    store(broker, 10)
    for session in sessions:
        claim(broker, session=session, limit=5)

    counts = [len(broker.rescue(limit=4)) for _ in range(4)]

    assert counts == [4, 4, 2, 0]
    assert Job.objects.ready().count() == 10
    assert Attempt.objects.count() == 10


def test_the_lost_are_counted_in_the_figures(broker):
    session = open_session(state=SessionState.LOST)
    store(broker, 3)
    claim(broker, session=session)

    broker.rescue()

    assert list(Rollup.objects.values_list("outcome", "count")) == [("lost", 3)]


# Prune


@pytest.mark.parametrize("status", UNFINISHED)
def test_pruning_what_has_not_finished_is_refused(broker, status):
    with pytest.raises(ValueError, match="only finished jobs"):
        broker.prune(status=status, older_than=timedelta(0))


def test_a_pruned_job_takes_its_attempts_along(broker):
    session = uuid4()
    old, new = (claim_one(broker, session) for _ in range(2))
    broker.fail(session, [fail(old), fail(new)])
    Job.objects.filter(id=old.id).update(finished_at=PAST)

    assert broker.prune(status="failed", older_than=timedelta(days=1)) == 1

    assert [str(job.id) for job in Job.objects.all()] == [new.id]
    assert [str(a.job_id) for a in Attempt.objects.all()] == [new.id]


def test_the_oldest_are_pruned_first(broker):
    ids = [
        _finished("failed", broker.now() - timedelta(days=days)) for days in (3, 9, 5)
    ]

    assert broker.prune(status="failed", older_than=timedelta(days=1), limit=2) == 2

    assert [job.id for job in Job.objects.all()] == [ids[0]]


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([status.value for status in JobStatus]),
            st.integers(min_value=-2, max_value=20),
            st.sampled_from(["a", "b"]),
        ),
        max_size=12,
    ),
    status=st.sampled_from([status.value for status in FINISHED]),
    age=st.integers(min_value=0, max_value=15),
    queue=st.sampled_from([None, "a"]),
    limit=st.integers(min_value=1, max_value=5),
)
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_pruning_takes_just_what_it_was_told(broker, rows, status, age, queue, limit):
    Job.objects.all().delete()
    now = broker.now()
    half = timedelta(hours=12)
    prunable, kept = [], []
    for row_status, days, row_queue in rows:
        ago = timedelta(days=days) + half
        job_id = _finished(row_status, now - ago, queue=row_queue)
        fits = row_status == status and days >= age and queue in (None, row_queue)
        (prunable if fits else kept).append(job_id)

    counts = []
    while not counts or counts[-1]:
        counts.append(
            broker.prune(
                status=status, older_than=timedelta(days=age), queue=queue, limit=limit
            )
        )

    assert sum(counts) == len(prunable)
    assert max(counts) <= limit
    assert set(Job.objects.values_list("id", flat=True)) == set(kept)


def _finished(status, moment, *, queue="default"):
    """Store a row by hand; a status that is not finished gets no end."""
    finished = status in FINISHED
    return Job.objects.create(
        id=uuid7(),
        task="tests.tasks.noop",
        queue=queue,
        status=status,
        position=1,
        run_after=moment,
        enqueued_at=moment,
        started_at=moment,
        finished_at=moment if finished else None,
        session=uuid4() if status == JobStatus.RUNNING else None,
    ).id

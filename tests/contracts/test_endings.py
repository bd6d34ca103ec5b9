"""Succeed, retry, fail, release: how claims end, and whose word counts."""

from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import transaction

from django_workers.models import Attempt, Job, JobStatus, Rollup
from tests.contracts.jobs import (
    ENDINGS,
    PAST,
    as_uuids,
    cancel,
    claim,
    claim_one,
    fail,
    let_time_pass,
    park,
    postpone,
    release,
    retry,
    row,
    snapshot,
    snooze,
    store,
    succeed,
)

pytestmark = pytest.mark.django_db


def test_a_job_that_succeeded_is_charged_once_and_needs_no_attempt_row(broker):
    session = uuid4()
    job = claim_one(broker, session)

    answer = broker.succeed(session, [succeed(job, result={"a": [1, "ü"]})])

    ended = row(job.id)
    assert answer == {job.id: "successful"}
    assert ended.status == JobStatus.SUCCESSFUL
    assert ended.result == {"a": [1, "ü"]}
    assert (ended.attempts, ended.duration, ended.session) == (1, 0.25, None)
    assert ended.worker == "worker-1"
    assert ended.finished_at >= ended.started_at
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("result", [None, False, 0, "", [], {}, "null"])
def test_every_result_comes_back_as_it_was(broker, result):
    session = uuid4()
    job = claim_one(broker, session)

    broker.succeed(session, [succeed(job, result=result)])

    stored = row(job.id).result
    assert stored == result
    assert type(stored) is type(result)


def test_a_later_attempt_that_succeeds_gets_a_row(broker):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=2)
    broker.retry(session, [retry(job)])
    (again,) = claim(broker, session=session)

    broker.succeed(session, [succeed(again)])

    assert list(
        Attempt.objects.filter(job_id=job.id).values_list("number", "epoch", "outcome")
    ) == [(1, 1, "failed"), (2, 2, "successful")]
    assert row(job.id).attempts == 2


def test_a_failed_attempt_is_told_in_full(broker):
    session = uuid4()
    job = claim_one(broker, session)
    ending = fail(job)
    ending.worker, ending.host, ending.pid = "worker-9", "host-9", 99

    answer = broker.fail(session, [ending])

    attempt = Attempt.objects.get(job_id=job.id)
    assert answer == {job.id: "failed"}
    assert row(job.id).status == JobStatus.FAILED
    assert row(job.id).reason == "no"
    assert (attempt.worker, attempt.host, attempt.pid) == ("worker-9", "host-9", 99)
    assert (attempt.exception, attempt.message) == ("builtins.ValueError", "no")
    assert attempt.session == session
    assert attempt.duration == 0.25
    assert attempt.started_at.timestamp() == pytest.approx(job.claimed_at, abs=1e-3)
    assert attempt.finished_at >= row(job.id).last_attempted_at


def test_a_retry_without_delay_goes_to_the_end_of_its_lane(broker):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=2)
    (other,) = store(broker)
    let_time_pass(broker)

    answer = broker.retry(session, [retry(job)])

    assert answer == {job.id: "ready"}
    assert [found.id for found in claim(broker)] == [other, job.id]
    assert row(job.id).attempts == 1


def test_a_retry_with_delay_is_scheduled_by_the_databases_clock(broker):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=2)
    before = broker.now().timestamp()

    answer = broker.retry(session, [retry(job, delay=90.5)])

    waiting = row(job.id)
    assert answer == {job.id: "scheduled"}
    assert waiting.run_after.timestamp() - before == pytest.approx(90.5, abs=2)
    assert (waiting.attempts, waiting.session) == (1, None)
    assert claim(broker) == []


@pytest.mark.parametrize("delay", [1e-3, 0.25, 86_400 * 365 * 100.0])
def test_short_and_long_delays_are_kept(broker, delay):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=2)
    before = broker.now().timestamp()

    broker.retry(session, [retry(job, delay=delay)])

    assert row(job.id).run_after.timestamp() - before == pytest.approx(delay, abs=2)


def test_a_release_keeps_the_place_and_charges_nothing(broker):
    session = uuid4()
    ids = store(broker, 3)
    jobs = claim(broker, session=session)

    answer = broker.release(session, [release(jobs[1]), release(jobs[0])])

    assert answer == dict.fromkeys(ids[:2], "ready")
    assert [job.position for job in jobs[:2]] == [row(i).position for i in ids[:2]]
    store(broker)
    assert [job.id for job in claim(broker, limit=2)] == ids[:2]
    assert row(ids[0]).attempts == 0
    assert row(ids[0]).interruptions == 0
    assert not Attempt.objects.exists()
    assert not Rollup.objects.exists()


UNSTARTED = {"release": release, "park": park, "postpone": postpone}


@pytest.mark.parametrize("kind", UNSTARTED)
def test_a_claim_that_started_nothing_leaves_no_start_behind(broker, kind):
    session = uuid4()
    job, other = claim_one(broker, session), claim_one(broker, session)

    broker.release(session, [UNSTARTED[kind](job), fail(other)])

    back, failed = row(job.id), row(other.id)
    assert (back.started_at, back.last_attempted_at, back.worker) == (None, None, "")
    assert failed.started_at is not None
    assert (failed.last_attempted_at, failed.worker) == (failed.started_at, "worker-1")


@pytest.mark.parametrize("kind", UNSTARTED)
@pytest.mark.parametrize("before", ["retry", "snooze", "crash", "requeue"])
def test_a_claim_that_started_nothing_leaves_the_last_start(broker, kind, before):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=3)
    if before == "requeue":
        ending = fail(job)
    else:
        ending = retry(job) if before == "retry" else release(job)
        ending.outcome = {"snooze": "snoozed", "crash": "crashed"}.get(before, "failed")
        ending.crashes = int(before == "crash")
    ending.worker = "worker-1"
    broker.settle(session, [ending])
    broker.requeue(as_uuids([job.id]), reset_attempts=True)
    first = row(job.id).started_at
    for _ in range(2):
        let_time_pass(broker)
        (again,) = claim(broker, session=session, worker="worker-2")
        assert row(job.id).last_attempted_at > first

        broker.release(session, [UNSTARTED[kind](again)])

        back = row(job.id)
        assert back.started_at == first
        assert abs(back.last_attempted_at - first) <= timedelta(milliseconds=1)
        assert back.worker == "worker-1"
        Job.objects.update(status="ready", run_after=None)


def test_a_cancelled_job_that_had_not_started_says_so(broker):
    session = uuid4()
    job = claim_one(broker, session)
    broker.cancel(as_uuids([job.id]))

    broker.release(session, [release(job)])

    assert row(job.id).status == JobStatus.CANCELLED
    assert (row(job.id).started_at, row(job.id).worker) == (None, "")


def test_a_job_tried_again_at_once_waits_from_then_on(broker):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=2)
    Job.objects.update(enqueued_at=PAST)
    before = broker.now()

    broker.retry(session, [retry(job)])

    assert row(job.id).run_after >= before - timedelta(milliseconds=1)
    (again,) = claim(broker)
    assert 0 <= again.wait < 60


def test_a_job_put_back_in_its_place_waits_since_it_was_enqueued(broker):
    session = uuid4()
    job = claim_one(broker, session)
    Job.objects.update(enqueued_at=PAST)

    broker.release(session, [release(job)])

    assert row(job.id).run_after is None
    (again,) = claim(broker)
    assert again.wait > 86_400


def test_a_snooze_charges_nothing_but_is_remembered(broker):
    session = uuid4()
    job = claim_one(broker, session)

    answer = broker.retry(session, [snooze(job, delay=60.0)])

    assert answer == {job.id: "scheduled"}
    assert row(job.id).attempts == 0
    assert Attempt.objects.get(job_id=job.id).outcome == "snoozed"


def test_a_crash_and_an_interruption_are_counted_apart(broker):
    session = uuid4()
    job = claim_one(broker, session)
    ending = release(job)
    ending.outcome, ending.crashes = "crashed", 1
    broker.release(session, [ending])
    (job,) = claim(broker, session=session)
    ending = release(job)
    ending.outcome, ending.interruptions = "interrupted", 1

    broker.release(session, [ending])

    job = row(job.id)
    assert (job.attempts, job.crashes, job.interruptions) == (0, 1, 1)
    assert [(a.number, a.epoch) for a in job.attempt_set.all()] == [(1, 1), (1, 2)]


def test_a_parked_job_says_why(broker):
    session = uuid4()
    job = claim_one(broker, session)

    answer = broker.release(session, [park(job)])

    assert answer == {job.id: "blocked"}
    assert row(job.id).reason == "unroutable: nobody knows it"
    assert claim(broker) == []


def test_any_mixture_is_written_in_one_go(broker):
    session = uuid4()
    store(broker, 3 * len(ENDINGS))
    jobs = claim(broker, session=session)
    kinds = [*ENDINGS] * 3
    endings = [
        ENDINGS[kind](job) for kind, job in zip(kinds, reversed(jobs), strict=True)
    ]

    answer = broker.settle(session, endings)

    assert answer == {ending.id: ending.status for ending in endings}
    assert {str(job.id): job.status for job in Job.objects.all()} == answer
    assert not Job.objects.running().exists()


def test_nothing_to_settle_writes_nothing(broker, django_assert_num_queries):
    with django_assert_num_queries(0):
        assert broker.settle(uuid4(), []) == {}


# Fencing


def _lower_epoch(broker, session, ending):
    ending.epoch -= 1


def _higher_epoch(broker, session, ending):
    ending.epoch += 1


def _already_ended(broker, session, ending):
    broker.settle(session, [_copy(ending, "successful")])


def _ended_as_something_else(broker, session, ending):
    broker.settle(session, [_copy(ending, "failed")])


def _released_meanwhile(broker, session, ending):
    broker.settle(session, [_copy(ending, "ready")])


def _claimed_by_another_meanwhile(broker, session, ending):
    _released_meanwhile(broker, session, ending)
    claim(broker, session=uuid4())


def _claimed_again_by_the_same_session(broker, session, ending):
    _released_meanwhile(broker, session, ending)
    claim(broker, session=session)


def _requeued_meanwhile(broker, session, ending):
    _ended_as_something_else(broker, session, ending)
    broker.requeue(as_uuids([ending.id]))


def _pruned_meanwhile(broker, session, ending):
    _already_ended(broker, session, ending)
    Attempt.objects.filter(job_id=ending.id).delete()
    Job.objects.filter(id=ending.id).delete()


def _copy(ending, status):
    return replace(
        ending,
        status=status,
        outcome="",
        in_place=True,
        delay=None,
        result="1" if status == "successful" else None,
    )


STALE = [
    _lower_epoch,
    _higher_epoch,
    _already_ended,
    _ended_as_something_else,
    _released_meanwhile,
    _claimed_by_another_meanwhile,
    _claimed_again_by_the_same_session,
    _requeued_meanwhile,
    _pruned_meanwhile,
]


@pytest.mark.parametrize("make_stale", STALE, ids=lambda f: f.__name__[1:])
@pytest.mark.parametrize("kind", ENDINGS)
def test_a_stale_token_writes_nothing(broker, kind, make_stale):
    session = uuid4()
    job = claim_one(broker, session)
    ending = ENDINGS[kind](job)
    make_stale(broker, session, ending)
    before = list(Job.objects.values())

    answer = broker.settle(session, [ending])

    assert answer == {}
    assert list(Job.objects.values()) == before
    assert not Attempt.objects.exists()
    assert not Rollup.objects.exists()


@pytest.mark.parametrize("kind", ENDINGS)
def test_another_session_ends_nothing(broker, kind):
    job = claim_one(broker, uuid4())
    before = snapshot(job.id)

    assert broker.settle(uuid4(), [ENDINGS[kind](job)]) == {}

    assert snapshot(job.id) == before
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("kind", ENDINGS)
def test_a_stale_ending_does_not_hold_up_its_neighbours(broker, kind):
    session = uuid4()
    store(broker, 3)
    jobs = claim(broker, session=session)
    endings = [succeed(jobs[0]), ENDINGS[kind](jobs[1]), fail(jobs[2])]
    endings[1].epoch += 7

    answer = broker.settle(session, endings)

    assert answer == {jobs[0].id: "successful", jobs[2].id: "failed"}
    assert row(jobs[1].id).status == JobStatus.RUNNING


# A cancellation asked for meanwhile


@pytest.mark.parametrize("kind", ["retry", "retry later", "release", "snooze", "park"])
def test_a_cancellation_asked_for_wins_over_another_run(broker, kind):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=5)
    broker.cancel(as_uuids([job.id]), reason="not wanted any more")

    answer = broker.settle(session, [ENDINGS[kind](job)])

    ended = row(job.id)
    assert answer == {job.id: "cancelled"}
    assert ended.status == JobStatus.CANCELLED
    assert ended.session is None
    assert ended.finished_at is not None
    assert claim(broker) == []
    broker.promote()
    assert claim(broker) == []


@pytest.mark.parametrize("kind", ["retry", "retry later", "release", "snooze"])
def test_the_reason_of_a_cancellation_is_kept(broker, kind):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=5)
    broker.cancel(as_uuids([job.id]), reason="not wanted any more")

    broker.settle(session, [ENDINGS[kind](job)])

    assert row(job.id).reason == "not wanted any more"


@pytest.mark.parametrize(
    ("kind", "status"), [("succeed", "successful"), ("fail", "failed")]
)
def test_a_job_that_ended_first_is_not_cancelled(broker, kind, status):
    session = uuid4()
    job = claim_one(broker, session)
    broker.cancel(as_uuids([job.id]), reason="too late")

    answer = broker.settle(session, [ENDINGS[kind](job)])

    assert answer == {job.id: status}
    assert row(job.id).status == status


# Attempts and rollups


def test_no_two_attempts_of_a_job_share_an_epoch(broker):
    session = uuid4()
    job = claim_one(broker, session)
    broker.fail(session, [fail(job)])
    attempt = Attempt.objects.get()
    attempt.pk = None

    with pytest.raises(Exception, match=r"(?i)unique|duplicate"), transaction.atomic():
        attempt.save(force_insert=True)


def test_the_figures_of_a_minute_are_exact(broker):
    session = uuid4()
    store(broker, 30, queue="a", task="tests.tasks.one")
    store(broker, 30, queue="b", task="tests.tasks.two")
    jobs = claim(broker, session=session)
    expected = {}
    endings = []
    for number, job in enumerate(jobs):
        kind = [*ENDINGS][number % len(ENDINGS)]
        ending = ENDINGS[kind](job)
        ending.worker, ending.wait = "worker-1", float(number)
        if ending.duration is not None:
            ending.duration = number / 8
        endings.append(ending)
        if ending.outcome:
            key = (ending.queue, ending.task, ending.outcome)
            count, run, longest, wait, wait_max = expected.get(key, (0, 0, 0, 0, 0))
            seconds = ending.duration or 0.0
            expected[key] = (
                count + 1,
                run + seconds,
                max(longest, seconds),
                wait + number,
                max(wait_max, number),
            )

    # Three batches, the last of them with stale words that must not count.
    broker.settle(session, endings[:20])
    broker.settle(session, endings[20:41])
    broker.settle(session, endings[30:])

    found = {}
    for r in Rollup.objects.all():  # the minute may have changed in between
        key = (r.queue, r.task, r.outcome)
        assert r.worker == "worker-1"
        assert (r.minute.second, r.minute.microsecond) == (0, 0)
        count, run, longest, wait, wait_max = found.get(key, (0, 0, 0, 0, 0))
        found[key] = (
            count + r.count,
            run + r.run_seconds,
            max(longest, r.run_max),
            wait + r.wait_seconds,
            max(wait_max, r.wait_max),
        )
    assert found == expected


def test_figures_can_be_left_out(broker, monkeypatch):
    monkeypatch.setattr(type(broker), "writes_rollups", False)
    session = uuid4()
    job = claim_one(broker, session)

    broker.succeed(session, [succeed(job)])

    assert row(job.id).status == JobStatus.SUCCESSFUL
    assert not Rollup.objects.exists()


@pytest.mark.parametrize("kind", [succeed, fail, retry, cancel])
def test_each_attempt_is_counted_in_the_minute_it_ended(broker, kind):
    session = uuid4()
    job = claim_one(broker, session, max_attempts=2)
    before = broker.now().replace(second=0, microsecond=0)

    broker.settle(session, [kind(job)])

    rollup = Rollup.objects.get()
    assert before <= rollup.minute <= broker.now()
    assert (rollup.count, rollup.run_seconds) == (1, 0.25)

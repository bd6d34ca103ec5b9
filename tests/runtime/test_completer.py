"""Writing endings: bad rows, lost connections, lost answers, stale words."""

import logging
import threading
from collections import deque
from types import SimpleNamespace
from uuid import uuid4

import pytest
from django.db import DatabaseError, OperationalError, connection

from django_workers.brokers import Failure, broker_for
from django_workers.models import Attempt, Job, Rollup
from django_workers.runtime import completer as room
from django_workers.runtime import wakeup, wire
from django_workers.runtime.completer import Completer
from django_workers.runtime.settling import Settling
from tests.contracts.jobs import (
    ENDINGS,
    as_uuids,
    claim,
    fail,
    release,
    retry,
    row,
    store,
    succeed,
)

pytestmark = pytest.mark.django_db(transaction=True)

# JSON texts that no honest child sends, and that some database refuses. One of them
# among a thousand must not cost the others.
UNSTORABLE = {
    "NUL": '"\\u0000"',
    "raw NUL": '"\0"',
    "half a pair": '"\\ud800"',
    "raw half a pair": '"\ud800"',
    "huge number": "1e400000",
    "NaN": "NaN",
    "infinity": "[-Infinity]",
    "deep": "[" * 20_000 + "]" * 20_000,
    "cut off": '{"a": [1,',
    "nothing": "",
    "two": "1 2",
}


class Desk:
    """The dispatcher as the completer knows it: endings come, and are done with."""

    def __init__(self):
        self.settle_event = threading.Event()
        self.waiting = deque()
        self.done = []
        self.refused_ids = []
        self.late_ids = []

    def bring(self, items):
        self.waiting.extend(items)
        self.settle_event.set()

    def to_settle(self, limit):
        return [self.waiting.popleft() for _ in range(min(limit, len(self.waiting)))]

    def settled(self, batch):
        self.done += [item.ending.id for item in batch]

    def refused(self, job_id):
        self.refused_ids.append(job_id)

    def put_off(self, job_id):
        self.late_ids.append(job_id)


class Child:
    """A link that remembers what the child was told."""

    def __init__(self, index=1):
        self.index = index
        self.told = {}
        self.wire = SimpleNamespace(send=self._send)
        self.is_gone = False

    def _send(self, kind, payload):
        if self.is_gone:
            raise BrokenPipeError
        assert kind == wire.ACKS
        self.told.update(payload)


class Bench:
    """A completer on the real database, between a desk and a child."""

    def __init__(self, *, max_failures=0):
        self.broker = broker_for("default")
        self.session = uuid4()
        self.desk = Desk()
        self.child = Child()
        self.stops = []
        self.signals = []
        self.expected = []
        self.completer = Completer(
            self.broker,
            self.desk,
            session=self.session,
            max_failures=max_failures,
            stop=lambda: self.stops.append(True),
            tell=lambda name, **values: self.signals.append((name, values)),
            expect=self.expected.append,
        )

    def claimed(self, count=1, **values):
        store(self.broker, count, **values)
        return claim(self.broker, session=self.session)

    def settle(self, endings):
        """Have endings settled; return what the child was told, by job."""
        items = [
            Settling(ending, self.child, number)
            for number, ending in enumerate(endings, start=1)
        ]
        self.desk.bring(items)
        self.completer.run_once()
        assert sorted(self.desk.done) == sorted(ending.id for ending in endings)
        return {
            ending.id: self.child.told.get(number)
            for number, ending in enumerate(endings, start=1)
        }


@pytest.fixture
def bench():
    return Bench()


@pytest.fixture
def failing(bench, monkeypatch):
    """Let the broker's settle() raise errors, before or after its real work."""
    real = bench.broker.settle
    calls = []

    def script(*steps):
        left = deque(steps)

        def settle(session, endings):
            calls.append([ending.id for ending in endings])
            step = left.popleft() if left else None
            if step == "lost answer":
                real(session, endings)
                raise OperationalError("server closed the connection unexpectedly")
            if isinstance(step, Exception):
                raise step
            return real(session, endings)

        monkeypatch.setattr(bench.broker, "settle", settle)
        monkeypatch.setattr(room.time, "sleep", lambda seconds: None)
        return calls

    return script


def lost_connection():
    return OperationalError("server closed the connection unexpectedly")


def test_endings_are_written_and_the_child_is_told(bench):
    jobs = bench.claimed(3, max_attempts=2)

    told = bench.settle([succeed(jobs[0]), fail(jobs[1]), retry(jobs[2], delay=9.0)])

    assert told == {
        jobs[0].id: "successful",
        jobs[1].id: "failed",
        jobs[2].id: "scheduled",
    }
    assert {str(job.id): job.status for job in Job.objects.all()} == told
    assert bench.completer.finished == 2


def test_with_nothing_to_do_it_waits_for_a_moment_only(bench, monkeypatch):
    waits = []
    monkeypatch.setattr(bench.desk.settle_event, "wait", waits.append)

    bench.completer.run_once()

    assert waits == [0.5]


# Rows a database refuses


@pytest.mark.parametrize("text", UNSTORABLE.values(), ids=UNSTORABLE)
def test_a_bad_result_fails_its_job_and_no_other(bench, text):
    jobs = bench.claimed(9)
    endings = [succeed(job, result=number) for number, job in enumerate(jobs)]
    endings[4].result = text

    told = bench.settle(endings)

    bad = row(jobs[4].id)
    others = [row(job.id) for job in jobs if job is not jobs[4]]
    assert {job.status for job in others} == {"successful"}
    assert [job.result for job in others] == [0, 1, 2, 3, 5, 6, 7, 8]
    assert told[jobs[4].id] == bad.status
    if bad.status == "failed":
        assert bad.reason.startswith("result not storable: ")
        assert len(bad.reason) < 60
        assert bad.result is None
        assert bad.attempts == 1
        assert bad.attempt_set.get().exception == room.UNSTORABLE
    else:  # this database can hold it: then it must be readable
        assert bad.status == "successful"
    assert connection.vendor != "postgresql" or bad.status == "failed"
    assert sum(Rollup.objects.values_list("count", flat=True)) == 9


def test_several_bad_rows_are_all_found(bench):
    jobs = bench.claimed(40)
    endings = [succeed(job) for job in jobs]
    bad = {0, 1, 17, 38, 39}
    for place in bad:
        endings[place].result = "NaN"

    told = bench.settle(endings)

    assert [told[job.id] for job in jobs] == [
        "failed" if place in bad else "successful" for place in range(40)
    ]
    assert Attempt.objects.count() == len(bad)


def test_a_batch_of_nothing_but_bad_rows_fails_them_all(bench):
    jobs = bench.claimed(5)
    endings = [succeed(job) for job in jobs]
    for ending in endings:
        ending.result = "NaN"

    assert set(bench.settle(endings).values()) == {"failed"}


def test_a_bad_row_among_all_kinds_of_endings_is_found(bench):
    jobs = bench.claimed(len(ENDINGS) + 1, max_attempts=5)
    endings = [make(job) for make, job in zip(ENDINGS.values(), jobs, strict=False)]
    bad = succeed(jobs[-1])
    bad.result = "NaN"

    told = bench.settle([*endings, bad])

    assert told == {ending.id: ending.status for ending in endings} | {bad.id: "failed"}


@pytest.mark.parametrize("text", ["\0", "\ud800", "a\0b"])
@pytest.mark.parametrize("place", ["message", "traceback", "exception", "reason"])
def test_a_text_that_cannot_be_stored_costs_nobody_else(bench, place, text):
    jobs = bench.claimed(5)
    endings = [fail(job) for job in jobs]
    if place == "reason":
        endings[2].reason = text
    else:
        endings[2].failure = Failure(**{"exception": "E", place: text})

    told = bench.settle(endings)

    assert set(told.values()) == {"failed"}
    for job in jobs:
        stored = row(job.id)
        assert stored.attempt_set.count() == 1
        if job is not jobs[2]:
            assert stored.reason == "no"


@pytest.mark.parametrize("field", ["exception", "worker", "host"])
def test_a_name_that_is_too_long_ends_the_job_all_the_same(bench, field):
    jobs = bench.claimed(3)
    endings = [fail(job) for job in jobs]
    if field == "exception":
        endings[1].failure = Failure(exception="x" * 300)
    else:
        setattr(endings[1], field, "x" * 300)

    told = bench.settle(endings)

    assert set(told.values()) == {"failed"}
    assert set(Job.objects.values_list("status", flat=True)) == {"failed"}


def test_an_ending_whose_attempt_is_there_already_still_ends_the_job(bench):
    jobs = bench.claimed(3)
    Attempt.objects.create(
        job_id=jobs[1].id,
        number=1,
        epoch=jobs[1].epoch,
        outcome="lost",
        finished_at=bench.broker.now(),
    )

    told = bench.settle([fail(job) for job in jobs])

    assert set(told.values()) == {"failed"}
    assert row(jobs[1].id).reason.startswith("result not storable")
    assert Attempt.objects.count() == 3


@pytest.mark.parametrize(
    "error",
    [
        RecursionError("maximum recursion depth exceeded"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        TypeError("cannot adapt"),
        ValueError("embedded null character"),
        OverflowError("int too large"),
        MemoryError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_row_that_the_driver_chokes_on_costs_nobody_else(bench, monkeypatch, error):
    jobs = bench.claimed(7)
    real = bench.broker.settle

    def settle(session, endings):
        if any(e.id == jobs[3].id and e.status == "successful" for e in endings):
            raise error
        return real(session, endings)

    monkeypatch.setattr(bench.broker, "settle", settle)

    told = bench.settle([succeed(job) for job in jobs])

    assert told[jobs[3].id] == "failed"
    assert [told[job.id] for job in jobs].count("successful") == 6
    assert type(error).__name__ in row(jobs[3].id).reason


def test_a_row_nothing_can_be_written_about_costs_nobody_else(
    bench, monkeypatch, caplog
):
    jobs = bench.claimed(7)
    real = bench.broker.settle

    def settle(session, endings):
        if any(ending.id == jobs[3].id for ending in endings):
            raise DatabaseError("no")
        return real(session, endings)

    monkeypatch.setattr(bench.broker, "settle", settle)

    told = bench.settle([succeed(job) for job in jobs])

    assert [told[job.id] for job in jobs].count("successful") == 6
    assert jobs[3].id in caplog.text
    assert bench.desk.refused_ids == [jobs[3].id], "it is not to be found and run again"


@pytest.mark.postgresql
def test_a_row_that_a_trigger_refuses_fails_its_job_and_no_other(bench):
    """A project's own trigger speaks in a class of SQLSTATE of its own."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            CREATE FUNCTION tests_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN
                    IF new.result = '"bad"' THEN RAISE EXCEPTION 'no'; END IF;
                    RETURN new;
                END $$;
            CREATE TRIGGER tests_refuse BEFORE UPDATE ON django_workers_job
                FOR EACH ROW EXECUTE FUNCTION tests_refuse();
            """
        )
    try:
        jobs = bench.claimed(5)
        endings = [succeed(job) for job in jobs]
        endings[2].result = '"bad"'

        told = bench.settle(endings)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP TRIGGER tests_refuse ON django_workers_job")
            cursor.execute("DROP FUNCTION tests_refuse")

    assert [told[job.id] for job in jobs].count("successful") == 4
    assert row(jobs[2].id).reason == "result not storable: SQLSTATE P0001"


# A database that is away


def test_a_lost_connection_is_tried_again(bench, failing):
    (job,) = bench.claimed()
    calls = failing(*[lost_connection()] * 5)

    assert bench.settle([succeed(job)]) == {job.id: "successful"}

    assert len(calls) == 6
    assert Rollup.objects.get().count == 1


def test_the_pauses_grow_but_never_beyond_a_second(bench, failing, monkeypatch):
    (job,) = bench.claimed()
    failing(*[lost_connection()] * 12)
    pauses = []
    monkeypatch.setattr(room.time, "sleep", pauses.append)

    bench.settle([succeed(job)])

    assert len(pauses) == 12
    assert pauses[0] <= 0.03
    assert 0.5 <= pauses[-1] <= 1.5 * room.MOST_PAUSE_SECONDS


@pytest.mark.parametrize("kind", ENDINGS)
def test_an_ending_whose_answer_was_lost_is_known_again(bench, failing, kind):
    (job,) = bench.claimed(max_attempts=5)
    ending = ENDINGS[kind](job)
    failing("lost answer")

    told = bench.settle([ending])

    assert told == {job.id: ending.status}
    assert row(job.id).status == ending.status
    assert sum(Rollup.objects.values_list("count", flat=True)) == bool(ending.outcome)
    assert Attempt.objects.count() == ending.has_attempt_row


def test_a_lost_answer_followed_by_a_lost_question_is_no_lost_batch(
    bench, failing, monkeypatch
):
    jobs = bench.claimed(4)
    failing("lost answer", lost_connection())
    real = type(bench.broker).jobs.fget
    failures = [lost_connection(), lost_connection()]

    def asked(broker):
        if failures:
            raise failures.pop()
        return real(broker)

    monkeypatch.setattr(type(bench.broker), "jobs", property(asked))

    told = bench.settle([succeed(job) for job in jobs])

    assert told == {job.id: "successful" for job in jobs}


@pytest.mark.parametrize("kind", ["retry", "retry later", "release", "snooze"])
def test_a_lost_answer_about_a_cancelled_job_is_known_again(bench, failing, kind):
    (job,) = bench.claimed(max_attempts=5)
    bench.broker.cancel(as_uuids([job.id]))
    failing("lost answer")

    assert bench.settle([ENDINGS[kind](job)]) == {job.id: "cancelled"}


def test_a_lost_answer_about_a_job_promoted_since_is_known_again(
    bench, failing, monkeypatch
):
    (job,) = bench.claimed(max_attempts=5)
    failing("lost answer")

    def promote(seconds):
        Job.objects.filter(status="scheduled").update(status="ready", position=1)

    monkeypatch.setattr(room.time, "sleep", promote)

    assert bench.settle([retry(job, delay=9.0)]) == {job.id: "scheduled"}


def test_a_lost_answer_does_not_revive_a_stale_word(bench, failing):
    jobs = bench.claimed(3)
    bench.broker.settle(bench.session, [release(jobs[0])])
    other = claim(bench.broker, session=uuid4())
    assert [job.id for job in other] == [jobs[0].id]
    failing("lost answer")

    told = bench.settle([succeed(job) for job in jobs])

    assert [told[job.id] for job in jobs] == ["stale", "successful", "successful"]
    assert row(jobs[0].id).status == "running"


def test_a_batch_that_takes_too_long_is_halved_and_fails_nobody(bench, monkeypatch):
    jobs = bench.claimed(9)
    real = bench.broker.settle
    monkeypatch.setattr(room.time, "sleep", lambda seconds: None)
    sizes = []

    class Cancelled(Exception):
        """What psycopg raises for a statement timeout."""

        sqlstate = "57014"

    def settle(session, endings):
        sizes.append(len(endings))
        if len(endings) > 3 or len(sizes) == 4:
            raise OperationalError("canceling statement") from Cancelled()
        return real(session, endings)

    monkeypatch.setattr(bench.broker, "settle", settle)

    told = bench.settle([succeed(job) for job in jobs])

    assert set(told.values()) == {"successful"}
    assert len(sizes) < 12


def test_the_next_retry_is_announced(bench):
    jobs = bench.claimed(3, max_attempts=2)

    bench.settle([retry(jobs[0], delay=9.0), retry(jobs[1], delay=4.0), fail(jobs[2])])

    assert bench.expected == [4.0]


# Words that come too late


def test_a_stale_ending_is_dropped_and_the_child_is_told(bench, caplog):
    jobs = bench.claimed(2)
    bench.broker.settle(bench.session, [release(jobs[0])])

    with caplog.at_level(logging.WARNING, "django_workers.worker"):
        told = bench.settle([succeed(jobs[0]), succeed(jobs[1])])

    assert told == {jobs[0].id: "stale", jobs[1].id: "successful"}
    assert row(jobs[0].id).status == "ready"
    assert jobs[0].id in caplog.text
    assert bench.completer.finished == 1


def test_a_child_that_is_gone_changes_nothing(bench):
    jobs = bench.claimed(2)
    bench.child.is_gone = True

    bench.settle([succeed(job) for job in jobs])

    assert {row(job.id).status for job in jobs} == {"successful"}


def test_an_ending_nobody_reported_needs_no_child(bench):
    (job,) = bench.claimed()
    bench.desk.bring([Settling(release(job))])

    bench.completer.run_once()

    assert row(job.id).status == "ready"
    assert bench.child.told == {}
    assert bench.signals == []


@pytest.mark.parametrize("outcome", ["crashed", "expired", "timed_out", "cancelled"])
def test_signals_are_asked_for_where_no_child_can_speak(bench, outcome):
    job, stale = bench.claimed(2)
    endings = [fail(job), fail(stale)]
    for ending in endings:
        ending.outcome = outcome
    bench.broker.settle(bench.session, [release(stale)])
    bench.desk.bring([Settling(ending) for ending in endings])

    bench.completer.run_once()

    values = {"job_id": job.id, "backend": "default", "status": "failed"}
    assert bench.signals == [("job_ended", values)]


# Failures in a row, and waiters


def test_so_many_failures_in_a_row_stop_the_worker_once():
    bench = Bench(max_failures=3)
    jobs = bench.claimed(9)
    kinds = [fail, fail, succeed, fail, fail, release, fail, fail, fail]

    stops = []
    for make, job in zip(kinds, jobs, strict=True):
        bench.desk.done.clear()
        bench.settle([make(job)])
        stops.append(len(bench.stops))

    assert stops == [0, 0, 0, 0, 0, 0, 1, 1, 1]


def test_jobs_that_came_too_late_to_start_are_no_failures_of_the_worker():
    bench = Bench(max_failures=2)
    for job in bench.claimed(3):
        ending = fail(job)
        ending.outcome = "expired"
        bench.desk.done.clear()
        bench.settle([ending])

    assert bench.stops == []


def test_whoever_waits_is_called_once(bench, monkeypatch):
    calls = []
    monkeypatch.setattr(
        bench.broker, "notify", lambda channel, ids: calls.append((channel, list(ids)))
    )
    jobs = bench.claimed(3)
    bench.completer.await_(jobs[1].id)
    bench.completer.await_(str(uuid4()))

    bench.settle([succeed(job) for job in jobs])
    bench.desk.done.clear()
    bench.settle([succeed(jobs[1])])

    assert calls == [(wakeup.DONE_CHANNEL, [jobs[1].id])]


def test_a_call_that_fails_changes_nothing(bench, monkeypatch):
    def notify(channel, ids):
        raise OperationalError("gone")

    monkeypatch.setattr(bench.broker, "notify", notify)
    (job,) = bench.claimed()
    bench.completer.await_(job.id)

    assert bench.settle([succeed(job)]) == {job.id: "successful"}


def test_waiters_who_have_gone_are_forgotten_by_one_that_ends_nothing(
    bench, monkeypatch
):
    now = [100.0]
    monkeypatch.setattr(room, "time", SimpleNamespace(monotonic=lambda: now[0]))

    for _ in range(100):
        bench.completer.await_(str(uuid4()))
        now[0] += room.AWAITED_SECONDS / 2

    assert len(bench.completer._awaited) < 6

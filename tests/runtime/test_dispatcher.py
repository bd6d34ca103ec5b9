"""Between the broker and the children: what is claimed, who gets it, what came back."""

from types import SimpleNamespace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from django_workers.brokers import ClaimedJob, Lane
from django_workers.runtime import attempt, link, waiting, wire
from django_workers.runtime import dispatcher as dispatcher_room
from django_workers.runtime.attempt import Report
from django_workers.runtime.dispatcher import Dispatcher
from django_workers.runtime.link import ChildLink
from django_workers.runtime.page import SharedPage, new_page

FAILURE = ("builtins.ValueError", "no", "no\n")


def job(number, *, priority=0, queue="default", epoch=1, **values):
    """Return a claimed job; its number is its id and its place."""
    return ClaimedJob(
        **{
            "id": f"job-{number}",
            "epoch": epoch,
            "task": "tests.tasks.noop",
            "queue": queue,
            "priority": priority,
            "position": number,
            "args": "[]",
            "kwargs": "{}",
            "attempts": 0,
            "crashes": 0,
            "interruptions": 0,
            "max_attempts": 1,
            "timeout": None,
            "on_crash": "retry",
            "backend": "default",
            "enqueued_at": 1.0,
            "run_after": None,
            "started_at": 1.0,
            "claimed_at": 1.0,
            "retry_until": None,
            "expired": False,
            "tags": "[]",
            "metadata": "{}",
            **values,
        }
    )


class Child:
    """A child's side of a link: what it was sent, what it has started."""

    def __init__(self, dispatcher, *, index=1, slots=2, ready=True):
        self.sent = []
        self.told = []
        self.is_gone = False
        self.page = SharedPage(new_page(slots), slots)
        self.link = ChildLink(
            index=index,
            pid=1000 + index,
            slots=slots,
            wire=SimpleNamespace(send=self._send, close=lambda: None),
            page=self.page,
        )
        self.dispatcher = dispatcher
        dispatcher.add(self.link)
        if ready:
            dispatcher.hello(self.link)

    def _send(self, kind, payload):
        if self.is_gone:
            raise BrokenPipeError
        if kind == wire.JOBS:
            self.sent += payload
        else:
            self.told.append((kind, payload))

    @property
    def ids(self):
        """The ids of all jobs sent, in order."""
        return [values[0] for _number, values, _history in self.sent]

    def number_of(self, job_id):
        return next(n for n, values, _ in reversed(self.sent) if values[0] == job_id)

    def start(self, job_id, *, slot=0):
        return self.page.start(slot, self.number_of(job_id))

    def report(self, job_id, kind=attempt.SUCCEED, **values):
        number = self.number_of(job_id)
        if kind == attempt.SUCCEED:
            values = {"result": "null", "duration": 0.001} | values
        elif kind != attempt.DROPPED:
            values = {"failure": FAILURE, "duration": 0.001} | values
        self.dispatcher.reported(self.link, [tuple(Report(number, kind, **values))])

    def give_up(self, job_id, kind, **values):
        report = Report(self.number_of(job_id), kind, failure=FAILURE, **values)
        self.dispatcher.stuck(self.link, tuple(report))


@pytest.fixture
def dispatcher():
    return Dispatcher(
        worker_id="worker-1",
        host="host-1",
        batch_size=100,
        max_crashes=3,
        prefetch=True,
        rank_of=lambda lane: (0, -lane.priority),
    )


@pytest.fixture
def child(dispatcher):
    return Child(dispatcher)


def endings(dispatcher):
    """Take all endings out as the completer does; say that they are written."""
    batch = dispatcher.to_settle(10_000)
    dispatcher.settled(batch)
    return [item.ending for item in batch]


def take(dispatcher, *jobs):
    expired = dispatcher.take(jobs, {})
    dispatcher.hand_out()
    return expired


# Handing out


def test_the_most_urgent_job_goes_first_whatever_the_order_of_claims(dispatcher, child):
    take(dispatcher, *[job(n) for n in range(2)])
    take(dispatcher, job(5), job(4), job(3, priority=-1), job(9, priority=7))
    assert child.ids == ["job-0", "job-1"]

    child.report("job-0")
    child.report("job-1")
    dispatcher.hand_out()
    child.report("job-9")
    child.report("job-4")
    dispatcher.hand_out()

    assert child.ids[2:] == ["job-9", "job-4", "job-5", "job-3"]


def test_a_child_gets_no_more_than_its_slots_until_it_is_known_to_be_quick(
    dispatcher, child
):
    take(dispatcher, *[job(n) for n in range(10)])

    assert len(child.sent) == 2
    assert dispatcher.held_count == 10
    assert dispatcher.running_count == 2


def test_a_quick_child_gets_a_few_milliseconds_of_work_ahead(dispatcher, child):
    take(dispatcher, job(0))
    child.report("job-0", duration=0.001)

    take(dispatcher, *[job(n) for n in range(1, 30)])

    ahead = child.link.speed.ahead()
    assert 0 < ahead <= link.AHEAD_SECONDS / 0.001
    assert len(child.ids) == 1 + 2 + ahead


def test_a_slow_child_gets_nothing_beyond_its_slots(dispatcher, child):
    take(dispatcher, job(0))
    child.report("job-0", duration=link.AHEAD_SECONDS * 2)

    take(dispatcher, *[job(n) for n in range(1, 30)])

    assert len(child.ids) == 1 + 2


def test_without_prefetch_nobody_gets_anything_ahead():
    dispatcher = Dispatcher(
        worker_id="w",
        host="h",
        batch_size=100,
        max_crashes=3,
        prefetch=False,
        rank_of=lambda lane: (0, -lane.priority),
    )
    child = Child(dispatcher)
    take(dispatcher, job(0))
    child.report("job-0", duration=0.0001)

    take(dispatcher, *[job(n) for n in range(1, 30)])

    assert len(child.ids) == 1 + 2
    assert dispatcher.wanted() == 0


def test_slots_are_filled_evenly(dispatcher):
    children = [Child(dispatcher, index=n, slots=4) for n in (1, 2, 3)]

    take(dispatcher, *[job(n) for n in range(6)])

    assert [len(child.sent) for child in children] == [2, 2, 2]


def test_a_child_that_has_not_said_hello_gets_nothing(dispatcher):
    child = Child(dispatcher, ready=False)

    assert dispatcher.wanted() == 0
    take(dispatcher, job(0))
    assert child.sent == []

    dispatcher.hello(child.link)
    dispatcher.hand_out()
    assert child.ids == ["job-0"]


def test_as_many_jobs_are_wanted_as_there_are_free_slots(dispatcher):
    for index in (1, 2):
        Child(dispatcher, index=index, slots=3)
    assert dispatcher.wanted() == 6

    take(dispatcher, *[job(n) for n in range(4)])

    assert dispatcher.wanted() == 2


def test_a_claim_is_never_larger_than_a_batch(dispatcher):
    Child(dispatcher, slots=500)

    assert dispatcher.wanted() == 100


def test_nothing_is_wanted_while_endings_pile_up(dispatcher, child, monkeypatch):
    monkeypatch.setattr(dispatcher_room, "MOST_UNSETTLED", 2)
    take(dispatcher, job(0), job(1))
    child.report("job-0")
    assert dispatcher.wanted() > 0
    child.report("job-1")

    assert dispatcher.wanted() == 0

    endings(dispatcher)
    assert dispatcher.wanted() > 0


def test_a_way_back_that_somebody_holds_up_keeps_nothing_from_being_claimed(
    dispatcher, child
):
    take(dispatcher, job(0))
    dispatcher.refuse([job(1)], reason="")
    assert dispatcher.wanted() == 0, "later jobs would come before it"

    dispatcher.put_off("job-1")

    assert dispatcher.wanted() > 0


def test_a_job_that_cannot_be_ended_is_known_and_not_held(dispatcher, child):
    take(dispatcher, job(0))
    child.start("job-0")
    child.report("job-0")
    dispatcher.refused("job-0")
    endings(dispatcher)

    assert dispatcher.held_count == 0
    assert dispatcher.known_ids() == {"job-0"}

    take(dispatcher, job(0, epoch=2))
    child.start("job-0")
    child.report("job-0")
    endings(dispatcher)
    assert dispatcher.known_ids() == set()


def test_an_expired_job_never_reaches_a_child(dispatcher, child):
    late = job(0, expired=True)

    assert take(dispatcher, late, job(1)) == [late]

    assert child.ids == ["job-1"]
    (ending,) = endings(dispatcher)
    assert (ending.status, ending.outcome) == ("cancelled", "expired")
    assert ending.attempts == 0


def test_a_job_that_has_once_started_does_not_expire(dispatcher, child):
    again = job(0, expired=True, started_at=1.0, claimed_at=9.0, attempts=1)

    assert take(dispatcher, again) == []

    assert child.ids == ["job-0"]


@pytest.mark.parametrize("charged", ["attempts", "crashes"])
def test_an_attempt_that_comes_after_retry_until_never_reaches_a_child(
    dispatcher, child, charged
):
    late = job(0, claimed_at=60.5, retry_until=60.0, **{charged: 1})
    first = job(1, claimed_at=60.5, retry_until=60.0)
    early = job(2, claimed_at=59.5, retry_until=60.0, **{charged: 1})

    assert take(dispatcher, late, first, early) == [late]

    assert child.ids == ["job-1", "job-2"]
    (ending,) = endings(dispatcher)
    assert (ending.status, ending.outcome) == ("failed", "expired")
    assert ending.reason == "its time for retries is over"
    assert (ending.attempts, ending.crashes) == (0, 0)


# Reports


def test_each_report_becomes_an_ending(dispatcher):
    child = Child(dispatcher, slots=9)
    take(dispatcher, *[job(n) for n in range(5)])
    child.report("job-0", result='{"a":1}', duration=0.5)
    child.report("job-1", attempt.FAIL, outcome="failed", reason="no")
    child.report("job-2", attempt.RETRY, outcome="timed_out", delay=3.0)
    child.report("job-3", attempt.SNOOZE, failure=None, delay=4.0)
    child.report("job-4", attempt.CANCEL, reason="enough")

    found = endings(dispatcher)

    assert [(e.id, e.epoch, e.status, e.outcome) for e in found] == [
        ("job-0", 1, "successful", "successful"),
        ("job-1", 1, "failed", "failed"),
        ("job-2", 1, "scheduled", "timed_out"),
        ("job-3", 1, "scheduled", "snoozed"),
        ("job-4", 1, "cancelled", "cancelled"),
    ]
    assert [e.attempts for e in found] == [1, 1, 1, 0, 0]
    assert {(e.worker, e.host, e.pid) for e in found} == {("worker-1", "host-1", 1001)}
    assert (found[0].result, found[0].duration) == ('{"a":1}', 0.5)
    assert [e.delay for e in found] == [None, None, 3.0, 4.0, None]
    assert dispatcher.held_count == 0


def test_a_report_about_nothing_held_is_dropped(dispatcher, child):
    take(dispatcher, job(0))
    child.report("job-0")
    child.report("job-0")

    assert len(endings(dispatcher)) == 1


def test_what_a_child_dropped_waits_again(dispatcher, child):
    take(dispatcher, job(0))
    child.report("job-0", attempt.DROPPED)

    dispatcher.hand_out()

    assert child.ids == ["job-0", "job-0"]
    assert endings(dispatcher) == []


def test_a_job_that_will_not_stop_ends_without_its_body(dispatcher, child):
    take(dispatcher, job(0), job(1), job(2))

    child.give_up("job-0", attempt.FAIL, outcome="timed_out")
    dispatcher.hand_out()

    (ending,) = endings(dispatcher)
    assert (ending.status, ending.outcome) == ("failed", "timed_out")
    # Its slot is still taken by the body.
    assert child.ids == ["job-0", "job-1"]
    child.report("job-0")
    assert endings(dispatcher) == []
    dispatcher.hand_out()
    assert child.ids == ["job-0", "job-1", "job-2"]


def test_a_job_that_will_not_stop_goes_where_its_process_says(dispatcher, child):
    take(dispatcher, job(0, max_attempts=2), job(1))

    child.give_up("job-0", attempt.RETRY, outcome="timed_out", delay=60.0)
    child.give_up("job-1", attempt.CANCEL, outcome="cancelled", reason="enough")

    retried, cancelled = endings(dispatcher)
    assert (retried.status, retried.delay) == ("scheduled", 60.0)
    assert (cancelled.status, cancelled.reason) == ("cancelled", "enough")


def test_a_job_is_given_up_once(dispatcher, child):
    take(dispatcher, job(0))

    child.give_up("job-0", attempt.CANCEL, outcome="cancelled")
    child.give_up("job-0", attempt.CANCEL, outcome="cancelled")

    assert [e.status for e in endings(dispatcher)] == ["cancelled"]


# Children that answer nothing

GRACE = 5.0


def look(dispatcher, seconds):
    """Look at the children so many seconds from now; the ids of the ended jobs."""
    silent = dispatcher.end_overdue(link.time.monotonic() + seconds, grace=GRACE)
    return silent, {e.id: (e.status, e.outcome) for e in endings(dispatcher)}


def test_a_silent_child_is_ended_once_a_jobs_time_is_up(dispatcher, child):
    take(dispatcher, job(0), job(1))
    child.start("job-0", slot=0)
    child.start("job-1", slot=1)
    child.page.must_end(0, link.time.monotonic() + 1.0)
    assert look(dispatcher, 0) == ([], {})
    assert look(dispatcher, GRACE) == ([], {})

    found = look(dispatcher, GRACE + 1.1)

    assert found == ([child.link], {"job-0": ("failed", "timed_out")})
    # Its neighbour is not charged.
    child.link.killed = True
    dispatcher.lost_child(child.link, how="was killed by SIGKILL")
    (other,) = endings(dispatcher)
    assert (other.id, other.outcome, other.interruptions) == ("job-1", "interrupted", 1)


def test_a_child_that_shows_signs_of_life_minds_its_jobs_itself(dispatcher, child):
    take(dispatcher, job(0))
    child.start("job-0")
    child.page.must_end(0, link.time.monotonic() + 1.0)

    for seconds in range(20):
        child.page.beat()
        assert look(dispatcher, seconds) == ([], {})


def test_a_silent_child_whose_jobs_have_time_is_left_alone(dispatcher, child):
    take(dispatcher, job(0))
    child.start("job-0")

    assert look(dispatcher, 0) == ([], {})
    assert look(dispatcher, 10_000) == ([], {})


def test_a_job_of_a_silent_child_may_be_cancelled(dispatcher, child):
    take(dispatcher, job(0))
    child.start("job-0")
    dispatcher.cancel("job-0", 1, "enough")
    assert look(dispatcher, 0) == ([], {})

    silent, ended = look(dispatcher, GRACE + 1)

    assert (silent, ended) == ([child.link], {"job-0": ("cancelled", "cancelled")})


def test_a_job_of_a_silent_child_is_tried_again_while_its_budget_lasts(
    dispatcher, child
):
    take(dispatcher, job(0, max_attempts=2))
    child.start("job-0")
    child.page.must_end(0, link.time.monotonic() - 1.0)
    look(dispatcher, 0)

    _, ended = look(dispatcher, GRACE + 1)

    assert ended == {"job-0": ("scheduled", "timed_out")}


# Recalls


def make_quick(child):
    take(child.dispatcher, job(-1))
    child.report("job--1", duration=0.0001)
    endings(child.dispatcher)
    child.sent.clear()


def test_what_stands_behind_slow_slots_is_taken_back_and_given_to_others(
    dispatcher, child, monkeypatch
):
    make_quick(child)
    take(dispatcher, *[job(n) for n in range(6)])
    child.start("job-0", slot=0)
    child.start("job-1", slot=1)
    other = Child(dispatcher, index=2, slots=3)
    now = link.time.monotonic()
    monkeypatch.setattr(link.time, "monotonic", lambda: now + link.STALL_SECONDS + 1)

    dispatcher.look_after()
    dispatcher.hand_out()

    assert other.ids == ["job-2", "job-3", "job-4"]
    assert [j.id for j in child.link.held.values()] == ["job-0", "job-1"]
    # The revoked frames are never run by the first child.
    assert not child.start("job-2")
    assert dispatcher.held_count == 6


def test_jobs_that_wait_in_vain_go_back_to_their_lane(dispatcher, child, monkeypatch):
    take(dispatcher, *[job(n) for n in range(4)])
    dispatcher.look_after()
    assert endings(dispatcher) == []
    now = link.time.monotonic()
    monkeypatch.setattr(
        link.time, "monotonic", lambda: now + waiting.PATIENCE_SECONDS + 0.1
    )

    dispatcher.look_after()

    found = endings(dispatcher)
    assert [e.id for e in found] == ["job-2", "job-3"]
    assert all(e.in_place and e.status == "ready" and not e.outcome for e in found)
    assert dispatcher.held_count == 2


def test_everything_unstarted_is_handed_back_at_once(dispatcher, child):
    make_quick(child)
    take(dispatcher, *[job(n) for n in range(6)])
    take(dispatcher, *[job(n) for n in range(6, 400)])
    child.start("job-0", slot=0)
    child.start("job-1", slot=1)

    dispatcher.hand_back_all()

    assert dispatcher.handed_back == 398
    assert len(endings(dispatcher)) == 398
    assert dispatcher.held_count == 2


def test_what_comes_back_later_is_handed_back_too(dispatcher, child):
    take(dispatcher, job(0), job(1))
    child.start("job-0", slot=0)
    dispatcher.hand_back_all()
    assert dispatcher.handed_back == 1

    # One that was recalled just as it started, and a claim that was under way.
    take(dispatcher, job(2), job(3))
    child.report("job-0", attempt.DROPPED)
    dispatcher.hand_out()

    assert dispatcher.handed_back == 4
    assert child.ids == ["job-0", "job-1"]
    assert [(e.id, e.status, e.outcome) for e in endings(dispatcher)] == [
        (f"job-{n}", "ready", "") for n in (1, 2, 3, 0)
    ]


def test_what_a_drain_kills_is_handed_back_as_well(dispatcher, child):
    take(dispatcher, job(0), job(1, on_crash="fail"))
    child.start("job-0", slot=0)
    child.start("job-1", slot=1)
    dispatcher.hand_back_all()

    child.link.killed = True
    dispatcher.lost_child(child.link, how="was killed by SIGKILL")

    assert dispatcher.handed_back == 1
    assert {e.id: e.status for e in endings(dispatcher)} == {
        "job-0": "ready",
        "job-1": "failed",
    }


def test_what_goes_back_before_a_drain_does_not_count_as_its_doing(dispatcher, child):
    take(dispatcher, job(0), job(1))
    dispatcher.refuse([job(2)], reason="")

    assert dispatcher.handed_back == 0


def test_a_retiring_child_gets_nothing_more(dispatcher, child):
    make_quick(child)
    take(dispatcher, *[job(n) for n in range(6)])
    child.start("job-0")

    dispatcher.retire(child.link)
    dispatcher.hand_out()

    assert [j.id for j in child.link.held.values()] == ["job-0"]
    assert dispatcher.wanted() == 0
    assert dispatcher.slot_count == 0
    other = Child(dispatcher, index=2, slots=9)
    dispatcher.hand_out()
    assert other.ids == ["job-1", "job-2", "job-3", "job-4", "job-5"]


def test_the_history_of_a_job_travels_with_it_however_often_it_moves(dispatcher, child):
    history = [{"outcome": "failed", "worker": "w", "exception": "E", "traceback": "t"}]
    make_quick(child)
    retried = job(3, attempts=1, max_attempts=3)
    dispatcher.take([job(1), job(2), retried], {retried.id: history})
    dispatcher.hand_out()
    child.start("job-1", slot=0)
    child.start("job-2", slot=1)
    dispatcher.retire(child.link)
    second = Child(dispatcher, index=2)
    dispatcher.hand_out()
    dispatcher.lost_child(second.link, how="was killed")
    third = Child(dispatcher, index=3)

    dispatcher.hand_out()

    for holder in (child, second, third):
        assert [h for _n, values, h in holder.sent if values[0] == "job-3"] == [history]


# Children that die


def test_what_a_dead_child_had_started_has_crashed_and_the_rest_runs_elsewhere(
    dispatcher, child
):
    make_quick(child)
    take(dispatcher, *[job(n) for n in range(4)])
    child.start("job-0", slot=0)
    child.start("job-1", slot=1)
    other = Child(dispatcher, index=2, slots=9)

    dispatcher.lost_child(child.link, how="was killed by SIGKILL")
    dispatcher.hand_out()

    found = endings(dispatcher)
    assert [(e.id, e.status, e.outcome) for e in found] == [
        ("job-0", "ready", "crashed"),
        ("job-1", "ready", "crashed"),
    ]
    assert all(e.crashes == 1 and not e.attempts and e.in_place for e in found)
    assert "SIGKILL" in found[0].failure.message
    assert other.ids == ["job-2", "job-3"]


@pytest.mark.parametrize(
    ("values", "killed", "status", "outcome"),
    [
        ({}, False, "ready", "crashed"),
        ({"crashes": 1}, False, "ready", "crashed"),
        ({"crashes": 2}, False, "failed", "crashed"),
        ({"on_crash": "fail"}, False, "failed", "crashed"),
        ({}, True, "ready", "interrupted"),
        ({"crashes": 2}, True, "ready", "interrupted"),
        ({"interruptions": 99}, True, "ready", "interrupted"),
        ({"on_crash": "fail"}, True, "failed", "interrupted"),
    ],
)
def test_a_crash_is_charged_by_who_is_to_blame(
    dispatcher, child, values, killed, status, outcome
):
    take(dispatcher, job(0, **values))
    child.start("job-0")
    child.link.killed = killed

    dispatcher.lost_child(child.link, how="was killed")

    (ending,) = endings(dispatcher)
    assert (ending.status, ending.outcome) == (status, outcome)
    assert (ending.crashes, ending.interruptions) == (not killed, killed)
    assert bool(ending.reason) == (status == "failed")


def test_a_child_dies_once(dispatcher, child):
    take(dispatcher, job(0))
    child.start("job-0")

    dispatcher.lost_child(child.link, how="was killed")
    dispatcher.lost_child(child.link, how="was killed")

    assert len(endings(dispatcher)) == 1


def test_jobs_sent_to_a_child_that_is_gone_come_back(dispatcher, child):
    child.is_gone = True
    take(dispatcher, job(0), job(1))
    other = Child(dispatcher, index=2)

    dispatcher.lost_child(child.link, how="was killed")
    dispatcher.hand_out()

    assert other.ids == ["job-0", "job-1"]
    assert endings(dispatcher) == []


# Cancelling


def test_a_waiting_job_is_cancelled_here(dispatcher, child):
    take(dispatcher, *[job(n) for n in range(3)])

    dispatcher.cancel("job-2", 1, "enough")
    dispatcher.cancel("job-2", 1, "enough")

    (ending,) = endings(dispatcher)
    assert (ending.id, ending.status, ending.reason) == ("job-2", "cancelled", "enough")
    assert child.told == []


def test_a_running_job_is_cancelled_by_its_child(dispatcher, child):
    take(dispatcher, job(0))

    dispatcher.cancel("job-0", 1, "enough")
    dispatcher.cancel("job-0", 7, "another claim of it")
    dispatcher.cancel("job-9", 1, "not held here")

    number = child.number_of("job-0")
    assert child.told == [(wire.CANCEL, [(number, "enough")])]
    assert endings(dispatcher) == []


def test_a_cancellation_for_a_child_that_is_gone_changes_nothing(dispatcher, child):
    take(dispatcher, job(0))
    child.is_gone = True

    dispatcher.cancel("job-0", 1, "enough")

    assert dispatcher.held_count == 1


# What cannot be run here


def test_a_job_nobody_knows_is_parked_and_one_for_others_released(dispatcher):
    dispatcher.refuse([job(0)], reason="unroutable: no")
    dispatcher.refuse([job(1)], reason="")

    parked, released = endings(dispatcher)
    assert (parked.status, parked.reason) == ("blocked", "unroutable: no")
    assert (released.status, released.in_place) == ("ready", True)
    assert dispatcher.held_count == 0


# Claims of what is in flight


def test_a_claim_the_database_forgot_is_renewed_and_not_sent_again(dispatcher, child):
    take(dispatcher, *[job(n) for n in range(3)])

    take(dispatcher, *[job(n, epoch=2) for n in range(3)])

    assert child.ids == ["job-0", "job-1"]
    for job_id in ("job-0", "job-1"):
        child.report(job_id)
    dispatcher.hand_out()
    child.report("job-2")
    assert [e.epoch for e in endings(dispatcher)] == [2, 2, 2]
    assert dispatcher.held_count == 0


def test_a_job_claimed_again_before_its_ending_was_ticked_off_runs_again(
    dispatcher, child
):
    # A claim sees the commit of an ending before the completer says so.
    take(dispatcher, job(0, max_attempts=2))
    child.report("job-0", attempt.RETRY, outcome="failed", delay=0.0)
    batch = dispatcher.to_settle(10)

    take(dispatcher, job(0, epoch=2, attempts=1, max_attempts=2))
    dispatcher.settled(batch)

    assert child.ids == ["job-0", "job-0"]
    assert dispatcher.held_count == 1
    child.report("job-0")
    assert [e.epoch for e in endings(dispatcher)] == [2]
    assert dispatcher.held_count == 0


def test_a_job_that_ends_twice_before_the_first_is_ticked_off_is_held_until_the_last(
    dispatcher, child
):
    take(dispatcher, job(0, max_attempts=3))
    child.report("job-0", attempt.RETRY, outcome="failed", delay=0.0)
    first = dispatcher.to_settle(10)
    take(dispatcher, job(0, epoch=2, attempts=1, max_attempts=3))
    child.report("job-0", attempt.RETRY, outcome="failed", delay=0.0)
    second = dispatcher.to_settle(10)
    take(dispatcher, job(0, epoch=3, attempts=2, max_attempts=3))

    dispatcher.settled(first)
    assert dispatcher.held_count == 1
    dispatcher.settled(second)

    assert dispatcher.held_count == 1
    assert len(child.ids) == 3


def test_a_claim_forgotten_while_its_ending_waits_is_ended_by_that_ending(
    dispatcher, child
):
    take(dispatcher, job(0))
    child.report("job-0")

    take(dispatcher, job(0))

    assert child.ids == ["job-0"]
    assert [e.id for e in endings(dispatcher)] == ["job-0"]
    assert dispatcher.held_count == 0


# Lanes that got jobs back


def test_a_lane_is_told_of_returned_jobs_once_they_are_there(dispatcher, child):
    take(dispatcher, *[job(n, queue="q", priority=3) for n in range(4)])
    dispatcher.hand_back_all()
    batch = dispatcher.to_settle(10)

    # Before the commit a claim would find nothing, and its floor would pass them.
    assert dispatcher.returned_lanes() == set()
    dispatcher.room_event.clear()
    dispatcher.settled(batch)

    assert dispatcher.room_event.is_set()
    assert dispatcher.returned_lanes() == {Lane("q", 3)}
    assert dispatcher.returned_lanes() == set()


class Life(RuleBasedStateMachine):
    """Whatever happens in whatever order: no job is lost, none is at two places."""

    @initialize()
    def begin(self):
        self.dispatcher = Dispatcher(
            worker_id="w",
            host="h",
            batch_size=20,
            max_crashes=3,
            prefetch=True,
            rank_of=lambda lane: (0, -lane.priority),
        )
        self.children = []
        # What the database would say: epoch of each job, and whether it is ours.
        self.epochs = {}
        self.ours = set()
        self.count = 0
        self.batches = []
        self.indexes = 0
        self.running = {}

    @rule(slots=st.integers(1, 3))
    def child_starts(self, slots):
        if len(self.children) < 3:
            self.indexes += 1
            self.children.append(
                Child(self.dispatcher, index=self.indexes, slots=slots)
            )

    @rule(count=st.integers(1, 5), priority=st.sampled_from([0, 5]))
    def claim_new(self, count, priority):
        jobs = []
        for _ in range(count):
            self.count += 1
            jobs.append(job(self.count, priority=priority))
            self.epochs[jobs[-1].id] = 1
            self.ours.add(jobs[-1].id)
        take(self.dispatcher, *jobs)

    @rule()
    def claim_again(self):
        jobs = [
            job(int(i.split("-")[1]), epoch=self.epochs[i] + 1, max_attempts=9)
            for i in sorted(set(self.epochs) - self.ours)[:2]
        ]
        for claimed in jobs:
            self.epochs[claimed.id] = claimed.epoch
            self.ours.add(claimed.id)
        take(self.dispatcher, *jobs)

    @rule(data=st.data())
    def slot_starts(self, data):
        free = [
            (child, slot)
            for child in self.children
            for slot in range(child.link.slots)
            if (child, slot) not in self.running
        ]
        if not free:
            return
        child, slot = data.draw(st.sampled_from(free))
        begun = {n for (c, _s), n in self.running.items() if c is child}
        number = next(
            (n for n, _v, _h in child.sent if n > child.page.highest_started()), None
        )
        if number is None or number in begun:
            return
        if child.page.start(slot, number):
            self.running[child, slot] = number

    @rule(data=st.data(), kind=st.sampled_from(["succeed", "retry"]))
    def body_ends(self, data, kind):
        if not self.running:
            return
        places = sorted(self.running, key=lambda place: (place[0].link.index, place[1]))
        child, slot = data.draw(st.sampled_from(places))
        number = self.running.pop((child, slot))
        values = {"result": "null", "duration": 0.0001}
        if kind == attempt.RETRY:
            values = {"failure": FAILURE, "duration": 0.0001, "outcome": "failed"}
        self.dispatcher.reported(child.link, [tuple(Report(number, kind, **values))])

    @rule(data=st.data())
    def child_dies(self, data):
        if not self.children:
            return
        child = data.draw(st.sampled_from(self.children))
        self.children.remove(child)
        self.running = {p: n for p, n in self.running.items() if p[0] is not child}
        self.dispatcher.lost_child(child.link, how="was killed")

    @rule(data=st.data())
    def child_retires(self, data):
        if self.children:
            self.dispatcher.retire(data.draw(st.sampled_from(self.children)).link)

    @rule()
    def time_goes_by(self):
        self.dispatcher.look_after()
        self.dispatcher.hand_out()

    @rule(data=st.data())
    def cancel(self, data):
        if self.ours:
            job_id = data.draw(st.sampled_from(sorted(self.ours)))
            self.dispatcher.cancel(job_id, self.epochs[job_id], "enough")

    @rule(drains=st.integers(0, 9))
    def drain(self, drains):
        if drains == 9:  # nothing is handed out after it
            self.dispatcher.hand_back_all()

    @rule(limit=st.integers(1, 4))
    def commit(self, limit):
        batch = self.dispatcher.to_settle(limit)
        for item in batch:
            # Every ending belongs to a claim that is still ours, and ends it once.
            assert item.ending.id in self.ours
            assert item.ending.epoch == self.epochs[item.ending.id]
            self.ours.remove(item.ending.id)
        self.batches.append(batch)

    @rule()
    def tick_off(self):
        if self.batches:
            self.dispatcher.settled(self.batches.pop(0))

    @invariant()
    def every_job_of_ours_is_at_one_place(self):
        if not hasattr(self, "dispatcher"):
            return
        dispatcher = self.dispatcher
        places = [job.id for job in dispatcher._waiting]
        for child in self.children:
            places += [held.id for held in child.link.held.values()]
        places += [item.ending.id for item in dispatcher._endings._waiting]
        assert sorted(places) == sorted(self.ours)
        assert dispatcher.held_count >= len(self.ours)
        assert self.ours <= set(dispatcher._ids)

    def teardown(self):
        if not hasattr(self, "dispatcher"):
            return
        while self.batches:
            self.tick_off()
        self.dispatcher.hand_back_all()
        for child in list(self.children):
            self.children.remove(child)
            self.dispatcher.lost_child(child.link, how="was killed")
        self.dispatcher.hand_back_all()
        endings(self.dispatcher)
        assert self.dispatcher.held_count == 0
        for child in self.children:
            child.page.close()


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)

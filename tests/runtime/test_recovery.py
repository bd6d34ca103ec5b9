"""What a supervisor does about jobs whose child died or whose claim went astray."""

import os
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from django_workers.brokers import ClaimedJob, Ending, Lane
from django_workers.runtime import attempt, wire
from django_workers.runtime import dispatcher as room
from django_workers.runtime.attempt import Report
from django_workers.runtime.dispatcher import Dispatcher
from django_workers.runtime.link import ChildLink
from django_workers.runtime.page import SharedPage, new_page
from django_workers.runtime.wire import Wire


class Child:
    """A child's own ends, without the child."""

    def __init__(self, link: ChildLink, sock: socket.socket, page: SharedPage) -> None:
        self.link = link
        self.page = page
        self.wire = Wire(sock)

    def receive(self) -> list[tuple[int, str, Any]]:
        """Return the jobs of the next frame as (number, id, history)."""
        frame = self.wire.receive()
        assert frame is not None
        assert frame[0] == wire.JOBS
        return [(number, values[0], history) for number, values, history in frame[1]]

    def start(self, *numbers: int) -> None:
        """Note that these frames have started, each in a slot of its own."""
        for slot, number in enumerate(numbers):
            assert self.page.start(slot, number)


@pytest.fixture
def child() -> Iterator[Callable[..., Child]]:
    made: list[Child] = []

    def make(dispatcher: Dispatcher, *, slots: int = 2) -> Child:
        mine, theirs = socket.socketpair()
        page_fd = new_page(slots)
        link = ChildLink.adopt(
            index=len(made),
            pid=100 + len(made),
            slots=slots,
            sock=mine,
            page_fd=page_fd,
        )
        made.append(Child(link, theirs, SharedPage(page_fd, slots)))
        os.close(page_fd)
        dispatcher.add(link)
        dispatcher.hello(link)
        return made[-1]

    yield make
    for each in made:
        each.wire.close()
        each.page.close()
        if each.link.wire.fileno() >= 0:
            each.link.close()


@pytest.fixture
def dispatcher() -> Dispatcher:
    return Dispatcher(
        worker_id="w",
        host="h",
        batch_size=100,
        max_crashes=3,
        prefetch=True,
        rank_of=lambda lane: (0, -lane.priority),
    )


def job(name: str, *, position: int = 1, **values: Any) -> ClaimedJob:
    return ClaimedJob(
        **{
            "id": name,
            "epoch": 1,
            "task": "t",
            "queue": "q",
            "priority": 0,
            "position": position,
            "args": "[]",
            "kwargs": "{}",
            "attempts": 0,
            "crashes": 0,
            "interruptions": 0,
            "max_attempts": 1,
            "timeout": None,
            "on_crash": "retry",
            "backend": "default",
            "enqueued_at": 0.0,
            "run_after": None,
            "started_at": 0.0,
            "claimed_at": 0.0,
            "retry_until": None,
            "expired": False,
            "tags": "[]",
            "metadata": "{}",
            **values,
        }
    )


def settle(dispatcher: Dispatcher) -> list[Ending]:
    batch = dispatcher.to_settle(100)
    dispatcher.settled(batch)
    return [item.ending for item in batch]


def test_a_job_claimed_again_before_its_ending_is_acknowledged_is_a_new_claim(
    dispatcher, child
):
    first = child(dispatcher)
    dispatcher.take([job("a")], {})
    dispatcher.hand_out()
    first.start(1)
    dispatcher.lost_child(first.link, how="died")
    batch = dispatcher.to_settle(100)  # committed, and not yet said so
    second = child(dispatcher)

    dispatcher.take([job("a", epoch=2, crashes=1)], {})
    dispatcher.settled(batch)
    dispatcher.hand_out()

    assert second.receive() == [(1, "a", None)]
    assert dispatcher.known_ids() == {"a"}


def test_a_claim_the_database_forgot_is_not_sent_again(dispatcher, child):
    only = child(dispatcher)
    dispatcher.take([job("a")], {})
    dispatcher.hand_out()
    assert only.receive() == [(1, "a", None)]

    dispatcher.take([job("a"), job("b")], {})
    dispatcher.hand_out()

    assert only.receive() == [(2, "b", None)]


def test_a_claim_the_database_forgot_is_ended_by_the_ending_on_its_way(
    dispatcher, child
):
    only = child(dispatcher)
    dispatcher.take([job("a")], {})
    dispatcher.hand_out()
    report = Report(1, attempt.SUCCEED, result="1", duration=0.1)
    dispatcher.reported(only.link, [tuple(report)])

    dispatcher.take([job("a")], {})

    assert [ending.id for ending in settle(dispatcher)] == ["a"]
    assert dispatcher.held_count == 0


def test_a_job_put_back_keeps_the_history_of_its_attempts(dispatcher, child):
    first = child(dispatcher, slots=1)
    history = [{"outcome": "failed"}]
    dispatcher.take([job("a", attempts=1)], {"a": history})
    dispatcher.hand_out()
    assert first.receive() == [(1, "a", history)]
    dispatcher.lost_child(first.link, how="died before it started anything")
    second = child(dispatcher)

    dispatcher.hand_out()

    assert second.receive() == [(1, "a", history)]


def test_nothing_is_claimed_while_jobs_are_on_their_way_back(dispatcher, child):
    first = child(dispatcher)
    dispatcher.take([job("a")], {})
    dispatcher.hand_out()
    first.start(1)
    dispatcher.lost_child(first.link, how="died")
    child(dispatcher)

    assert dispatcher.wanted() == 0
    assert dispatcher.returned_lanes() == set()

    settle(dispatcher)

    assert dispatcher.wanted() == 2
    assert dispatcher.returned_lanes() == {Lane("q", 0)}


def test_a_crash_says_which_process_it_was(dispatcher, child):
    first = child(dispatcher)
    dispatcher.take([job("a")], {})
    dispatcher.hand_out()
    first.start(1)

    dispatcher.lost_child(first.link, how="was killed")

    (ending,) = settle(dispatcher)
    assert (ending.outcome, ending.pid, ending.worker) == ("crashed", 100, "w")


def test_a_job_under_suspicion_runs_alone(dispatcher, child):
    only = child(dispatcher, slots=3)
    dispatcher.take([job("a"), job("s", crashes=2), job("b", position=2)], {})
    dispatcher.hand_out()
    # The child is kept for it, and nothing else may start beside it.
    assert [name for _, name, _ in only.receive()] == ["s"]
    dispatcher.hand_out()
    assert dispatcher.wanted() == 0

    report = Report(1, attempt.SUCCEED, result="1", duration=0.1)
    dispatcher.reported(only.link, [tuple(report)])
    dispatcher.hand_out()

    assert [name for _, name, _ in only.receive()] == ["a", "b"]


def test_a_job_under_suspicion_waits_for_an_empty_child(dispatcher, child):
    busy = child(dispatcher, slots=1)
    dispatcher.take([job("a")], {})
    dispatcher.hand_out()
    busy.receive()
    busy.start(1)

    dispatcher.take([job("s", crashes=2), job("b", position=2)], {})
    dispatcher.hand_out()
    report = Report(1, attempt.SUCCEED, result="1", duration=0.1)
    dispatcher.reported(busy.link, [tuple(report)])
    dispatcher.hand_out()

    assert [name for _, name, _ in busy.receive()] == ["s"]


def test_other_children_go_on_while_one_is_kept(dispatcher, child):
    children = [child(dispatcher, slots=1), child(dispatcher, slots=1)]
    dispatcher.take([job("s", crashes=2), job("a"), job("b", position=2)], {})

    dispatcher.hand_out()

    sent = [[name for _, name, _ in each.receive()] for each in children]
    assert sorted(sent) == [["a"], ["s"]]


@pytest.mark.parametrize(
    ("company", "crashes", "status"),
    [
        ([], 2, "failed"),
        ([], 1, "ready"),
        (["b"], 2, "ready"),  # the other one may have been it
    ],
)
def test_only_a_crash_alone_ends_a_job(dispatcher, child, company, crashes, status):
    only = child(dispatcher)
    # As if both had been sent before the limit was reached: a setting may be lowered.
    dispatcher._suspect_at = 99
    dispatcher.take([job("a", crashes=crashes), *map(job, company)], {})
    dispatcher.hand_out()
    only.start(*range(1, 2 + len(company)))

    dispatcher.lost_child(only.link, how="was killed")

    ending = next(ending for ending in settle(dispatcher) if ending.id == "a")
    assert ending.status == status


def test_a_child_kept_for_suspects_may_die(dispatcher, child):
    first, second = child(dispatcher), child(dispatcher)
    dispatcher.take([job("s", crashes=2), job("t", crashes=2, position=2)], {})
    dispatcher.hand_out()
    assert [name for _, name, _ in first.receive()] == ["s"]
    first.start(1)
    dispatcher.lost_child(first.link, how="was killed")

    dispatcher.hand_out()

    assert [name for _, name, _ in second.receive()] == ["t"]
    (ending,) = settle(dispatcher)
    assert (ending.id, ending.status, ending.crashes) == ("s", "failed", 1)


def test_of_many_jobs_under_suspicion_a_worker_keeps_no_more_than_it_needs(
    dispatcher, child
):
    children = [child(dispatcher, slots=1), child(dispatcher, slots=1)]
    suspects = [
        job(f"s{n}", crashes=2, position=n) for n in range(room.MOST_SUSPECTS + 3)
    ]

    dispatcher.take(suspects, {})
    dispatcher.hand_out()

    # The others wait where any worker can take them, at no charge.
    postponed = settle(dispatcher)
    assert [ending.id for ending in postponed] == ["s8", "s9", "s10"]
    for ending in postponed:
        assert (ending.status, ending.outcome) == ("scheduled", "")
        assert (ending.delay, ending.attempts) == (room.SUSPECT_SECONDS, 0)
    assert [job.id for each in children for job in each.link.held.values()] == ["s0"]


def test_the_only_child_takes_one_suspect_at_a_time_and_other_jobs_in_between(
    dispatcher, child, monkeypatch
):
    only = child(dispatcher, slots=2)
    suspects = [job(f"s{n}", crashes=2, position=n) for n in range(2)]
    dispatcher.take([*suspects, job("a", position=4)], {})
    dispatcher.hand_out()
    assert [name for _, name, _ in only.receive()] == ["s0"]

    report = Report(1, attempt.SUCCEED, result="1", duration=0.1)
    dispatcher.reported(only.link, [tuple(report)])
    dispatcher.hand_out()
    assert [name for _, name, _ in only.receive()] == ["a"]
    dispatcher.reported(only.link, [tuple(report._replace(number=2))])
    now = room.time.monotonic()
    monkeypatch.setattr(room.time, "monotonic", lambda: now + room.OTHERS_SECONDS)
    dispatcher.hand_out()

    assert [name for _, name, _ in only.receive()] == ["s1"]


def test_jobs_under_suspicion_are_handed_back_and_cancelled_like_others(
    dispatcher, child
):
    children = [child(dispatcher, slots=1), child(dispatcher, slots=1)]
    dispatcher.take([job("a"), job("b")], {})
    dispatcher.hand_out()
    for each in children:
        each.start(1)
    dispatcher.take([job("s", crashes=2), job("t", crashes=2, position=2)], {})

    dispatcher.cancel("s", 1, "not needed")
    dispatcher.hand_back_all()

    assert {ending.id: ending.status for ending in settle(dispatcher)} == {
        "s": "cancelled",
        "t": "ready",
    }

"""The page of memory a child and its supervisor share: what has started, what may."""

import os

import pytest

from django_workers.runtime.page import SharedPage, new_page, page_bytes
from tests.support import wait_until

SLOTS = 3


@pytest.fixture
def sides():
    """Return both sides of one page: the child's, the supervisor's."""
    fd = new_page(SLOTS)
    child, supervisor = SharedPage(fd, SLOTS), SharedPage(fd, SLOTS)
    yield child, supervisor
    child.close()
    supervisor.close()
    os.close(fd)


def test_a_new_page_holds_nothing_that_has_started(sides):
    child, supervisor = sides

    assert supervisor.started() == [0] * SLOTS
    assert supervisor.highest_started() == 0
    assert child.start(0, 1)


def test_one_side_sees_what_the_other_has_started(sides):
    child, supervisor = sides

    child.start(0, 1)
    child.start(2, 3)

    assert supervisor.started() == [1, 0, 3]
    assert supervisor.highest_started() == 3


def test_what_was_revoked_does_not_start(sides):
    child, supervisor = sides
    child.start(0, 4)

    assert supervisor.revoke(7) == 4

    assert not child.start(1, 5)
    assert not child.start(1, 7)
    assert child.start(1, 8)


def test_what_was_dropped_does_not_seem_to_have_started(sides):
    child, supervisor = sides
    child.start(0, 4)
    supervisor.revoke(7)

    child.start(1, 5)
    child.start(0, 6)

    assert supervisor.started() == [4, 0, 0]
    assert supervisor.highest_started() == 4


def test_a_page_has_two_words_for_each_slot_and_two_more():
    assert page_bytes(SLOTS) == 8 * (2 * SLOTS + 2)


def test_a_pulse_grows(sides):
    child, supervisor = sides
    before = supervisor.pulse

    child.beat()

    assert supervisor.pulse == before + 1


def test_one_side_sees_whose_time_is_up(sides):
    child, supervisor = sides
    for slot, number in enumerate((4, 5, 6)):
        child.start(slot, number)
    child.must_end(0, 100.0)
    child.must_end(1, 200.0)

    assert supervisor.overdue(99.0) == []
    assert supervisor.overdue(150.0) == [4]
    assert supervisor.overdue(250.0) == [4, 5]

    child.start(0, 7)
    assert supervisor.overdue(250.0) == [5]


def test_of_a_frame_recalled_as_it_starts_at_least_one_side_learns():
    """Let a child start frames as fast as it can while each one is recalled."""
    frames = 400_000
    fd = new_page(1)
    supervisor = SharedPage(fd, 1)
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        child, number = SharedPage(fd, 1), 0
        while number < frames:
            number += 1
            if child.start(0, number):
                continue
            os.write(write, number.to_bytes(8))
        os._exit(0)
    os.close(write)
    recalled = []
    try:
        wait_until(lambda: supervisor.highest_started() > 0)
        # No more than the pipe holds: nobody reads it before the child has ended.
        while len(recalled) < 100:
            ahead = supervisor.highest_started() + 50
            if ahead > frames:
                break
            recalled.append((supervisor.revoke(ahead), ahead))
    finally:
        os.waitpid(pid, 0)
    with os.fdopen(read, "rb") as dropped_frames:
        dropped = set()
        while frame := dropped_frames.read(8):
            dropped.add(int.from_bytes(frame))
    supervisor.close()
    os.close(fd)
    # Whatever the supervisor believes unstarted was dropped by the child.
    for highest, ahead in recalled:
        assert set(range(highest + 1, ahead + 1)) <= dropped
    assert len(recalled) > 1

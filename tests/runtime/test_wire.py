"""Frames between two ends of a socket pair, whoever reads, writes or dies."""

import socket
import threading

import pytest

from django_workers.runtime import wire
from django_workers.runtime.wire import ControlWire, Wire
from tests.support import wait_until

MEGABYTE = "x" * 1_000_000
ENOUGH_SECONDS = 10


@pytest.fixture
def pair():
    ends = [Wire(end, waits=False) for end in socket.socketpair()]
    yield ends
    for end in ends:
        end.close()


def test_a_frame_arrives_as_it_was_sent(pair):
    mine, theirs = pair
    payload = [(1, ("text", 1.5, None, True), {"a": [b"bytes"]})]

    mine.send(wire.JOBS, payload)

    assert theirs.receive() == (wire.JOBS, payload)


def test_sending_never_waits_for_one_that_reads_nothing(pair):
    mine, theirs = pair

    sender = threading.Thread(
        target=lambda: [mine.send(wire.JOBS, (n, MEGABYTE)) for n in range(20)]
    )
    sender.start()
    sender.join(ENOUGH_SECONDS)

    assert not sender.is_alive()
    assert [theirs.receive() for _ in range(20)] == [
        (wire.JOBS, (n, MEGABYTE)) for n in range(20)
    ]


def test_frames_keep_their_order_when_some_had_to_be_kept(pair):
    mine, theirs = pair
    received = []

    def read():
        while len(received) < 3_000:
            received.append(theirs.receive())

    reader = threading.Thread(target=read, daemon=True)
    for number in range(3_000):
        mine.send(wire.ACKS, (number, "x" * 3_000))
        if number == 1_000:
            reader.start()
    reader.join(ENOUGH_SECONDS)

    assert [payload[0] for _kind, payload in received] == list(range(3_000))


def test_each_of_many_senders_sends_whole_frames(pair):
    mine, theirs = pair
    senders = [
        threading.Thread(
            target=lambda name=name: [
                mine.send(wire.DONE, (name, n, "x" * 20_000)) for n in range(100)
            ]
        )
        for name in range(4)
    ]
    for sender in senders:
        sender.start()

    seen = [theirs.receive()[1][:2] for _ in range(400)]

    for name in range(4):
        assert [n for whose, n in seen if whose == name] == list(range(100))
    for sender in senders:
        sender.join(ENOUGH_SECONDS)


def test_the_end_of_the_other_side_is_the_end_of_the_frames(pair):
    mine, theirs = pair
    mine.send(wire.STOPPING, None)
    mine.close()

    assert theirs.receive() == (wire.STOPPING, None)
    assert theirs.receive() is None


def test_sending_to_one_that_is_gone_raises(pair):
    mine, theirs = pair
    theirs.close()

    with pytest.raises(BrokenPipeError):
        mine.send(wire.JOBS, [])


def test_what_was_kept_for_one_that_is_gone_holds_nobody_up(pair):
    mine, theirs = pair
    before = threading.active_count()
    for _ in range(5):
        mine.send(wire.JOBS, MEGABYTE)
    assert threading.active_count() == before + 1

    theirs.close()

    wait_until(lambda: threading.active_count() == before)


def test_a_control_frame_brings_its_descriptors():
    mine, theirs = socket.socketpair()
    sender, receiver = ControlWire(mine), ControlWire(theirs)
    first, second = socket.socketpair()
    with first, second:
        sender.send(wire.DRAIN, "signal")
        sender.send(wire.CHILD, (1, 2, 3), fds=(first.fileno(), second.fileno()))
        frames = []
        while len(frames) < 2:
            frames += receiver.receive()

        (drain, child) = frames
        assert drain == (wire.DRAIN, "signal", [])
        kind, payload, fds = child
        assert (kind, payload) == (wire.CHILD, (1, 2, 3))
        with socket.socket(fileno=fds[0]), socket.socket(fileno=fds[1]) as copy:
            first.send(b"hello")
            assert copy.recv(5) == b"hello"
    sender.close()
    assert receiver.receive() is None
    receiver.close()

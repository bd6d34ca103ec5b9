"""A child's side of the wire."""

import socket
from collections import UserString

import pytest

from django_workers.conf import build_settings
from django_workers.runtime import attempt, wire
from django_workers.runtime.attempt import Report
from django_workers.runtime.child import Child, ChildOptions
from django_workers.runtime.page import new_page
from django_workers.runtime.wire import Wire


@pytest.fixture
def ends():
    """Return a child and the supervisor's end of its wire."""
    mine, theirs = socket.socketpair()
    options = ChildOptions(worker_id="one", slots=1, settings=build_settings({}))
    child = Child(theirs, new_page(1), options)
    supervisor = Wire(mine)
    yield child, supervisor
    child._executor.stop()
    supervisor.close()
    child._wire.close()
    child._page.close()


def report(number, result):
    return tuple(Report(number, attempt.SUCCEED, result=result, duration=0.1))


def test_a_report_that_cannot_be_sent_takes_no_other_with_it(ends):
    child, supervisor = ends

    child._report([report(1, "1"), report(2, UserString("no frame holds this"))])

    received = [supervisor.receive() for _ in range(2)]
    assert received[0] == (wire.DONE, [report(1, "1")])
    kind, (values,) = received[1]
    failed = Report._make(values)
    assert (kind, failed.number, failed.kind) == (wire.DONE, 2, attempt.FAIL)
    assert "see its log" in failed.reason


def test_a_hello_holds_plain_values_only(ends):
    child, supervisor = ends

    supervisor_got = child._hello()
    child._wire.send(wire.BOOT, supervisor_got)

    assert supervisor.receive() == (wire.BOOT, supervisor_got)
    policy = supervisor_got["policies"]["tests.tasks.from_an_enumeration"]
    assert type(policy["queue"]) is str

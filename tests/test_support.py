"""The helpers that other tests lean on."""

import signal

import pytest

from tests.support import wait_until
from tests.tasks import add


def test_waiting_returns_what_came():
    answers = iter([None, 0, "came"])

    assert wait_until(lambda: next(answers), pause=0) == "came"


def test_waiting_fails_with_the_message_given():
    with pytest.raises(AssertionError, match=r"no bus \(waited 0 s\)"):
        wait_until(lambda: False, deadline=0, message="no bus")


def test_a_worker_starts_on_the_database_of_the_test_and_drains(run_worker):
    with run_worker("--processes", "1") as worker:
        assert len(worker.tree()) >= 2

        assert worker.stop(signal.SIGTERM) == 0

        assert worker.tree() == []


def test_a_worker_finds_what_the_test_has_enqueued(run_worker):
    result = add.enqueue(20, 22)

    with run_worker("--burst", wait_until_ready=False) as worker:
        assert worker.wait() == 0

    result.refresh()
    assert result.return_value == 42


def test_nothing_of_a_killed_worker_is_left(run_worker):
    with run_worker("--processes", "1") as worker:
        worker.kill_tree()

        assert worker.tree() == []
        assert worker.process.returncode == -signal.SIGKILL


def test_a_worker_that_does_not_start_fails_with_its_output(run_worker):
    with (
        pytest.raises(AssertionError, match="unrecognized arguments: --no-such-option"),
        run_worker("--no-such-option"),
    ):
        pass

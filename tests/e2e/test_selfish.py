"""Tasks that let nobody else run: the worker goes on around them."""

import pytest

from django_workers.models import WorkerSession
from tests import tasks
from tests.e2e.jobs import all_ended, attempts_of, ended, lines, wait_for_lines

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_task_that_holds_the_interpreter_stops_nobody_elses_work(
    run_worker, tmp_path
):
    path = tmp_path / "began"
    seconds = 6
    with run_worker(
        *("--processes", "2", "--concurrency", "16"),
        *("--lock-duration", "2", "--heartbeat-interval", "0.4"),
    ):
        selfish = tasks.hold_the_interpreter.enqueue(str(path), seconds)
        wait_for_lines(path, 1)
        # Far more than a socket's buffer holds goes to the process that reads nothing.
        text = "x" * 400_000
        others = all_ended(
            tasks.length_of.enqueue_many([((text,), {})] * 40), deadline=30
        )
        held = ended(selfish, deadline=30)

    assert {job.result for job in others} == {len(text)}
    # Only those that were already in that process had to wait for it.
    before = [job for job in others if job.finished_at < held.finished_at]
    assert len(before) >= 40 - 7
    # Heartbeats went on: nobody found the worker dead, nothing ran twice.
    (session,) = WorkerSession.objects.all()
    assert session.state == "running"
    assert session.heartbeat_at > others[0].finished_at
    assert attempts_of(held) == []
    assert not any(attempts_of(job) for job in others)
    assert lines(path) == ["began"]

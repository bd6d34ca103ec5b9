"""Which signals a job's life sends, where, and with what."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from django_workers import control, signals
from django_workers.compat import task_enqueued
from django_workers.models import WorkerSession
from tests import tasks
from tests.e2e.jobs import ended, lines, outcomes_of, settings_of
from tests.support import RunningWorker, running_worker, wait_until

WORKER = ("--exclude-queues", "aside", "--stale-check-interval", "0.3")
AUTODISCOVER = ["tasks", "tests.e2e.receivers"]

Page = dict[str, Any]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signals") / "ledger"


@pytest.fixture(scope="module")
def worker_env(ledger: Path) -> dict[str, str]:
    return {
        **settings_of(AUTODISCOVER=AUTODISCOVER, CANCEL_GRACE=0.3),
        "TESTS_SIGNALS": str(ledger),
    }


@pytest.fixture
def sent(worker: RunningWorker, ledger: Path) -> Callable[..., list[Page]]:
    """Return what has been sent about a job, once a signal of that name was."""

    def of(result: Any, *, last: str) -> list[Page]:
        def pages() -> list[Page]:
            about = [json.loads(line) for line in lines(ledger) if result.id in line]
            return about if any(page["signal"] == last for page in about) else []

        return wait_until(pages, message=f"{last} was not sent")

    return of


def test_a_success_sends_four(sent):
    result = tasks.add.enqueue(1, 2)

    started, job_started, finished, completed = sent(result, last="job_completed")

    running = [result.id, "running", "RUNNING"]
    successful = [result.id, "successful", "SUCCESSFUL"]
    assert started["signal"] == "task_started"
    assert started["keywords"] == ["task_result"]
    assert started["task_result"] == running
    assert job_started["signal"] == "job_started"
    assert job_started["keywords"] == ["attempt", "job"]
    assert (job_started["job"], job_started["attempt"]) == (running, 1)
    assert finished["signal"] == "task_finished"
    assert finished["keywords"] == ["task_result"]
    assert finished["task_result"] == successful
    assert completed["keywords"] == ["duration", "job", "result"]
    assert (completed["job"], completed["result"]) == (successful, 3)
    assert 0 <= completed["duration"] < 1
    assert {page["sender"] for page in (started, finished, completed)} == {
        "DatabaseBackend"
    }


def test_the_first_are_sent_where_the_body_runs_and_the_last_after_it(sent):
    result = tasks.process_and_thread.enqueue()

    started, _, finished, _ = sent(result, last="job_completed")

    assert [started["pid"], started["thread"]] == ended(result).result
    assert finished["pid"] == started["pid"]
    assert finished["thread"] == "after"


def test_a_failure_is_being_handled_while_the_last_are_sent(sent):
    result = tasks.fail.enqueue("why not")

    _, _, finished, failed = sent(result, last="job_failed")

    assert finished["task_result"] == [result.id, "failed", "FAILED"]
    assert finished["handled"] == "ValueError('why not')"
    assert failed["keywords"] == ["attempt", "error", "job", "retry_at", "will_retry"]
    assert failed["error"] == failed["handled"] == "ValueError('why not')"
    assert (failed["attempt"], failed["will_retry"], failed["retry_at"]) == (
        1,
        False,
        None,
    )


def test_each_failed_attempt_says_whether_another_follows(sent, tmp_path):
    result = tasks.fail_until.enqueue(str(tmp_path / "attempts"), 99)
    ended(result)

    pages = sent(result, last="task_finished")
    wait_until(lambda: len(sent(result, last="task_finished")) == 12)

    pages = sent(result, last="task_finished")
    failed = [page for page in pages if page["signal"] == "job_failed"]
    retried = [page for page in pages if page["signal"] == "job_retried"]
    finished = [page for page in pages if page["signal"] == "task_finished"]
    assert [page["will_retry"] for page in failed] == [True, True, False]
    assert [page["attempt"] for page in failed] == [1, 2, 3]
    assert datetime.fromisoformat(failed[0]["retry_at"]).tzinfo
    assert failed[2]["retry_at"] is None
    assert [page["attempt"] for page in retried] == [1, 2]
    assert retried[0]["keywords"] == ["attempt", "job", "retry_at"]
    assert len(finished) == 1


def test_a_job_that_cancels_itself_says_why(sent):
    result = tasks.cancel_itself.enqueue()

    _, _, finished, cancelled = sent(result, last="job_cancelled")

    assert finished["task_result"] == [result.id, "cancelled", "FAILED"]
    assert cancelled["keywords"] == ["job", "reason"]
    assert cancelled["reason"] == "not needed"


def test_a_snoozed_job_sends_nothing_final_until_it_ends(sent, tmp_path):
    result = tasks.snooze_once.enqueue(str(tmp_path / "looks"))

    pages = sent(result, last="job_completed")

    assert [page["signal"] for page in pages] == [
        "task_started",
        "job_started",
        "task_started",
        "job_started",
        "task_finished",
        "job_completed",
    ]


def test_a_task_that_ignores_its_timeout_ends_with_signals_too(sent, tmp_path):
    result = tasks.sleep_deaf.enqueue(str(tmp_path / "deaf"), 5)

    pages = sent(result, last="job_failed")

    assert [page["signal"] for page in pages[2:]] == ["task_finished", "job_failed"]
    assert "TaskTimeout" in pages[-1]["error"]
    assert pages[-1]["will_retry"] is False


def test_a_job_that_kills_its_process_ends_with_signals_from_another(sent):
    result = tasks.die_once.enqueue()

    pages = sent(result, last="job_failed")

    assert [page["signal"] for page in pages[2:]] == ["task_finished", "job_failed"]
    assert pages[-1]["will_retry"] is False
    assert pages[-1]["pid"] != pages[0]["pid"]


def test_enqueueing_sends_two_where_it_happens(worker):
    seen: list[Any] = []

    def enqueued(sender: Any, task_result: Any, **kwargs: Any) -> None:
        seen.append(("task_enqueued", sender, task_result))

    def created(sender: Any, job: Any, **kwargs: Any) -> None:
        seen.append(("job_created", sender, job))

    task_enqueued.connect(enqueued)
    signals.job_created.connect(created)
    try:
        result = tasks.noop.enqueue()
    finally:
        task_enqueued.disconnect(enqueued)
        signals.job_created.disconnect(created)

    sender = type(tasks.noop.get_backend())
    assert seen == [
        ("task_enqueued", sender, result),
        ("job_created", sender, result),
    ]


def test_receivers_that_raise_change_nothing(worker, sent):
    good, bad = tasks.add.enqueue(1, 2), tasks.fail.enqueue()
    sent(good, last="job_completed")
    sent(bad, last="job_failed")

    assert ended(good).result == 3
    assert outcomes_of(ended(bad)) == ["failed"]


def test_a_worker_says_when_it_starts_and_stops(open_database, worker_env, tmp_path):
    ledger = tmp_path / "ledger"
    with running_worker(
        *("--worker-id", "comes-and-goes", "--no-schedules"),
        database_url=open_database,
        log=tmp_path / "log",
        env={**worker_env, "TESTS_SIGNALS": str(ledger)},
    ) as worker:
        wait_until(lambda: "worker_started" in "".join(lines(ledger)))
        assert worker.stop() == 0

    started, stopped = (
        page
        for page in map(json.loads, lines(ledger))
        if page["signal"].startswith("worker_")
    )
    session = WorkerSession.objects.get(worker_id="comes-and-goes")
    assert started["sender"] == stopped["sender"] == "WorkerSession"
    assert started["keywords"] == ["session_id", "worker_id"]
    assert started["session_id"] == stopped["session_id"] == str(session.id)
    assert stopped["keywords"] == ["reason", "session_id", "worker_id"]
    assert (stopped["worker_id"], stopped["reason"]) == ("comes-and-goes", "signal")


def test_the_last_signals_are_sent_before_a_worker_ends(
    open_database, worker_env, tmp_path
):
    ledger = tmp_path / "ledger"
    env = {**worker_env, "TESTS_SIGNALS": str(ledger), "TESTS_SIGNALS_TAKE": "0.2"}
    results = tasks.sleep.using(queue_name="aside").enqueue_many(
        [((1,), {}) for _ in range(4)]
    )
    with running_worker(
        *("--queues", "aside", "--concurrency", "4", "--no-schedules"),
        database_url=open_database,
        log=tmp_path / "log",
        env=env,
    ) as worker:
        wait_until(lambda: "".join(lines(ledger)).count("job_started") == 4)
        worker.stop()

    assert {ended(result).status for result in results} == {"successful"}
    names = [json.loads(line)["signal"] for line in lines(ledger)]
    assert names.count("job_completed") == 4


def test_a_rescue_is_told(open_database, worker_env, tmp_path, sent):
    path = tmp_path / "began"
    result = tasks.write_then_sleep.using(queue_name="aside").enqueue(
        str(path), "x", 30
    )
    with running_worker(
        *("--queues", "aside", "--worker-id", "dies", "--no-schedules"),
        *("--lock-duration", "2", "--heartbeat-interval", "0.4"),
        database_url=open_database,
        log=tmp_path / "log",
        env={**worker_env, "TESTS_SIGNALS": str(tmp_path / "ledger")},
    ) as worker:
        wait_until(lambda: lines(path))
        worker.kill_tree()

    (rescued,) = [
        page
        for page in sent(result, last="job_rescued")
        if page["signal"] == "job_rescued"
    ]
    assert rescued["sender"] == "DatabaseBackend"
    assert rescued["keywords"] == ["job_id", "reason", "session_id"]
    assert rescued["job_id"] == result.id
    assert "worker dies stopped answering" in rescued["reason"]
    control.cancel(result.id)

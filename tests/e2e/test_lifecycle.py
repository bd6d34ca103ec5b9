"""How a worker starts, ends by itself, restarts, and what it says of it."""

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

import django_workers
from django_workers.models import Job, WorkerSession
from tests import tasks
from tests.e2e.jobs import (
    all_ended,
    ended,
    job_of,
    settings_of,
)
from tests.support import ROOT, wait_until

pytestmark = pytest.mark.django_db(transaction=True)


# Starting


def test_the_banner_says_what_runs_here(run_worker):
    with run_worker(
        *("--worker-id", "shown", "--queues", "a,b"),
        *("--processes", "2", "--concurrency", "3"),
    ) as worker:
        said = worker.output()

    assert said.startswith(f"django_workers {django_workers.__version__}\n")
    assert "\n  worker     shown\n" in said
    assert "\n  queues     a, b\n" in said
    assert "\n  children   2, 3 slots\n" in said
    assert "\n  schedules  0\n" in said
    assert "woken by " in said


def test_what_a_worker_says_reaches_a_pipe_at_once(database_url):
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "runworkers"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "PYTHONUNBUFFERED": "",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert any(line.startswith("Ready.") for line in process.stdout)
        # Whoever read it is gone: that must not stop anything.
        process.stdout.close()
        failed = tasks.leave_transaction_open.enqueue_many([((), {})] * 5)
        all_ended(failed)
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
    assert WorkerSession.objects.get().state == "stopped"


@pytest.mark.parametrize(
    ("arguments", "settings", "code", "said"),
    [
        (["--backend", "nope"], {}, 2, "TASKS has no backend 'nope'"),
        (["--processes", "x"], {}, 2, "invalid int value"),
        (["--processes", "-1"], {}, 2, "must be a whole number, zero or more"),
        ([], {"CONCURENCY": 3}, 1, "Did you mean 'CONCURRENCY'?"),
        ([], {"AUTODISCOVER": ["no.such.module"]}, 1, "names 'no.such.module'"),
    ],
)
def test_a_worker_that_cannot_start_says_why(
    run_worker, arguments, settings, code, said
):
    with run_worker(
        *arguments, env=settings_of(**settings), wait_until_ready=False
    ) as worker:
        assert worker.wait() == code
        assert said in worker.output()
        assert "Traceback" not in worker.output()


def test_a_project_whose_processes_cannot_boot_ends_the_worker(run_worker):
    env = settings_of(AUTODISCOVER=["tasks", "tests.e2e.dies_at_birth"])
    with run_worker(env=env, wait_until_ready=False) as worker:
        assert worker.wait() == 3
        assert "5 processes in a row died before they were ready" in worker.output()


# Ending by itself


def test_a_burst_ends_when_nothing_is_left(run_worker):
    results = [
        *tasks.add.enqueue_many([((n, n), {}) for n in range(300)]),
        tasks.enqueue_another.enqueue(),
        tasks.sleep.enqueue(0.5),
    ]
    later = tasks.noop.using(run_after=timedelta(hours=1)).enqueue()
    with run_worker("--burst", wait_until_ready=False) as worker:
        assert worker.wait() == 0

    assert {job.status for job in all_ended(results)} == {"successful"}
    assert not Job.objects.ready().exists()
    assert job_of(later).status == "scheduled"
    assert WorkerSession.objects.get().stop_reason == "nothing left"


def test_a_burst_waits_for_what_is_due_in_a_moment(run_worker):
    results = tasks.fail_with_retries.enqueue_many([((), {})] * 4)
    with run_worker("--burst", wait_until_ready=False) as worker:
        assert worker.wait() == 0
        assert "Traceback" not in worker.output().partition("Stopped:")[2]

    jobs = [job_of(result) for result in results]
    assert {(job.status, job.attempts) for job in jobs} == {("failed", 2)}


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-", ">/dev/full"])
def test_nobody_to_read_is_no_reason_not_to_work(database_url, closed):
    result = tasks.print_something.enqueue()
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m django runworkers --burst {closed}"],
        cwd=ROOT,
        env={
            **os.environ,
            "DATABASE_URL": database_url,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, job_of(result).status) == (0, "successful"), done


def test_a_burst_of_nothing_ends_at_once(run_worker):
    began = time.monotonic()
    with run_worker("--burst", wait_until_ready=False) as worker:
        assert worker.wait() == 0
    assert time.monotonic() - began < 6


@pytest.mark.parametrize(
    ("arguments", "settings"),
    [
        ((), {"AUTODISCOVER": ["no_module_has_this_name"]}),
        (("--tasks", "zzz:*"), {}),
    ],
    ids=["no-task", "filter-leaves-none"],
)
def test_a_burst_that_knows_no_task_ends_and_leaves_all_jobs_alone(
    run_worker, arguments, settings
):
    result = tasks.noop.enqueue()
    with run_worker(
        "--burst", *arguments, env=settings_of(**settings), wait_until_ready=False
    ) as worker:
        assert worker.wait() == 0
        assert "\n  tasks      0\n" in worker.output()

    # Not parked either: a worker that looks at nothing cannot tell who knows it.
    assert (job_of(result).status, job_of(result).reason) == ("ready", "")
    assert WorkerSession.objects.get().stop_reason == "nothing left"


def test_the_banner_counts_the_tasks_that_the_filter_leaves(run_worker):
    with run_worker("--tasks", "tests.tasks.noop,tests.tasks.add") as worker:
        assert "\n  tasks      2\n" in worker.output()


def test_a_worker_may_end_after_so_many_jobs(run_worker):
    results = tasks.noop.enqueue_many([((), {})] * 10)
    with run_worker("--max-jobs", "3", wait_until_ready=False) as worker:
        assert worker.wait() == 0

    statuses = [job_of(result).status for result in results]
    assert statuses == ["successful"] * 3 + ["ready"] * 7
    assert WorkerSession.objects.get().stop_reason == "maximum of jobs reached"


def test_a_job_that_is_tried_again_counts_as_often_as_it_has_run(run_worker):
    result = tasks.fail_with_retries.enqueue()
    with run_worker("--max-jobs", "2", wait_until_ready=False) as worker:
        assert worker.wait() == 0

    assert (job_of(result).status, job_of(result).attempts) == ("failed", 2)


def test_a_worker_may_end_after_so_many_failures_in_a_row(run_worker):
    for _ in range(2):
        tasks.fail.enqueue()
    tasks.noop.enqueue()
    tasks.fail.enqueue_many([((), {})] * 200)
    with run_worker(
        *("--max-failures", "3", "--concurrency", "1", "--no-prefetch"),
        wait_until_ready=False,
    ) as worker:
        assert worker.wait() == 4
        assert "3 jobs in a row have failed: stopping." in worker.output()

    # Two, a success, three; and what ran while those three were being written down.
    assert 5 <= Job.objects.filter(status="failed").count() < 50
    assert Job.objects.filter(status="successful").count() == 1
    assert not Job.objects.running().exists()


# Restarting for changed code


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Return a module with a task, on the path of this process and of workers."""
    package = tmp_path / "code_that_changes"
    package.mkdir()
    (package / "__init__.py").touch()
    module = package / "tasks.py"
    module.write_text(_code(1))
    monkeypatch.syspath_prepend(tmp_path)
    yield module
    for name in ("code_that_changes.tasks", "code_that_changes"):
        sys.modules.pop(name, None)


def _code(version: int) -> str:
    return (
        "from django_workers.task import task\n\n\n"
        "@task\n"
        "def version() -> int:\n"
        f"    return {version}\n"
    )


def _change(module: Path, code: str) -> None:
    """Write a module so that its time of change tells, however fast this test is."""
    module.write_text(code)
    later = module.stat().st_mtime + 2
    os.utime(module, (later, later))


def test_changed_code_is_loaded_once_it_compiles(run_worker, project):
    version = importlib.import_module("code_that_changes.tasks").version
    env = {
        **settings_of(AUTODISCOVER=["tasks", "code_that_changes.tasks"]),
        "PYTHONPATH": str(project.parent.parent),
    }
    with run_worker("--reload", env=env) as worker:
        assert ended(version.enqueue()).result == 1

        _change(project, "def broken(:\n")
        worker.wait_for_output("does not compile")
        assert ended(version.enqueue()).result == 1

        _change(project, _code(2))
        worker.wait_for_output(f"{project} has changed: restarting\nStopped: ")
        wait_until(lambda: worker.output().count("Ready.") == 2, deadline=20)
        assert ended(version.enqueue()).result == 2

        assert worker.stop() == 0
    states = WorkerSession.objects.order_by("id").values_list("state", "stop_reason")
    assert list(states) == [
        ("stopped", f"{project} has changed"),
        ("stopped", "signal"),
    ]

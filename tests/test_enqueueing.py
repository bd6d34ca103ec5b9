"""Enqueueing by name, and what stands at the package's top."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from types import ModuleType
from typing import Any

import pytest
from asgiref.sync import async_to_sync

import django_workers
from django_workers import (
    aenqueue,
    compat,
    enqueue,
    enqueue_at,
    enqueue_in,
    enqueue_on_commit,
    get_task,
    list_tasks,
    task,
)
from django_workers.brokers import broker_for
from django_workers.compat import InvalidTask
from django_workers.exceptions import InvalidPolicy, UnencodableValue, UnknownTask
from django_workers.models import Job
from tests.support import ROOT

pytestmark = pytest.mark.django_db

MOMENT = datetime(2040, 1, 31, 12, tzinfo=UTC)


@task(
    name="generate_report",
    queue_name="reports",
    priority=5,
    max_attempts=4,
    timeout=60,
    aliases=["make_report"],
)
def report(period: str, form: str = "html") -> None:
    pass


@task
def plain(*args: Any, **kwargs: Any) -> None:
    pass


def djangos_own(value: int) -> None:
    pass


def seconds_from_now(moment: datetime | None) -> float:
    assert moment is not None
    return (moment - broker_for("default").now()).total_seconds()


@pytest.mark.parametrize(
    "named",
    [report, "generate_report", "make_report", f"{__name__}.report"],
    ids=["task", "name", "alias", "module path"],
)
def test_a_task_is_named_in_four_ways(named: Any):
    result = enqueue(named, args=["monthly", "pdf"])

    job = Job.objects.get(id=result.id)
    assert (job.task, job.args, job.kwargs) == (
        "generate_report",
        ["monthly", "pdf"],
        {},
    )


def test_what_is_not_given_is_the_tasks_own():
    enqueue("generate_report", ("monthly",), {"form": "pdf"})

    job = Job.objects.get()
    assert (job.queue, job.priority) == ("reports", 5)
    assert (job.max_attempts, job.timeout, job.run_after) == (4, 60.0, None)
    assert (job.args, job.kwargs) == (["monthly"], {"form": "pdf"})


def test_what_is_given_wins():
    enqueue(
        report,
        ["monthly"],
        run_after=MOMENT,
        priority="critical",
        queue="urgent",
        max_attempts=9,
        timeout=1.5,
    )

    job = Job.objects.get()
    assert (job.queue, job.priority, job.run_after) == ("urgent", 75, MOMENT)
    assert (job.max_attempts, job.timeout) == (9, 1.5)


@pytest.mark.parametrize(
    "run_after",
    [MOMENT, "2040-01-31T12:00:00Z", "2040-01-31T13:00:00+01:00"],
    ids=str,
)
def test_a_moment_is_a_datetime_or_iso_text(run_after: Any):
    enqueue(plain, run_after=run_after)

    assert Job.objects.get().run_after == MOMENT


def test_a_delay_is_a_timedelta():
    enqueue(plain, run_after=timedelta(hours=1))

    assert seconds_from_now(Job.objects.get().run_after) == pytest.approx(3600, abs=5)


@pytest.mark.parametrize("delay", [90, 90.0, timedelta(seconds=90)], ids=repr)
def test_enqueue_in_so_many_seconds(delay: Any):
    enqueue_in(delay, "generate_report", ["weekly"], queue="slow", priority=1)

    job = Job.objects.get()
    assert seconds_from_now(job.run_after) == pytest.approx(90, abs=5)
    assert (job.queue, job.priority, job.args) == ("slow", 1, ["weekly"])


@pytest.mark.parametrize("when", [MOMENT, MOMENT.isoformat()], ids=repr)
def test_enqueue_at_a_moment(when: Any):
    enqueue_at(when, plain, kwargs={"a": 1}, max_attempts=2, timeout=3)

    job = Job.objects.get()
    assert (job.run_after, job.kwargs) == (MOMENT, {"a": 1})
    assert (job.max_attempts, job.timeout) == (2, 3.0)


def test_a_job_may_wait_for_the_commit(django_capture_on_commit_callbacks: Any):
    with django_capture_on_commit_callbacks(execute=True):
        enqueue_on_commit(
            report, ["weekly"], run_after=MOMENT, max_attempts=9, timeout=1.5
        )
        assert not Job.objects.exists()

    job = Job.objects.get()
    assert (job.run_after, job.max_attempts, job.timeout) == (MOMENT, 9, 1.5)


@pytest.mark.parametrize(
    ("args", "kwargs", "error"),
    [([{1}], None, UnencodableValue), ("abc", None, TypeError), ((), [1], TypeError)],
    ids=["not JSON", "a text", "a list of keywords"],
)
def test_what_cannot_be_enqueued_is_refused_before_the_commit(
    args: Any, kwargs: Any, error: Any
):
    with pytest.raises(error):
        enqueue_on_commit(plain, args, kwargs)


def test_aenqueue_does_the_same():
    result = async_to_sync(aenqueue)(
        "generate_report", ["monthly"], {"form": "pdf"}, priority="low", queue="slow"
    )

    job = Job.objects.get(id=result.id)
    assert (job.queue, job.priority, job.kwargs) == ("slow", -50, {"form": "pdf"})


def test_the_result_can_be_asked_for_its_status():
    result = enqueue(plain)

    assert result.status == compat.TaskResultStatus.READY
    result.refresh()


def test_a_task_of_djangos_own_is_taken_too():
    theirs = compat.Task(
        func=djangos_own,
        priority=4,
        backend="default",
        queue_name="theirs",
        run_after=None,
        takes_context=False,
    )

    enqueue(theirs, [1])
    enqueue(theirs, [2], priority=8)

    first, second = Job.objects.order_by("id")
    assert first.task == second.task == f"{__name__}.djangos_own"
    assert (first.queue, first.priority) == ("theirs", 4)
    assert (second.queue, second.priority) == ("theirs", 8)


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UnknownTask, match="did you mean 'generate_report'"):
        enqueue("generate_reports")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"run_after": datetime(2040, 1, 1)}, InvalidTask),  # noqa: DTZ001
        ({"run_after": "2040-01-01T12:00:00"}, InvalidTask),
        ({"run_after": "tomorrow"}, InvalidTask),
        ({"run_after": datetime(9999, 1, 1, tzinfo=UTC)}, InvalidTask),
        ({"priority": 101}, InvalidTask),
        ({"priority": "urgent"}, InvalidTask),
        ({"queue": "no queue"}, InvalidTask),
        ({"max_attempts": 0}, InvalidPolicy),
        ({"timeout": -1}, InvalidPolicy),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_at_the_call(changes: Any, error: Any):
    with pytest.raises(error):
        enqueue(plain, **changes)

    assert not Job.objects.exists()


@pytest.mark.parametrize(
    "kind", ["DatabaseBackend", "ImmediateBackend", "DummyBackend"]
)
def test_a_queue_the_backend_does_not_have_is_refused_with_the_fix(
    settings: Any, kind: str
):
    path = f"django_workers.backend.{kind}"
    settings.TASKS = {"default": {"BACKEND": path, "QUEUES": ["mail", "default"]}}

    with pytest.raises(InvalidTask) as near:
        enqueue(plain, queue="mails")
    with pytest.raises(InvalidTask) as far:
        enqueue(plain, queue="elsewhere")

    rest = (
        "Its queues are 'default', 'mail'; for another one add it to "
        "TASKS['default']['QUEUES'], or set that to [] to accept any name."
    )
    # The beginning is Django's own.
    assert str(near.value) == (
        f"Queue 'mails' is not valid for backend. Did you mean 'mail'? {rest}"
    )
    assert str(far.value) == f"Queue 'elsewhere' is not valid for backend. {rest}"


@pytest.mark.parametrize(
    ("args", "kwargs", "error", "said"),
    [
        ([{1}], None, UnencodableValue, r"args\[0\]"),
        ("abc", None, TypeError, "args must be a list or tuple, not str"),
        (5, None, TypeError, "args must be a list or tuple, not int"),
        ({"a": 1}, None, TypeError, "args must be a list or tuple, not dict"),
        ((), [1], TypeError, "kwargs must be a dict, not list"),
    ],
    ids=str,
)
def test_arguments_of_another_kind_are_refused(
    args: Any, kwargs: Any, error: Any, said: str
):
    with pytest.raises(error, match=said):
        enqueue(plain, args, kwargs)


@pytest.mark.parametrize(
    "what", [djangos_own, None, 5, object], ids=["a function", "None", "5", "a class"]
)
def test_only_a_task_or_its_name_can_be_enqueued(what: Any):
    with pytest.raises(TypeError, match="a task, a registered name or a module path"):
        enqueue(what)


@pytest.mark.parametrize(
    ("delay", "error"),
    [
        ("soon", TypeError),
        (None, TypeError),
        (float("nan"), InvalidTask),
        (float("inf"), InvalidTask),
        (1e15, InvalidTask),
        (1e11 * 3, InvalidTask),
    ],
    ids=str,
)
def test_a_delay_is_a_possible_number(delay: Any, error: Any):
    with pytest.raises(error):
        enqueue_in(delay, plain)


# The package's face


def test_the_face_hands_on_what_it_names():
    assert django_workers.__all__ == sorted(django_workers.__all__)
    for name in django_workers.__all__:
        assert hasattr(django_workers, name)
        if name != "signals":
            assert not isinstance(getattr(django_workers, name), ModuleType), name
    assert get_task("generate_report") is report
    assert report in list_tasks()


@pytest.mark.parametrize(
    "statement",
    [
        "import django_workers; django_workers.task, django_workers.enqueue",
        "from django_workers import *; assert callable(task) and callable(context)",
        "from django_workers import cron, every; every(5), cron('@daily')",
    ],
)
def test_the_face_can_be_imported_before_the_apps_are_loaded(statement: str):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", statement],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_names_stay_what_they_are_once_every_room_is_open():
    statement = (
        "import django; django.setup(); import django_workers as d;"
        "import django_workers.context, django_workers.task;"
        "import django_workers.cron.timing;"
        "from django_workers import control, task, context, cron;"
        "assert callable(task) and callable(context) and callable(cron);"
        "assert control.stats and callable(d.enqueue)"
    )
    done = subprocess.run(
        [sys.executable, "-c", statement],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT), "DJANGO_SETTINGS_MODULE": "tests.settings"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")

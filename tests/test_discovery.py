"""A task is found by its name, whatever the process has imported so far."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from django_workers import discovery, get_task, list_tasks
from django_workers.conf import runtime_settings
from django_workers.exceptions import ConfigurationError, UnknownTask
from django_workers.models import Job, Schedule
from tests import tasks
from tests.support import ROOT

Done: TypeAlias = "subprocess.CompletedProcess[str]"

SHOP = {
    "__init__": "",
    "tasks/__init__": "",
    "tasks/mail": (
        "from django_workers import task\n"
        "@task(name='mail:send', aliases=['mail:post'])\n"
        "def send(): pass\n"
    ),
    "workers": (
        "from django_workers import get_task, list_tasks, task\n"
        "@task\n"
        "def pack(): pass\n"
        "known = get_task('mail:send')\n"
    ),
}


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Write an app with task modules; its settings are the tests' and that app."""
    for name, text in SHOP.items():
        path = tmp_path / "shop" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "shop_settings.py").write_text(
        "from tests.settings import *\nINSTALLED_APPS = [*INSTALLED_APPS, 'shop']\n"
    )
    return tmp_path


def run(folder: Path, *arguments: str, **env: str) -> Done:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": f"{folder}:{ROOT}",
            "DJANGO_SETTINGS_MODULE": "shop_settings",
            **env,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def fresh(folder: Path, code: str, **env: str) -> Done:
    """Run code in a process that has imported no module of tasks."""
    start = (
        "import sys, django; django.setup()\n"
        "assert not {'shop.tasks', 'shop.workers', 'tests.tasks'} & set(sys.modules)\n"
    )
    return run(folder, "-c", start + code, **env)


@pytest.mark.parametrize(
    "name", ["mail:send", "mail:post", "shop.tasks.mail.send", "shop.workers.pack"]
)
def test_a_process_that_has_imported_nothing_finds_a_task(shop: Path, name: str):
    done = fresh(
        shop, f"from django_workers import get_task; print(get_task({name!r}).key)"
    )

    key = "mail:send" if "pack" not in name else name
    assert (done.stdout.strip(), done.stderr) == (key, "")


def test_a_process_that_has_imported_nothing_lists_every_task(shop: Path):
    done = fresh(
        shop,
        "from django_workers import list_tasks; print([t.key for t in list_tasks()])",
    )

    assert done.stderr == ""
    for key in ("mail:send", "shop.workers.pack", "tests.tasks.noop"):
        assert repr(key) in done.stdout


def test_an_unknown_name_is_compared_with_what_workers_import(shop: Path):
    done = fresh(shop, "from django_workers import get_task; get_task('mail:sent')")

    assert "did you mean 'mail:send'" in done.stderr


def test_nothing_is_imported_before_the_apps_are_loaded(shop: Path):
    done = run(
        shop,
        "-c",
        "from django_workers import get_task, list_tasks\n"
        "assert list_tasks() == []\n"
        "try: get_task('mail:send')\n"
        "except LookupError as error: print(error)\n"
        "import django; django.setup(); print(get_task('mail:send').key)",
    )

    assert done.stderr == ""
    assert done.stdout.splitlines()[1] == "mail:send"


def test_a_broken_module_is_named_where_a_task_is_looked_up(shop: Path):
    (shop / "shop" / "worker.py").write_text("import nothing_like_this\n")

    done = fresh(
        shop,
        "from django_workers import get_task, list_tasks\n"
        "for _ in range(2):\n"
        "    try: get_task('nope')\n"
        "    except LookupError as error: print(error)\n"
        "    try: list_tasks()\n"
        "    except ImportError as error: print(error)\n"
        "print(get_task('mail:send').key)",
    )

    first, second = done.stdout.splitlines()[:2]
    assert "A module of tasks cannot be imported: ModuleNotFoundError" in first
    assert "nothing_like_this" in second
    assert done.stdout.splitlines()[2:] == [first, second, "mail:send"]


@pytest.mark.django_db(transaction=True)
def test_a_result_and_a_call_by_name_know_the_task(shop: Path, database_url: str):
    result = tasks.noop.enqueue()

    done = fresh(
        shop,
        "from django_workers import enqueue\n"
        "from django_workers.backend import DatabaseBackend\n"
        "from django_workers.compat import task_backends\n"
        f"read = task_backends['default'].get_result({result.id!r})\n"
        "import tests.tasks; assert read.task is tests.tasks.noop\n"
        "print(enqueue('mail:post').id)",
        DATABASE_URL=database_url,
    )

    assert done.stderr == ""
    assert Job.objects.get(id=done.stdout.strip()).task == "mail:send"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["mail:send", "mail:post", "shop.workers.pack"])
def test_a_command_finds_the_task_of_a_schedule(
    shop: Path, database_url: str, name: str
):
    Schedule.objects.create(name="often", task=name, interval=60.0)

    done = run(
        shop,
        *("-m", "django", "workers", "schedules", "--run", "often"),
        DATABASE_URL=database_url,
    )

    assert done.returncode == 0, done.stderr
    assert Job.objects.get().task == ("mail:send" if "mail" in name else name)


@pytest.mark.django_db(transaction=True)
def test_a_command_lists_the_tasks(shop: Path, database_url: str):
    done = run(
        shop, "-m", "django", "workers", "tasks", "--format", "json",
        DATABASE_URL=database_url,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert '"mail:send"' in done.stdout
    assert '"shop.workers.pack"' in done.stdout


# In this process


def test_it_looks_once(monkeypatch: pytest.MonkeyPatch, settings: Any):
    looked: list[Any] = []
    settings.DJANGO_WORKERS = {"AUTODISCOVER": ["tests.tasks"]}
    real = discovery.autodiscover

    def watched(names: Any) -> list[str]:
        looked.append(names)
        return real(names)

    monkeypatch.setattr(discovery, "autodiscover", watched)

    for _ in range(3):
        with pytest.raises(UnknownTask):
            get_task("no such task")
        list_tasks()

    assert looked == [("tests.tasks",)]


def test_whoever_has_said_what_to_import_is_believed(
    monkeypatch: pytest.MonkeyPatch, settings: Any
):
    """As a worker with --autodiscover: it takes no more than it was told to."""
    settings.DJANGO_WORKERS = {"AUTODISCOVER": ["tests.no_such_module"]}
    discovery.autodiscover(["tests.tasks"])

    with pytest.raises(UnknownTask) as raised:
        get_task("no such task")

    assert "cannot be imported" not in str(raised.value)


def test_changed_settings_make_it_look_again(settings: Any):
    list_tasks()
    settings.DJANGO_WORKERS = {"AUTODISCOVER": ["tests.no_such_module"]}

    with pytest.raises(ConfigurationError, match=r"tests\.no_such_module"):
        list_tasks()
    with pytest.raises(UnknownTask, match="no_such_module"):
        get_task("no such task")


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder to import from; what it held is forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in list(sys.modules):
        if name.startswith("found_"):
            monkeypatch.delitem(sys.modules, name)
    return tmp_path


@pytest.mark.parametrize("missing", ["found", "found_", "nothing_like_this"])
def test_what_a_module_lacks_is_not_taken_for_the_module(modules: Path, missing: str):
    (modules / "found_shop").mkdir()
    (modules / "found_shop" / "jobs.py").write_text(f"import {missing}\n")

    with pytest.raises(ModuleNotFoundError, match=f"'{missing}'"):
        discovery.autodiscover(["found_shop.jobs"])


@pytest.mark.parametrize("path", ["found_nowhere.jobs", "tests.found_nothing"])
def test_a_path_that_does_not_exist_is_named(modules: Path, path: str):
    with pytest.raises(ConfigurationError, match=f"names '{path}', which does not"):
        discovery.autodiscover([path])


def test_a_package_is_imported_whole_but_its_program_is_not_run(modules: Path):
    deep = modules / "found_store" / "tasks" / "mail"
    deep.mkdir(parents=True)
    for folder in (deep, deep.parent, deep.parent.parent):
        (folder / "__init__.py").write_text("")
    (deep / "bills.py").write_text("")
    (deep.parent / "__main__.py").write_text("raise SystemExit('it has run')")

    assert discovery.autodiscover(["found_store.tasks"]) == [
        "found_store.tasks",
        "found_store.tasks.mail",
        "found_store.tasks.mail.bills",
    ]


def test_what_is_imported_is_returned():
    found = discovery.autodiscover(["tests.management"])

    assert found[0] == "tests.management", "a package"
    assert "tests.management.test_workers" in found, "with all it holds"
    assert "tests.tasks" in discovery.autodiscover(runtime_settings().autodiscover)
    assert discovery.autodiscover([]) == []

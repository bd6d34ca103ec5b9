"""Workers that a whole module of tests shares."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import TransactionTestCase
from django.test.utils import setup_databases, teardown_databases

from tests.databases import url_of
from tests.support import RunningWorker, running_worker


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark the tests that share a worker as those are that start one."""
    if "open_database" in getattr(item, "fixturenames", ()):
        item.add_marker("worker")


@pytest.fixture(scope="session")
def made_database(
    django_db_setup: None, django_db_blocker: Any, request: pytest.FixtureRequest
) -> Iterator[None]:
    """Make the test database, if no test of this session has pytest-django make it."""
    if any(_asks_pytest_django(item) for item in request.session.items):
        yield
        return
    with django_db_blocker.unblock():
        made = setup_databases(
            verbosity=0, interactive=False, aliases={"default": None}
        )
        yield
        teardown_databases(made, verbosity=0)


def _asks_pytest_django(item: pytest.Item) -> bool:
    case = getattr(item, "cls", None)
    return (
        item.get_closest_marker("django_db") is not None
        or not {"db", "transactional_db"}.isdisjoint(getattr(item, "fixturenames", ()))
        or (isinstance(case, type) and issubclass(case, TransactionTestCase))
    )


@pytest.fixture(scope="module")
def open_database(made_database: None, django_db_blocker: Any) -> Iterator[str]:
    """Open the test database for a module, empty it afterwards; its DATABASE_URL.

    The tests of the module see each other's jobs, so each looks at its own only.
    """
    with django_db_blocker.unblock():
        yield url_of(connection.settings_dict)
        call_command("flush", interactive=False, verbosity=0)
        connection.close()


@pytest.fixture(scope="module")
def worker_env(request: pytest.FixtureRequest) -> dict[str, str]:
    """Return the environment of the module's worker, its WORKER_ENV."""
    return getattr(request.module, "WORKER_ENV", {})


@pytest.fixture(scope="module")
def shared_worker(
    open_database: str,
    tmp_path_factory: pytest.TempPathFactory,
    request: pytest.FixtureRequest,
    worker_env: dict[str, str],
) -> Iterator[RunningWorker]:
    """One worker for all tests of a module, with the arguments in its WORKER."""
    with running_worker(
        *getattr(request.module, "WORKER", ()),
        database_url=open_database,
        log=tmp_path_factory.mktemp("worker") / "worker.log",
        env=worker_env,
    ) as worker:
        yield worker


@pytest.fixture
def worker(shared_worker: RunningWorker) -> Iterator[RunningWorker]:
    """Return the module's worker; what it says during this test is part of a report."""
    before = len(shared_worker.output())
    yield shared_worker
    print(f"--- the worker meanwhile\n{shared_worker.output()[before:]}")

"""Fixtures for all tests, and the rule that no test is left out without a word."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from django.test import TransactionTestCase

from tests.databases import PostgresServer, url_of
from tests.support import RunningWorker, running_worker

# Marker of a test that belongs to one database -> Django's name for that database.
VENDORS = {"postgresql": "postgresql", "sqlite": "sqlite", "mariadb": "mysql"}
# Whatever reaches the database of the session does so through one of these.
DATABASE_FIXTURES = frozenset({"db", "transactional_db", "django_db_setup"})
E2E = Path(__file__).parent / "e2e"
# Markers of what sessions on older Pythons leave to the one on the newest, in CI.
HEAVY = ("thorough", "worker")
LEFT_OUT = pytest.StashKey[dict[str, list[str]]]()


@pytest.hookimpl(tryfirst=True)  # before -m looks at the markers
def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what belongs to another database, and browser tests not asked for."""
    left_out: dict[str, list[str]] = {}
    kept = []
    for item in items:
        if " at 0x" in item.nodeid:
            # The ledger compares sessions by these names.
            raise pytest.UsageError(f"{item.nodeid}: give this case a name (ids=)")
        if item.path.is_relative_to(E2E) or "run_worker" in _fixtures_of(item):
            item.add_marker("worker")
        if target := _belongs_elsewhere(item, config):
            left_out.setdefault(target, []).append(item.nodeid)
        else:
            kept.append(item)
    config.stash[LEFT_OUT] = left_out
    if left_out:
        config.hook.pytest_deselected(items=[i for i in items if i not in set(kept)])
        items[:] = kept


def _fixtures_of(item: pytest.Item) -> list[str]:
    return getattr(item, "fixturenames", [])


def _belongs_elsewhere(item: pytest.Item, config: pytest.Config) -> str | None:
    """Return the make target that runs *item*, if this session should not."""
    from django.db import connection

    if item.get_closest_marker("browser") and "browser" not in config.option.markexpr:
        return "test-browser"
    if any(
        item.get_closest_marker(name) and f"not {name}" in config.option.markexpr
        for name in HEAVY
    ):
        return "test"
    homes = [name for name in VENDORS if item.get_closest_marker(name)]
    if not homes and not _asks_for_a_database(item):
        # The same on every database: once is enough.
        homes = ["sqlite"]
    if homes and connection.vendor not in {VENDORS[name] for name in homes}:
        return f"test-{homes[0]}"
    return None


def _asks_for_a_database(item: pytest.Item) -> bool:
    case = getattr(item, "cls", None)
    return (
        item.get_closest_marker("django_db") is not None
        or not DATABASE_FIXTURES.isdisjoint(_fixtures_of(item))
        or (isinstance(case, type) and issubclass(case, TransactionTestCase))
    )


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Name what this session left out and how to run it."""
    for target, names in sorted(config.stash.get(LEFT_OUT, {}).items()):
        terminalreporter.write_line(
            f"Left out: {len(names)} tests; `make {target}` runs them.", yellow=True
        )
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get("CI"):
        terminalreporter.write_line(
            f"Failed: {len(skipped)} skipped; nothing may be skipped in CI.", red=True
        )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that skipped in CI; note what ran where, if TESTS_LEDGER asks."""
    reporter = session.config.pluginmanager.getplugin("terminalreporter")
    stats: dict[str, list[Any]] = getattr(reporter, "stats", {})
    if os.environ.get("CI") and stats.get("skipped") and not session.exitstatus:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    if ledger := os.environ.get("TESTS_LEDGER"):
        left_out = session.config.stash.get(LEFT_OUT, {})
        page = {
            # An expected failure is strict here: it has run, and failed as said.
            "ran": [
                report.nodeid
                for outcome in ("passed", "xfailed")
                for report in stats.get(outcome, [])
            ],
            "left_out": [name for names in left_out.values() for name in names],
        }
        Path(ledger).mkdir(parents=True, exist_ok=True)
        (Path(ledger) / f"{os.getpid()}.json").write_text(json.dumps(page))


@pytest.fixture
def database_url(transactional_db: None) -> str:
    """Return the DATABASE_URL of the database this test writes to."""
    from django.db import connection

    return url_of(connection.settings_dict)


@pytest.fixture
def run_worker(
    database_url: str, tmp_path: Path
) -> Callable[..., AbstractContextManager[RunningWorker]]:
    """Return a context manager that runs `runworkers` on this test's database.

    `with run_worker("--queues", "a", env={...}) as worker:`; see `running_worker`. Pass
    `database_url` to run it on another one. The whole tree is gone when the block ends.
    """
    started: Counter[str] = Counter()

    def run(*arguments: str, **options: Any) -> AbstractContextManager[RunningWorker]:
        started["worker"] += 1
        log = tmp_path / f"worker-{started['worker']}.log"
        return running_worker(
            *arguments, **{"database_url": database_url, "log": log, **options}
        )

    return run


@pytest.fixture
def postgres_server() -> Iterator[PostgresServer]:
    """Return a running PostgreSQL of this test's own, to be stopped and restarted."""
    with PostgresServer() as server:
        yield server

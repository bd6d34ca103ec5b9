"""A database, a migrated project and a real worker for one benchmark."""

import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.databases import MariaDBServer, PostgresServer

ROOT = Path(__file__).resolve().parent.parent
# Real durability: the private servers of the tests turn it off.
DURABLE = {"fsync": "on", "full_page_writes": "on"}
READY_SECONDS = 60


@contextmanager
def prepared(database: str, *, quiet: bool) -> Iterator[None]:
    """Set this process up on a fresh, migrated database of that kind.

    DATABASE_URL is used instead of a private server if it is set.
    """
    with ExitStack() as stack:
        if not os.environ.get("DATABASE_URL"):
            os.environ["DATABASE_URL"] = _own_url(database, stack)
            stack.callback(os.environ.pop, "DATABASE_URL")
        os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
        if quiet:
            os.environ["DW_QUIET"] = "1"
        import django
        from django.core.management import call_command
        from django.db import connections

        django.setup()
        call_command("migrate", verbosity=0)
        stack.callback(connections.close_all)
        yield


def _own_url(database: str, stack: ExitStack) -> str:
    if database == "postgresql":
        return stack.enter_context(_own_postgresql()).url
    if database == "mariadb":
        return stack.enter_context(MariaDBServer()).url
    folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="dw-benchmark-"))
    return f"sqlite:///{folder}/queue.sqlite3"


def _own_postgresql() -> PostgresServer:
    try:
        return PostgresServer(DURABLE)
    except ModuleNotFoundError as error:
        raise SystemExit(
            f"The package {error.name} is missing, which brings a PostgreSQL. Run "
            "`make dev`, then `.venv/bin/python -m benchmarks`; or name a server in "
            "DATABASE_URL; or use --database sqlite."
        ) from error


def dsn() -> str:
    """The address of this process's PostgreSQL as libpq has it."""
    from django.db import connection
    from psycopg.conninfo import make_conninfo

    params = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    return make_conninfo(**{name: params[name] for name in names if name in params})


@contextmanager
def worker(flags: Sequence[str] = ()) -> Iterator[subprocess.Popen[str]]:
    """Run `manage.py runworkers` with these flags, ready when the block begins."""
    process = subprocess.Popen(
        [sys.executable, "-m", "django", "runworkers", *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        _wait_until_ready(process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=READY_SECONDS)


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    said = ""
    until = time.monotonic() + READY_SECONDS
    while "Ready." not in said:
        line = process.stdout.readline()
        if not line or time.monotonic() > until:
            raise SystemExit(f"runworkers did not start:\n{said}")
        said += line


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import django
    from django.db import connection

    connection.ensure_connection()
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "database": f"{connection.display_name} {_version(connection)}",
        "cpus": os.cpu_count(),
        "logging": (
            "logger django.tasks at WARNING"
            if os.environ.get("DW_QUIET")
            else "Django's default"
        ),
    }


def _version(connection: Any) -> str:
    return ".".join(str(part) for part in connection.get_database_version())

"""The databases that hold jobs (E007, E008, E011, E014, W001, W002, W004, W005)."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.db import connections

from ..compat import InvalidTaskBackend
from ..conf import SETTING, runtime_settings
from ..databases import queue_databases
from ..exceptions import ConfigurationError
from .settings import TAG, settings_are_sound

SQLITE_TIMEOUT_SECONDS: Final = 20
SQLITE_OPTIONS: Final = """"OPTIONS": {
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL",
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
}"""

# What we need of each server: UPDATE ... RETURNING; SKIP LOCKED; snapshots.
OLDEST: Final = {
    "SQLite": (3, 35),
    "MariaDB": (10, 6),
    "MySQL": (8, 0),
    "PostgreSQL": (13,),
}
_VENDORS: Final = ("postgresql", "sqlite", "mysql")
_WAL: Final = re.compile(r"journal_mode\s*=\s*[\"']?wal\b", re.IGNORECASE)


@register(TAG)
def check_databases(
    app_configs: Sequence[Any] | None = None, **kwargs: Any
) -> list[CheckMessage]:
    """Check how the databases that hold jobs are set up; opens no connection."""
    aliases = _queue_aliases()
    messages = list(_check_use_tz()) if aliases else []
    for alias in aliases:
        vendor = connections[alias].vendor
        if vendor == "sqlite":
            messages += _check_sqlite(alias)
        elif vendor == "postgresql":
            messages += _check_driver(alias)
            messages += _check_listener()
        elif vendor not in _VENDORS:
            messages += _check_vendor(alias)
        if vendor != "postgresql":
            messages += _check_time_zone(alias)
    return messages


@register(TAG, Tags.database)
def check_database_servers(
    app_configs: Sequence[Any] | None = None,
    databases: Sequence[str] | None = None,
    **kwargs: Any,
) -> list[CheckMessage]:
    """Check the servers' versions; asks the databases named on the command line."""
    messages: list[CheckMessage] = []
    for alias in _queue_aliases():
        if alias not in (databases or ()):
            continue
        name, version = server_version(connections[alias])
        oldest = OLDEST.get(name, ())
        if version < oldest:
            messages.append(
                Error(
                    f"The queue's database {alias!r} runs on {name} "
                    f"{_dotted(version)}; {_dotted(oldest)} is the oldest that works.",
                    hint=f"Upgrade {name}, or put the queue into another database.",
                    id="django_workers.E011",
                )
            )
    return messages


def _queue_aliases() -> list[str]:
    """Return the aliases that hold jobs, as far as the settings can be read."""
    try:
        return [alias for alias in queue_databases() if alias in list(connections)]
    except (InvalidTaskBackend, ConfigurationError):
        return []  # said by other checks


def _check_use_tz() -> Iterator[CheckMessage]:
    if not settings.USE_TZ:
        yield Error(
            "django_workers needs USE_TZ = True.",
            hint=(
                "Instants are stored in UTC, and a local time without its zone is not "
                "an instant. Set USE_TZ = True; TIME_ZONE stays what people see."
            ),
            id="django_workers.E007",
        )


def _check_time_zone(alias: str) -> Iterator[CheckMessage]:
    zone = connections[alias].settings_dict.get("TIME_ZONE")
    if zone is not None:
        yield Error(
            f"DATABASES[{alias!r}]['TIME_ZONE'] is {zone!r}.",
            hint=(
                "The queue keeps its instants in UTC. Leave the key out, or put the "
                "queue into a database of its own by "
                "TASKS[alias]['OPTIONS']['DATABASE']."
            ),
            id="django_workers.E008",
        )


def _check_driver(alias: str) -> Iterator[CheckMessage]:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    if not is_psycopg3:
        yield Warning(
            f"The queue's database {alias!r} is used through psycopg2.",
            hint=(
                "Workers poll and claim more slowly with it. Install psycopg 3: "
                "python -m pip install 'psycopg[binary]'"
            ),
            id="django_workers.W002",
        )


def _check_listener() -> Iterator[CheckMessage]:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    dsn = runtime_settings().listener if settings_are_sound() else True
    if isinstance(dsn, str) and is_psycopg3 and not _is_connection_string(dsn):
        yield Error(
            # Not what is wrong with it: libpq's words may hold the password.
            f"{SETTING}['LISTENER'] cannot be read as a connection string.",
            hint=(
                "Write it as libpq does: postgresql://user:password@host:port/name, "
                "or host=... port=... dbname=... user=...."
            ),
            id="django_workers.E014",
        )


def _is_connection_string(text: str) -> bool:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        return bool(conninfo_to_dict(text))
    except ProgrammingError:
        return False


def _check_vendor(alias: str) -> Iterator[CheckMessage]:
    yield Warning(
        f"The queue's database {alias!r} is {connections[alias].display_name}, with "
        "which django_workers has not been tried.",
        hint="Use PostgreSQL, SQLite, MariaDB or MySQL for the queue.",
        id="django_workers.W005",
    )


def _check_sqlite(alias: str) -> Iterator[CheckMessage]:
    database = connections[alias].settings_dict
    name = str(database["NAME"])
    if name in ("", ":memory:") or "mode=memory" in name:
        yield Warning(
            f"The queue's database {alias!r} is SQLite in memory.",
            hint=(
                "A worker is a process of its own and would see another, empty "
                "database. Name a file."
            ),
            id="django_workers.W004",
        )
        return
    missing = sqlite_problems(name, database.get("OPTIONS", {}))
    if missing:
        yield Warning(
            f"The queue's database {alias!r} is SQLite without {_listed(missing)}.",
            hint=(
                'Under load requests fail with "database is locked". Write into '
                f"DATABASES[{alias!r}]:\n{SQLITE_OPTIONS}"
            ),
            id="django_workers.W001",
        )


def sqlite_problems(name: str, options: Any) -> list[str]:
    """Name what an SQLite database lacks to serve several processes well."""
    missing = []
    if not _WAL.search(str(options.get("init_command") or "")) and not _is_wal(name):
        missing.append("WAL")
    mode = str(options.get("transaction_mode") or "").upper()
    if mode not in ("IMMEDIATE", "EXCLUSIVE"):
        missing.append("IMMEDIATE transactions")
    if options.get("timeout", 5) < SQLITE_TIMEOUT_SECONDS:
        missing.append(f"a timeout of {SQLITE_TIMEOUT_SECONDS} s")
    return missing


def _is_wal(name: str) -> bool:
    """Whether the file has been in WAL mode before: it stays so."""
    try:
        with Path(name).open("rb") as file:
            return file.read(20)[18:20] == b"\x02\x02"
    except OSError:
        return False


def server_version(connection: Any) -> tuple[str, tuple[int, ...]]:
    """Return the name of the server's software and its version."""
    if connection.vendor == "sqlite":
        return "SQLite", connection.Database.sqlite_version_info
    if connection.vendor == "mysql":
        name = "MariaDB" if connection.mysql_is_mariadb else "MySQL"
        return name, tuple(connection.mysql_version)
    if connection.vendor == "postgresql":
        return "PostgreSQL", (connection.pg_version // 10_000,)
    return connection.display_name, ()


def _dotted(version: Sequence[int]) -> str:
    return ".".join(map(str, version))


def _listed(words: Sequence[str]) -> str:
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last

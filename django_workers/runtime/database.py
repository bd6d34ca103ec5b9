"""The supervisor's own connections: few, plain, and quick to notice a dead server."""

from typing import Any, Final

from django.db import connections

from ..brokers import SQLiteBroker, WriterTurn

# Data in flight that nobody acknowledges for so long means the other side is gone.
# (Measured: with TCP keepalives alone a cut link was noticed after more than 40 s.)
TCP_TIMEOUT_MS: Final = 8_000
CONNECT_TIMEOUT_SECONDS: Final = 5

# How long a statement of ours waits for a row that somebody else holds.
LOCK_SECONDS: Final = 0.25

# The pause a worker leaves other writers of an SQLite file between two transactions.
SQLITE_GAP_SECONDS: Final = 0.004


def prepare(using: str) -> None:
    """Set this process up as a supervisor of a database alias; opens nothing.

    Only for a process that runs no user code: it changes how the alias connects.
    """
    settings = connections.settings[using]
    options: dict[str, Any] = {**settings.get("OPTIONS", {})}
    options.pop("pool", None)
    if "postgresql" in settings["ENGINE"] and connections[using].vendor == "postgresql":
        options.setdefault("connect_timeout", CONNECT_TIMEOUT_SECONDS)
        options.setdefault("tcp_user_timeout", TCP_TIMEOUT_MS)
        options.setdefault("application_name", "django_workers")
        # Claims and endings count on seeing what others have just committed.
        options["isolation_level"] = _read_committed()
    elif connections[using].vendor == "mysql":
        options["isolation_level"] = "read committed"
        # In whole seconds only. No pooler stands between that would share it.
        # A project's own command of another kind stands as it is.
        limit = "SESSION innodb_lock_wait_timeout = 1"
        own = str(options.get("init_command", "")).rstrip("; ")
        if not own:
            options["init_command"] = f"SET {limit}"
        elif own.upper().startswith("SET "):
            options["init_command"] = f"{own}, {limit}"
        options.setdefault("connect_timeout", CONNECT_TIMEOUT_SECONDS)
    elif connections[using].vendor == "sqlite":
        options.setdefault("timeout", 20)
        SQLiteBroker.turn = WriterTurn(SQLITE_GAP_SECONDS)
    settings.update(
        OPTIONS=options, CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=False, AUTOCOMMIT=True
    )
    del connections[using]


def quiet_connection(using: str) -> None:
    """Keep this thread's connection from logging its queries under DEBUG.

    The log would keep the text of thousands of batches in memory.
    """
    connection: Any = connections[using]
    connection.make_debug_cursor = connection.make_cursor


def _read_committed() -> Any:
    from django.db.backends.postgresql.psycopg_any import IsolationLevel

    return IsolationLevel.READ_COMMITTED

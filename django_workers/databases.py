"""Which database holds the queue, as `TASKS` says."""

from collections.abc import Callable, Iterator
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections, transaction

from .compat import DEFAULT_TASK_BACKEND_ALIAS, task_backends


def own_backends() -> Iterator[Any]:
    """Yield the backends of `TASKS` whose jobs are rows, the default one first."""
    aliases = sorted(task_backends.settings, key=_default_first)
    for alias in aliases:
        backend = task_backends[alias]
        if hasattr(type(backend), "broker"):
            yield backend


def queue_database() -> str:
    """Return the database alias of the default backend, or else of the first of ours.

    Where `TASKS` names no backend of ours (in a test's settings), the default one.
    """
    for backend in own_backends():
        return str(backend.settings.DATABASE)
    return DEFAULT_DB_ALIAS


def queue_databases() -> list[str]:
    """Return every database alias that holds jobs, the default backend's first."""
    return list(
        dict.fromkeys(str(backend.settings.DATABASE) for backend in own_backends())
    )


def after_commit(call: Callable[[], None], *, using: str) -> None:
    """Call once what the caller has written on this alias is committed.

    At once where nobody can tell: outside `atomic()` with autocommit switched off,
    where Django's own `on_commit` would raise after the writing.
    """
    connection = connections[using]
    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(call, using=using)
    else:
        call()


def _default_first(alias: str) -> bool:
    return alias != DEFAULT_TASK_BACKEND_ALIAS

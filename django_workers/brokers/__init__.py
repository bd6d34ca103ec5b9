"""Who may write a job's state: one broker per kind of database."""

from django.db import connections

from .base import Broker
from .chores import UNROUTABLE
from .endings import Ending, Failure
from .errors import code_of, is_locked, is_too_slow, is_transient
from .postgresql import PostgreSQLBroker
from .records import (
    Claim,
    ClaimedJob,
    Lane,
    Moment,
    NewJob,
    Promotion,
    Rescue,
)
from .sqlite import SQLiteBroker, WriterTurn


def broker_for(using: str) -> Broker:
    """The broker of a database alias.

    PostgreSQL through psycopg 2 gets the generic one, which polls.
    """
    vendor = connections[using].vendor
    if vendor == "sqlite":
        return SQLiteBroker(using)
    if vendor == "postgresql" and _speaks_psycopg3():
        return PostgreSQLBroker(using)
    return Broker(using)


def _speaks_psycopg3() -> bool:
    from django.db.backends.postgresql.psycopg_any import is_psycopg3

    return is_psycopg3


__all__ = [
    "UNROUTABLE",
    "Broker",
    "Claim",
    "ClaimedJob",
    "Ending",
    "Failure",
    "Lane",
    "Moment",
    "NewJob",
    "PostgreSQLBroker",
    "Promotion",
    "Rescue",
    "SQLiteBroker",
    "WriterTurn",
    "broker_for",
    "code_of",
    "is_locked",
    "is_too_slow",
    "is_transient",
]

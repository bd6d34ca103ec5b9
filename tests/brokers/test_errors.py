"""What a database error means: one table."""

import sqlite3

import pytest
from django.db import (
    DatabaseError,
    DataError,
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)

from django_workers.brokers.errors import (
    code_of,
    is_locked,
    is_too_slow,
    is_transient,
)


def postgresql(state, kind=OperationalError):
    """Return Django's error around one of psycopg's."""
    error = kind("a text with data in it")
    error.__cause__ = type("Cause", (Exception,), {"sqlstate": state})()
    return error


def mysql(number, kind=OperationalError):
    return kind(number, "a text with data in it")


def sqlite(text, kind=OperationalError):
    error = kind(text)
    error.__cause__ = sqlite3.OperationalError(text)
    return error


TRANSIENT = {
    "connection lost": postgresql(None),
    "connection failure": postgresql("08006"),
    "serialization": postgresql("40001"),
    "deadlock": postgresql("40P01"),
    "too many connections": postgresql("53300"),
    "disk full": postgresql("53100"),
    "lock timeout": postgresql("55P03"),
    "shutdown": postgresql("57P01"),
    "crash": postgresql("57P02"),
    "starting up": postgresql("57P03"),
    "statement timeout": postgresql("57014"),
    "I/O error": postgresql("58030"),
    "read-only server": postgresql("25006", ProgrammingError),
    "idle in transaction": postgresql("25P03", DatabaseError),
    "transaction timeout": postgresql("25P04", DatabaseError),
    "no table": postgresql("42P01", ProgrammingError),
    "no column": postgresql("42703", ProgrammingError),
    "no privilege": postgresql("42501", ProgrammingError),
    "an old plan": postgresql("0A000", DatabaseError),
    "mysql lock wait": mysql(1205),
    "mysql no table": mysql(1146, ProgrammingError),
    "mysql no column": mysql(1054),
    "mysql no privilege": mysql(1142),
    "sqlite no table": sqlite("no such table: jobs"),
    "sqlite no column": sqlite("no such column: jobs.task"),
    "mysql deadlock": mysql(1213),
    "mysql too many connections": mysql(1040),
    "mysql gone away": mysql(2006),
    "mysql lost": mysql(2013),
    "mysql cannot connect": mysql(2002),
    "mysql read-only": mysql(1290),
    "mysql killed": mysql(1927),
    "mysql interrupted": mysql(1317),
    "mysql time limit": mysql(3024),
    "mariadb time limit": mysql(1969),
    "mysql disk full": mysql(1021),
    "sqlite locked": sqlite("database is locked"),
    "sqlite busy": sqlite("database table is locked: busy"),
    "sqlite disk": sqlite("database or disk is full"),
    "sqlite I/O": sqlite("disk I/O error"),
    "sqlite gone": sqlite("unable to open database file"),
    "sqlite readonly": sqlite("attempt to write a readonly database"),
    "interface": InterfaceError("connection already closed"),
    "socket": BrokenPipeError(),
    "network": ConnectionResetError(),
}
LASTING = {
    "NUL in text": DataError("PostgreSQL text fields cannot contain NUL bytes"),
    "bad JSON": postgresql("22P02", DataError),
    "NUL in JSON": postgresql("22P05", DataError),
    "too long": postgresql("22001", DataError),
    "overflow": postgresql("22003", DataError),
    "too deep": postgresql("54001"),
    "unique": postgresql("23505", IntegrityError),
    "check": postgresql("23514", IntegrityError),
    "a trigger's word": postgresql("P0001", DatabaseError),
    "a trigger's assertion": postgresql("P0004", DatabaseError),
    "a function's word": postgresql("38000", DatabaseError),
    "mysql trigger": mysql(1644),
    "mysql check": mysql(4025, IntegrityError),
    "mysql too long": mysql(1406, DataError),
    "mysql duplicate": mysql(1062, IntegrityError),
    "mysql bad JSON": mysql(3140),
    "sqlite bad JSON": sqlite("malformed JSON"),
    "sqlite check": sqlite("CHECK constraint failed", IntegrityError),
    "sqlite text": sqlite("Could not decode to UTF-8 column"),
    "recursion": RecursionError(),
    "encoding": UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"),
    "a bug": TypeError(),
}


@pytest.mark.parametrize("error", TRANSIENT.values(), ids=TRANSIENT)
def test_an_error_of_the_server_passes(error):
    assert is_transient(error)


@pytest.mark.parametrize("error", LASTING.values(), ids=LASTING)
def test_an_error_about_the_data_stays(error):
    assert not is_transient(error)


def test_only_a_time_limit_says_that_less_may_do():
    errors = {**TRANSIENT, **LASTING}

    assert {name for name, error in errors.items() if is_too_slow(error)} == {
        "statement timeout",
        "mysql time limit",
        "mariadb time limit",
    }


def test_a_row_that_somebody_holds_is_told_from_the_rest():
    errors = {**TRANSIENT, **LASTING}

    assert {name for name, error in errors.items() if is_locked(error)} == {
        "lock timeout",
        "mysql lock wait",
    }


@pytest.mark.parametrize("error", [*TRANSIENT.values(), *LASTING.values()])
def test_a_code_is_short_and_tells_no_data(error):
    code = code_of(error)

    assert 0 < len(code) < 40
    assert "data" not in code


def test_codes_name_what_the_manual_names():
    assert code_of(postgresql("22P05")) == "SQLSTATE 22P05"
    assert code_of(mysql(1406)) == "error 1406"
    assert code_of(sqlite("malformed JSON")) == "OperationalError"
    assert code_of(ConnectionResetError(104, "by peer")) == "ConnectionResetError"

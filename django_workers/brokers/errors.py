"""What a database error means for whoever has to write something: one table."""

from typing import Final

from django.db import DatabaseError, InterfaceError, OperationalError

# The classes of SQLSTATE that speak of the data: cardinality, data, integrity, check
# option, limits; and what triggers and functions of a project's own say of a row.
# Whatever else goes wrong is the matter of a server, a privilege or a migration, and
# may be right again later.
_DATA_CLASSES: Final = ("21", "22", "23", "44", "54", "P0", "38", "39")
# MySQL and MariaDB: disk full; memory; too many connections; shutdown; forced close;
# table full; threads; network; user limits; lock wait; lock table full; deadlock;
# interrupted; read-only; killed; time limits; gone away, lost, broken off; privileges;
# no such database, table, column.
# fmt: off
_TRANSIENT_NUMBERS: Final = frozenset({
    1021, 1037, 1038, 1040, 1041, 1053, 1080, 1114, 1135, 1158, 1159, 1160, 1161,
    1203, 1205, 1206, 1213, 1226, 1290, 1317, 1836, 1927, 1969, 3024, 4031,
    2002, 2003, 2006, 2013, 2026, 2027, 2055,
    1044, 1045, 1142, 1143, 1370, 1049, 1146, 1054,
})
# fmt: on
# The statement was ended by a time limit: less of it may do.
_TOO_SLOW: Final = ("57014", 1969, 3024)
_SQLITE_WORDS: Final = (
    *("locked", "busy", "disk", "unable to open", "readonly"),
    *("no such table", "no such column", "has no column"),
)
# Somebody else holds the row.
_LOCKED: Final = ("55P03", 1205)


def is_transient(error: BaseException) -> bool:
    """Whether the same statement may succeed later, on a new connection.

    False means that the data or the statement is at fault: trying the whole batch
    again would fail for ever.
    """
    if isinstance(error, InterfaceError):
        return True
    if not isinstance(error, DatabaseError):
        return isinstance(error, OSError)
    state = _state_of(error)
    if isinstance(state, str):
        return state[:2] not in _DATA_CLASSES
    if state is not None:
        return state in _TRANSIENT_NUMBERS
    if not isinstance(error, OperationalError):
        return False
    cause = error.__cause__
    if type(cause).__module__.startswith("sqlite3"):
        return any(word in str(error).lower() for word in _SQLITE_WORDS)
    return True  # a lost connection has no SQLSTATE


def is_too_slow(error: BaseException) -> bool:
    """Whether a time limit of the database's own ended the statement.

    As a whole it may never succeed, however often it is tried.
    """
    return isinstance(error, DatabaseError) and _state_of(error) in _TOO_SLOW


def is_locked(error: BaseException) -> bool:
    """Whether a row was held by somebody else for longer than we wait."""
    return isinstance(error, DatabaseError) and _state_of(error) in _LOCKED


def code_of(error: BaseException) -> str:
    """Name an error by a short constant, free of the data it was about."""
    state = _state_of(error)
    if isinstance(state, str):
        return f"SQLSTATE {state}"
    if state is not None:
        return f"error {state}"
    return type(error).__name__


def _state_of(error: BaseException) -> str | int | None:
    """Read the error's SQLSTATE, or its number on MySQL and MariaDB."""
    state = getattr(error.__cause__, "sqlstate", None)
    if isinstance(state, str) and state:
        return state
    if not isinstance(error, DatabaseError):
        return None
    number = error.args[0] if error.args else None
    return number if isinstance(number, int) else None

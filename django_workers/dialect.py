"""The few SQL words in which the databases differ.

Only the database's clock decides about instants, so every expression here reads it;
all of them are UTC whatever the session's time zone is.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import BigIntegerField, DateTimeField, Func

POSITION_SEQUENCE: Final = "django_workers_position"

# The transaction gets its id before it draws the position, never after: then a claim
# that cannot see the job knows at least that its transaction is open, and the floor of
# the lane waits for it. (The sequence has CACHE 1: a cached block would let one
# session's later jobs go first.)
POSTGRESQL_POSITION: Final = (
    "CASE WHEN PG_CURRENT_XACT_ID() IS NOT NULL "
    f"THEN NEXTVAL('{POSITION_SEQUENCE}') END"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """SQL fragments of one vendor; percent signs are doubled for parameters."""

    # Now, as the column type of a DateTimeField.
    clock: str
    # Now plus a number of seconds given as one parameter.
    clock_plus: str
    # The beginning of this minute.
    minute: str
    # Orders jobs by the moment they became ready.
    position: str
    # Now, as seconds since 1970.
    epoch: str
    # Are positions counted, rather than read off a clock? SQLite's has milliseconds.
    counts_positions: bool = False
    # How a parameter holding JSON text is written.
    json: str = "%s"
    # How an upsert adds to the row that is there: {column} and {table} are filled in.
    add: str = "{column} = {table}.{column} + excluded.{column}"
    keep_greater: str = "{column} = MAX({table}.{column}, excluded.{column})"
    on_conflict: str = "ON CONFLICT ({key}) DO UPDATE SET"


DIALECTS: Final[dict[str, Dialect]] = {
    "postgresql": Dialect(
        clock="STATEMENT_TIMESTAMP()",
        clock_plus="STATEMENT_TIMESTAMP() + %s * INTERVAL '1 second'",
        minute="DATE_TRUNC('minute', STATEMENT_TIMESTAMP())",
        position=POSTGRESQL_POSITION,
        counts_positions=True,
        epoch="EXTRACT(EPOCH FROM STATEMENT_TIMESTAMP())::float8",
        json="%s::jsonb",
        keep_greater="{column} = GREATEST({table}.{column}, excluded.{column})",
    ),
    "sqlite": Dialect(
        clock="STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', 'NOW')",
        clock_plus=(
            "STRFTIME('%%Y-%%m-%%d %%H:%%M:%%f', "
            "JULIANDAY('NOW') + CAST(%s AS REAL) / 86400.0)"
        ),
        minute="STRFTIME('%%Y-%%m-%%d %%H:%%M:00', 'NOW')",
        position=(
            "CAST(ROUND((JULIANDAY('NOW') - 2440587.5) * 86400000.0) AS INTEGER) * 1000"
        ),
        epoch="((JULIANDAY('NOW') - 2440587.5) * 86400.0)",
    ),
    "mysql": Dialect(
        clock="UTC_TIMESTAMP(6)",
        clock_plus=(
            "UTC_TIMESTAMP(6) + INTERVAL CAST(%s * 1000000 AS SIGNED) MICROSECOND"
        ),
        minute="DATE_FORMAT(UTC_TIMESTAMP(), '%%Y-%%m-%%d %%H:%%i:00')",
        # Not UNIX_TIMESTAMP(NOW(6)): it goes back an hour with the server's own clock
        # when summer time ends.
        position="TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6))",
        epoch="(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) / 1e6)",
        add="{column} = {column} + VALUES({column})",
        keep_greater="{column} = GREATEST({column}, VALUES({column}))",
        on_conflict="ON DUPLICATE KEY UPDATE",
    ),
}


def dialect_of(connection: BaseDatabaseWrapper) -> Dialect:
    """The dialect of a connection's vendor; unknown vendors speak PostgreSQL's."""
    return DIALECTS.get(connection.vendor, DIALECTS["postgresql"])


def uuid_value(connection: BaseDatabaseWrapper, value: UUID | str) -> Any:
    """A UUID as the connection's driver takes it."""
    value = value if isinstance(value, UUID) else UUID(value)
    return value if connection.features.has_native_uuid_field else value.hex


def datetime_value(connection: BaseDatabaseWrapper, value: datetime | None) -> Any:
    """An aware datetime as the connection's driver takes it."""
    return None if value is None else connection.ops.adapt_datetimefield_value(value)


class _DialectFunc(Func):
    """An expression whose SQL the dialect supplies."""

    fragment = "clock"

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: BaseDatabaseWrapper, **context: Any
    ) -> tuple[str, list[Any]]:
        sql = getattr(dialect_of(connection), self.fragment)
        params: list[Any] = []
        for source in self.get_source_expressions():
            params.extend(compiler.compile(source)[1])
        # Without parameters Django hands the text to the driver as it is, and the
        # doubled percent signs must then be single ones; the ORM always has some.
        return sql, params


class DatabaseNow(_DialectFunc):
    """The database's clock, now."""

    output_field = DateTimeField()


class DatabaseNowPlus(_DialectFunc):
    """The database's clock plus a number of seconds."""

    fragment = "clock_plus"
    output_field = DateTimeField()


class NextPosition(_DialectFunc):
    """A fresh place at the end of a lane."""

    fragment = "position"
    output_field = BigIntegerField()


def database_now(connection: BaseDatabaseWrapper) -> datetime:
    """Ask the database what time it is.

    Returns an aware datetime in UTC.
    """
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {dialect_of(connection).epoch} WHERE %s = %s", [1, 1])
        (seconds,) = cursor.fetchone()
    return datetime.fromtimestamp(float(seconds), UTC)

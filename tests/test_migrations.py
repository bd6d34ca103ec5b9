"""The migration: equal to the models, and complete where models cannot say it."""

from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest
from django.core import checks
from django.core.management import call_command
from django.db import IntegrityError, connection, migrations, models, transaction
from django.db.migrations.loader import MigrationLoader
from django.db.migrations.recorder import MigrationRecorder
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import OperationWriter

from django_workers.dialect import POSITION_SEQUENCE, DatabaseNow
from django_workers.models import Job, JobStatus, Schedule
from django_workers.schema import (
    AddFullUniqueness,
    AddPartialIndex,
    CreatePositionSequence,
    DatabaseOperation,
    TuneJobTable,
)

PARTIAL = connection.features.supports_partial_indexes
INITIAL = ("django_workers", "0001_initial")


@pytest.fixture
def operations() -> list[Any]:
    return list(MigrationLoader(None).disk_migrations[INITIAL].operations)


def columns_of_indexes(model: type[models.Model]) -> dict[str, list[str]]:
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    return {
        name: details["columns"]
        for name, details in found.items()
        if details["index"] or details["unique"]
    }


@pytest.mark.django_db
def test_the_migration_says_what_the_models_say():
    out = StringIO()

    call_command(
        "makemigrations", "django_workers", check=True, dry_run=True, stdout=out
    )

    assert "No changes detected" in out.getvalue()


def test_names_fit_every_database():
    for model in (Job, Schedule):
        for item in (*model._meta.indexes, *model._meta.constraints):
            assert len(item.name) <= 30, item.name


def test_the_migration_needs_no_other_app():
    loader = MigrationLoader(None)

    assert loader.disk_migrations[INITIAL].dependencies == []


def test_every_partial_index_of_the_models_has_its_full_twin(operations: list[Any]):
    wanted = {
        index.name
        for model in (Job, Schedule)
        for index in model._meta.indexes
        if index.condition is not None
    }

    made = {item.index.name for item in operations if isinstance(item, AddPartialIndex)}

    assert made == wanted


def test_the_operations_can_be_written_into_another_migration(operations: list[Any]):
    for operation in operations:
        if isinstance(operation, (DatabaseOperation, AddPartialIndex)):
            assert operation.describe()
            assert operation.migration_name_fragment
            text, imports = OperationWriter(operation, indentation=0).serialize()
            room: dict[str, Any] = {}
            exec("\n".join((*imports, f"made = (\n{text}\n)")), room)
            (made,) = room["made"]
            assert _contents(made) == _contents(operation)


def _contents(operation: Any) -> list[Any]:
    names = ("model_name", "index", "full", "constraint", "name")
    return [type(operation), *(getattr(operation, name, None) for name in names)]


@pytest.mark.django_db
def test_the_hot_statements_find_their_indexes():
    indexes = columns_of_indexes(Job)

    if PARTIAL:
        assert {"dw_job_ready", "dw_job_ready_by_task"} <= indexes.keys()
        assert indexes["dw_job_due"] == ["run_after"]
        assert indexes["dw_job_blocked"] == ["task"]
        assert columns_of_indexes(Schedule)["dw_schedule_next"] == ["next_fire_at"]
    else:
        assert indexes["dw_job_ready"] == ["status", "queue", "priority", "position"]
        assert indexes["dw_job_ready_by_task"] == [
            "status",
            "task",
            "queue",
            "priority",
            "position",
        ]
        assert indexes["dw_job_due"] == ["status", "run_after"]
        assert "dw_job_blocked" not in indexes
        assert columns_of_indexes(Schedule)["dw_schedule_next"] == [
            "enabled",
            "next_fire_at",
        ]
    assert indexes["dw_job_held"] == ["session"]
    assert indexes["dw_job_finished"] == ["status", "finished_at"]
    assert indexes["dw_job_slot_once"] == ["schedule_id", "slot"]


@pytest.mark.django_db
def test_a_slot_has_one_job_and_jobs_without_a_slot_are_free():
    values = {"task": "t", "status": "ready", "position": 1, "schedule_id": 7}
    for _ in range(2):
        Job.objects.create(enqueued_at=DatabaseNow(), **values)
    Job.objects.create(enqueued_at=DatabaseNow(), slot="2030-01-01T00:00Z", **values)

    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.create(
            enqueued_at=DatabaseNow(), slot="2030-01-01T00:00Z", **values
        )


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "unheard-of"},
        {"status": "ready", "position": None},
        {"status": "running"},
        {"status": "ready", "session": "01890000000070008000000000000000"},
        {"status": "scheduled"},
        {"status": "failed"},
        {"status": "ready", "finished_at": DatabaseNow()},
    ],
    ids=str,
)
def test_a_row_that_contradicts_itself_is_refused(wrong: dict[str, Any]):
    values = {"task": "t", "position": 1, "enqueued_at": DatabaseNow(), **wrong}

    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.create(**values)


def test_nobody_is_warned_of_indexes_that_the_migration_makes():
    messages = checks.run_checks(databases=["default"], tags=[checks.Tags.models])

    assert not [m for m in messages if m.id in ("models.W036", "models.W037")]


@pytest.mark.postgresql
@pytest.mark.django_db
def test_the_sequence_of_positions_is_in_order_and_goes_with_its_table():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT schemaname, data_type::text, cache_size FROM pg_sequences "
            "WHERE sequencename = %s",
            [POSITION_SEQUENCE],
        )
        ((schema, kind, cache),) = cursor.fetchall()
        cursor.execute(
            "SELECT schemaname FROM pg_tables WHERE tablename = 'django_workers_job'"
        )
        ((schema_of_table,),) = cursor.fetchall()
        cursor.execute(
            "SELECT pg_get_serial_sequence('django_workers_job', 'position')"
        )
        ((owned,),) = cursor.fetchall()

    assert (schema, kind, cache) == (schema_of_table, "bigint", 1)
    assert owned == f"{schema}.{POSITION_SEQUENCE}"


@pytest.mark.postgresql
@pytest.mark.django_db
def test_the_job_table_is_vacuumed_by_count_and_leaves_room_for_updates():
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT unnest(reloptions) FROM pg_class WHERE relname = %s",
            [Job._meta.db_table],
        )
        options = dict(row[0].split("=") for row in cursor.fetchall())

    assert options == TuneJobTable.PARAMETERS
    assert options["fillfactor"] == "80"
    assert options["autovacuum_vacuum_scale_factor"] == "0"


@pytest.fixture
def elsewhere() -> Iterator[None]:
    """Keep the recorder's table, which a migration back to zero would change."""
    yield
    call_command("migrate", "django_workers", verbosity=0)


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("elsewhere")
def test_the_migration_can_be_undone_and_done_again():
    call_command("migrate", "django_workers", "zero", verbosity=0)
    left = [
        name
        for name in connection.introspection.table_names()
        if name.startswith("django_workers")
    ]
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT sequencename FROM pg_sequences")
            left += [row[0] for row in cursor.fetchall() if "workers" in row[0]]

    assert left == []
    assert INITIAL not in MigrationRecorder(connection).applied_migrations()

    call_command("migrate", "django_workers", verbosity=0)
    assert set(columns_of_indexes(Job)) >= {"dw_job_due", "dw_job_slot_once"}


class RefusingRouter:
    """Send nothing of ours to this database."""

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool | None:
        return False if app_label == "django_workers" else None


@pytest.mark.django_db
def test_a_database_without_our_tables_is_left_alone(
    settings: Any, operations: list[Any]
):
    settings.DATABASE_ROUTERS = [RefusingRouter()]
    state = MigrationLoader(None).project_state([INITIAL])
    editor = _Listening(connection)

    for operation in operations:
        if not isinstance(operation, migrations.CreateModel):
            operation.database_forwards("django_workers", editor, state, state)
            operation.database_backwards("django_workers", editor, state, state)

    assert editor.heard == []


class _Listening:
    """A schema editor that only notes what it is asked to do."""

    def __init__(self, connection: Any, *, partial: bool = PARTIAL) -> None:
        self.connection = _As(connection, partial=partial)
        self.heard: list[tuple[str, str]] = []

    def quote_name(self, name: str) -> str:
        return name

    def execute(self, sql: str) -> None:
        self.heard.append(("execute", sql))

    def __getattr__(self, name: str) -> Any:
        return lambda model, item: self.heard.append((name, item.name))


class _As:
    """A connection that claims to know partial indexes, or not."""

    def __init__(self, connection: Any, *, partial: bool) -> None:
        self.vendor = connection.vendor
        self.alias = connection.alias
        self.features = type("Features", (), {"supports_partial_indexes": partial})


@pytest.fixture
def state() -> ProjectState:
    return MigrationLoader(None).project_state([INITIAL])


@pytest.mark.parametrize("partial", [True, False])
def test_an_index_is_made_and_dropped_once_whatever_its_kind(
    state: ProjectState, operations: list[Any], partial: bool
):
    wanted = [
        item.index.name
        for item in operations
        if isinstance(item, AddPartialIndex) and (partial or item.full is not None)
    ]
    editor: Any = _Listening(connection, partial=partial)

    for operation in operations:
        if isinstance(operation, AddPartialIndex):
            operation.database_forwards("django_workers", editor, state, state)
    for operation in operations:
        if isinstance(operation, AddPartialIndex):
            operation.database_backwards("django_workers", editor, state, state)

    assert editor.heard == [
        *(("add_index", name) for name in wanted),
        *(("remove_index", name) for name in wanted),
    ]


@pytest.mark.parametrize("partial", [True, False])
def test_uniqueness_is_made_full_only_where_it_must(
    state: ProjectState, operations: list[Any], partial: bool
):
    (operation,) = (o for o in operations if isinstance(o, AddFullUniqueness))
    editor: Any = _Listening(connection, partial=partial)

    operation.database_forwards("django_workers", editor, state, state)
    operation.database_backwards("django_workers", editor, state, state)

    name = "dw_job_slot_once"
    assert editor.heard == (
        [] if partial else [("add_constraint", name), ("remove_constraint", name)]
    )


@pytest.mark.parametrize(
    "operation", [CreatePositionSequence("a_sequence"), TuneJobTable()], ids=repr
)
def test_what_only_postgresql_has_is_done_only_there(
    state: ProjectState, operation: Any
):
    editor: Any = _Listening(connection)

    operation.database_forwards("django_workers", editor, state, state)
    operation.database_backwards("django_workers", editor, state, state)

    assert bool(editor.heard) == (connection.vendor == "postgresql")


def test_the_statuses_of_the_checks_are_those_of_the_code():
    (check,) = (c for c in Job._meta.constraints if c.name == "dw_job_status_known")

    assert isinstance(check, models.CheckConstraint)
    assert list(JobStatus) == [*dict(check.condition.children)["status__in"]]  # type: ignore[union-attr,arg-type]

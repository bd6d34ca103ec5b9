"""What the tables need beyond their models: for the migrations, and only for them.

A migration that has run may be run again on another site for years, so an operation
here never changes; a new need gets a new one.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations import AddIndex
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState


class DatabaseOperation(Operation):
    """Base of operations that change the database but no model."""

    reversible = True
    reduces_to_sql = True

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Leave the models as they are."""

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Call `forwards` where this database needs it."""
        if self._is_needed(app_label, schema_editor, to_state):
            self.forwards(app_label, schema_editor, to_state)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Call `backwards` where this database needed it."""
        if self._is_needed(app_label, schema_editor, from_state):
            self.backwards(app_label, schema_editor, from_state)

    def _is_needed(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> bool:
        job = state.apps.get_model(app_label, "Job")
        return self.allow_migrate_model(
            schema_editor.connection.alias, job
        ) and self.concerns(schema_editor)

    def concerns(self, schema_editor: BaseDatabaseSchemaEditor) -> bool:
        """Whether this database needs the operation."""
        raise NotImplementedError

    def forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> None:
        """Change the database."""
        raise NotImplementedError

    def backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> None:
        """Undo the change."""


class CreatePositionSequence(DatabaseOperation):
    """Create the sequence that orders ready jobs on PostgreSQL.

    It stands in the schema of the tables (the first of the search path) and belongs to
    the column it fills: dumped with the table, moved with it, dropped with it. CACHE 1,
    although it is the default, because more would break the order: each connection
    would hand out a block of its own.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def describe(self) -> str:
        """Say what `migrate` does here."""
        return f"Create sequence {self.name} (PostgreSQL)"

    @property
    def migration_name_fragment(self) -> str:
        """Name a migration that does nothing else."""
        return f"sequence_{self.name}"

    def concerns(self, schema_editor: BaseDatabaseSchemaEditor) -> bool:
        """Only PostgreSQL: the others order by their clock."""
        return schema_editor.connection.vendor == "postgresql"

    def forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> None:
        """Create it and tie it to the column."""
        quote = schema_editor.quote_name
        table = state.apps.get_model(app_label, "Job")._meta.db_table
        schema_editor.execute(f"CREATE SEQUENCE {quote(self.name)} AS bigint CACHE 1")
        schema_editor.execute(
            f"ALTER SEQUENCE {quote(self.name)} "
            f"OWNED BY {quote(table)}.{quote('position')}"
        )

    def backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> None:
        """Drop it."""
        name = schema_editor.quote_name(self.name)
        schema_editor.execute(f"DROP SEQUENCE IF EXISTS {name}")


class TuneJobTable(DatabaseOperation):
    """Set the storage parameters of the job table on PostgreSQL.

    Every job is one insert and two updates that no HOT update can be, since `status`
    stands in the partial indexes. So a table that keeps a week of finished jobs gets
    two dead rows per job at its newest edge, and the stock settings, which wait until
    a fifth of the *whole* table is dead, come a million jobs too late.
    """

    PARAMETERS: ClassVar[dict[str, str]] = {
        # Room for the two later versions of most rows of a page beside the first: the
        # claim and the completion dirty one page instead of two.
        "fillfactor": "80",
        # By count alone, however long the history. A round costs little: it visits
        # only pages touched since the last one, and leaves the indexes alone while
        # less than 2 % of all pages hold dead rows.
        "autovacuum_vacuum_scale_factor": "0",
        "autovacuum_vacuum_threshold": "1000",
        # At full speed: a throttled round on a busy queue never catches up.
        "autovacuum_vacuum_cost_delay": "0",
        # The share of ready jobs swings between nothing and everything within a
        # minute, so the planner's figures age by count too. The sample is of constant
        # size, and with the stock pause of a minute between two rounds costs at most
        # a second a minute.
        "autovacuum_analyze_scale_factor": "0",
        "autovacuum_analyze_threshold": "5000",
        # Left as they are: the thresholds for inserts (every row inserted is updated
        # soon, which counts above; a backlog that waits for weeks is frozen in time by
        # the stock settings) and the TOAST table (arguments are written once, and
        # their space is used again after pruning).
    }

    def describe(self) -> str:
        """Say what `migrate` does here."""
        return "Set storage parameters of the job table (PostgreSQL)"

    @property
    def migration_name_fragment(self) -> str:
        """Name a migration that does nothing else."""
        return "tune_job_table"

    def concerns(self, schema_editor: BaseDatabaseSchemaEditor) -> bool:
        """Only PostgreSQL has them."""
        return schema_editor.connection.vendor == "postgresql"

    def forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> None:
        """Set them all."""
        values = ", ".join(
            f"{name} = {value}" for name, value in self.PARAMETERS.items()
        )
        self._alter(app_label, schema_editor, state, f"SET ({values})")

    def backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> None:
        """Go back to the server's defaults."""
        self._alter(
            app_label, schema_editor, state, f"RESET ({', '.join(self.PARAMETERS)})"
        )

    def _alter(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
        change: str,
    ) -> None:
        table = state.apps.get_model(app_label, "Job")._meta.db_table
        schema_editor.execute(f"ALTER TABLE {schema_editor.quote_name(table)} {change}")


class AddPartialIndex(AddIndex):
    """Create a partial index, or a full one where there are none (MySQL, MariaDB).

    Left alone, Django would ignore the condition there, and the index would hold every
    job there ever was. `full` is led by the columns of the condition, so that the same
    statements find it, and has the same name; None where another index serves.
    """

    def __init__(
        self, model_name: str, index: models.Index, full: models.Index | None
    ) -> None:
        super().__init__(model_name, index)
        self.full = full

    def deconstruct(self) -> tuple[str, Sequence[Any], dict[str, Any]]:
        """Tell how to build it again."""
        name, args, kwargs = super().deconstruct()
        return name, args, {**kwargs, "full": self.full}

    def database_forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Create the one this database can use."""
        if schema_editor.connection.features.supports_partial_indexes:
            super().database_forwards(app_label, schema_editor, from_state, to_state)
            return
        model = to_state.apps.get_model(app_label, self.model_name)
        if self.full is not None and self.allow_migrate_model(
            schema_editor.connection.alias, model
        ):
            schema_editor.add_index(model, self.full)

    def database_backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        from_state: ProjectState,
        to_state: ProjectState,
    ) -> None:
        """Drop it again."""
        if schema_editor.connection.features.supports_partial_indexes:
            super().database_backwards(app_label, schema_editor, from_state, to_state)
            return
        model = from_state.apps.get_model(app_label, self.model_name)
        if self.full is not None and self.allow_migrate_model(
            schema_editor.connection.alias, model
        ):
            schema_editor.remove_index(model, self.full)


class AddFullUniqueness(DatabaseOperation):
    """Create a conditional unique constraint as a full one (MySQL, MariaDB).

    Right where the condition only says that a column is not NULL: rows with a NULL
    stay out of a unique index anyway. Django itself would create none at all.
    """

    def __init__(self, model_name: str, constraint: models.UniqueConstraint) -> None:
        self.model_name = model_name
        self.constraint = constraint

    def describe(self) -> str:
        """Say what `migrate` does here."""
        name = self.constraint.name
        return f"Create constraint {name} (databases without conditional ones)"

    @property
    def migration_name_fragment(self) -> str:
        """Name a migration that does nothing else."""
        return f"{self.constraint.name}_full"

    def concerns(self, schema_editor: BaseDatabaseSchemaEditor) -> bool:
        """Only where Django leaves it out."""
        return not schema_editor.connection.features.supports_partial_indexes

    def forwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> None:
        """Create it."""
        model = state.apps.get_model(app_label, self.model_name)
        schema_editor.add_constraint(model, self.constraint)

    def backwards(
        self,
        app_label: str,
        schema_editor: BaseDatabaseSchemaEditor,
        state: ProjectState,
    ) -> None:
        """Drop it."""
        model = state.apps.get_model(app_label, self.model_name)
        schema_editor.remove_constraint(model, self.constraint)

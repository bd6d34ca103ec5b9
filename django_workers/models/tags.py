"""Whether a job carries a tag, in the words of its database."""

from typing import Any

from django.db import connections
from django.db.models import BooleanField, F, Func, Q, TextField, Value
from django.db.models.expressions import Combinable


class HasTag(Func):
    """Whether the list `tags` holds a tag, on SQLite, where JSON has no `contains`."""

    output_field = BooleanField()

    def __init__(self, tag: str) -> None:
        super().__init__(F("tags"), Value(tag, output_field=TextField()))

    def as_sql(  # type: ignore[override]
        self, compiler: Any, connection: Any, **context: Any
    ) -> tuple[str, list[Any]]:
        """Write the condition."""
        (tags, of_tags), (tag, of_tag) = map(
            compiler.compile, self.get_source_expressions()
        )
        sql = f"EXISTS (SELECT 1 FROM json_each({tags}) WHERE value = {tag})"  # noqa: S608
        return sql, [*of_tags, *of_tag]


def has_tag(tag: str, *, using: str) -> Q | Combinable:
    """Return the condition that a job carries *tag*, for a database alias."""
    if connections[using].vendor == "sqlite":
        return HasTag(tag)
    return Q(tags__contains=[tag])

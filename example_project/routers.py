"""Which database holds what, when the queue has one of its own."""

from typing import Any

from django.db.models import Model


class QueueRouter:
    """The tables of the queue live in the database `queue`, all others in `default`."""

    def db_for_read(self, model: type[Model], **hints: Any) -> str | None:
        return "queue" if model._meta.app_label == "django_workers" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: Any) -> bool:
        return (db == "queue") == (app_label == "django_workers")

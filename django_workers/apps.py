"""The Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DjangoWorkersConfig(AppConfig):
    """Registers the checks; opens no connection and runs no query."""

    name = "django_workers"
    label = "django_workers"
    verbose_name = _("Background tasks")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, Django's own task checks included.

        Core registers its task checks when `django.tasks` is first imported, which
        nothing else does before `manage.py check` runs.
        """
        from . import checks, compat  # noqa: F401

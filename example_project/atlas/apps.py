"""The app of the example site."""

from django.apps import AppConfig


class AtlasConfig(AppConfig):
    """Connects what listens to the ends of jobs."""

    name = "example_project.atlas"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Connect the listeners."""
        from . import listeners  # noqa: F401

"""Django's own tests for tasks, run against our three backends."""

from django.test import TestCase, override_settings

from tests.django_suite.source import add_to_path

add_to_path()

# Django's tests, importable from here on.
from tasks import test_dummy_backend, test_immediate_backend, test_tasks  # noqa: E402

DATABASE = "django_workers.backend.DatabaseBackend"
DUMMY = "django_workers.backend.DummyBackend"
IMMEDIATE = "django_workers.backend.ImmediateBackend"
QUEUES = ["default", "queue_1"]


@override_settings(
    TASKS={
        "default": {"BACKEND": DATABASE, "QUEUES": QUEUES},
        "immediate": {"BACKEND": IMMEDIATE, "QUEUES": []},
        "missing": {"BACKEND": "does.not.exist"},
    },
)
class TestDatabaseBackend(test_tasks.TaskTestCase, TestCase):
    """What Django expects of tasks in general, with our rows behind them."""

    databases = "__all__"

    def setUp(self):
        """Django empties the dummy's list here; our transaction rolls back."""


@override_settings(
    TASKS={
        "default": {"BACKEND": DUMMY, "QUEUES": QUEUES},
        "immediate": {"BACKEND": IMMEDIATE, "QUEUES": []},
        "missing": {"BACKEND": "does.not.exist"},
    },
)
class TestTwins(test_tasks.TaskTestCase):
    """The same with our stand-ins for Django's two backends."""


@override_settings(TASKS={"default": {"BACKEND": DUMMY, "QUEUES": []}})
class TestDummyTwin(test_dummy_backend.DummyBackendTestCase):
    """What Django expects of its backend that only keeps a list."""


@override_settings(TASKS={"default": {"BACKEND": IMMEDIATE, "QUEUES": []}})
class TestImmediateTwin(test_immediate_backend.ImmediateBackendTestCase):
    """What Django expects of its backend that runs tasks at once."""

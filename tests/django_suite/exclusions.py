"""Django's tests that cannot hold for us, each with the reason.

An exclusion is an expected failure with one kind of error: a test listed here that
passes, or fails in another way, fails the run; so does a name that no longer exists.
"""

from typing import NamedTuple

import django
from django.core.exceptions import SynchronousOnlyOperation


class Exclusion(NamedTuple):
    """Why a test cannot hold, and the error that shows it."""

    reason: str
    error: type[Exception]


IN_MEMORY = Exclusion(
    "reads `backend.results`, the list that only the in-memory dummy keeps",
    AttributeError,
)
NAMES_THE_CLASS = Exclusion(
    "asserts that the backend is Django's DummyBackend", AssertionError
)

EXCLUDED: dict[str, dict[str, Exclusion]] = {
    "TestDatabaseBackend": {
        "test_using_correct_backend": NAMES_THE_CLASS,
        "test_get_backend": NAMES_THE_CLASS,
        "test_enqueue_task": IN_MEMORY,
        "test_enqueue_task_async": IN_MEMORY,
        "test_refresh_result": Exclusion(
            "calls the synchronous refresh() inside a coroutine, where Django allows "
            "no query: a result that lives in a database has to be awaited",
            SynchronousOnlyOperation,
        ),
    },
    "TestDummyTwin": {},
    "TestImmediateTwin": {
        "test_cannot_pass_run_after": Exclusion(
            "ours takes what the database backend takes, so that code which defers "
            "tasks can be tested with it",
            AssertionError,
        ),
        "test_complex_return_value": Exclusion(
            "asserts that the error is a TypeError and no subclass: ours fails a job "
            "whose result cannot be stored as the worker does, with UnencodableValue",
            AssertionError,
        ),
    },
}

if django.VERSION < (6, 0):
    EXCLUDED["TestDummyTwin"]["test_validate_disallowed_async_task"] = Exclusion(
        "the backport words this one message differently from Django 6.0",
        AssertionError,
    )

"""``TASKS[alias]["OPTIONS"]`` of one backend (E002 to E006)."""

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

from django.apps import apps
from django.core.checks import CheckMessage, Error

from ..conf import BACKOFF_HINT, OptionMistake, backoff_problem, option_mistakes

APP: Final = "django_workers"


def check_backend(backend: Any) -> list[CheckMessage]:
    """Check the options of one of our backends; called by its own check()."""
    return [*_check_installed(backend), *_check_options(backend)]


def _check_installed(backend: Any) -> Iterator[CheckMessage]:
    if not apps.is_installed(APP):
        yield Error(
            f"TASKS[{backend.alias!r}] is a backend of {APP}, which is not installed.",
            hint=f"Add {APP!r} to INSTALLED_APPS and run migrate.",
            id=f"{APP}.E006",
        )


def _check_options(backend: Any) -> Iterator[CheckMessage]:
    for mistake in option_mistakes(backend.alias, backend.options):
        yield _ERRORS[mistake.kind](mistake.message, hint=mistake.hint)


def check_queues(mistake: OptionMistake | None) -> list[CheckMessage]:
    """Report what a backend found in its `QUEUES` when it was built."""
    if mistake is None:
        return []
    return [_ERRORS[mistake.kind](mistake.message, hint=mistake.hint)]


def check_backoff(where: str, backoff: Any) -> Iterator[CheckMessage]:
    """Check that a back-off can be called as it will be; *where* names it."""
    if wrong := backoff_problem(backoff):
        yield _ERRORS["backoff"](f"{where} {wrong}", hint=BACKOFF_HINT)


_ERRORS: Final = {
    "unknown": partial(Error, id=f"{APP}.E002"),
    "value": partial(Error, id=f"{APP}.E003"),
    "database": partial(Error, id=f"{APP}.E004"),
    "backoff": partial(Error, id=f"{APP}.E005"),
}

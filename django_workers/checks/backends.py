"""``TASKS[alias]["OPTIONS"]`` of one backend (E002 to E006)."""

import inspect
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from math import isfinite
from typing import Any, Final

from django.apps import apps
from django.core.checks import CheckMessage, Error
from django.db import connections

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
    where = f"TASKS[{backend.alias!r}]['OPTIONS']"
    for key, value in backend.options.items():
        rule = _RULES.get(key)
        if rule is None:
            near = get_close_matches(str(key).upper(), _RULES, n=1)
            yield Error(
                f"{where}: {key!r} is not an option.",
                hint=(
                    f"Did you mean {near[0]!r}?"
                    if near
                    else f"The options are {', '.join(_RULES)}."
                ),
                id=f"{APP}.E002",
            )
        elif key == "DATABASE":
            yield from _check_alias(where, value)
        elif key == "BACKOFF":
            if value is not None:
                yield from check_backoff(f"{where}['BACKOFF']", value)
        elif not rule(value):
            yield Error(
                f"{where}[{key!r}] cannot be {value!r}.",
                hint=f"It is {_WORDS[rule]}.",
                id=f"{APP}.E003",
            )


def _check_alias(where: str, alias: Any) -> Iterator[CheckMessage]:
    if alias not in list(connections):
        near = get_close_matches(str(alias), connections, n=1)
        yield Error(
            f"{where}['DATABASE'] names {alias!r}, which is not in DATABASES.",
            hint=(
                f"Did you mean {near[0]!r}?"
                if near
                else f"DATABASES has: {', '.join(connections)}."
            ),
            id=f"{APP}.E004",
        )


def check_backoff(where: str, backoff: Any) -> Iterator[CheckMessage]:
    """Check that a back-off can be called as it will be; *where* names it."""
    if not callable(backoff):
        problem = f"cannot be {backoff!r}."
    else:
        try:
            inspect.signature(backoff).bind(None, None)
        except ValueError:  # written in C: it keeps its signature to itself
            return
        except TypeError as error:
            problem = f"cannot be called with two arguments: {error}."
        else:
            return
    yield Error(
        f"{where} {problem}",
        hint=(
            "Give a callable (exception, task_result) -> seconds or None, for example "
            "django_workers.exponential(initial=2, cap=600)."
        ),
        id=f"{APP}.E005",
    )


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_timeout(value: Any) -> bool:
    return value is None or (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and isfinite(value)
        and value > 0
    )


def _anything(value: Any) -> bool:
    return True


_RULES: Final[dict[str, Callable[[Any], bool]]] = {
    "DATABASE": _anything,
    "MAX_ATTEMPTS": _is_count,
    "BACKOFF": _anything,
    "TIMEOUT": _is_timeout,
    "MAX_ARGS_BYTES": _is_count,
    "MAX_RESULT_BYTES": _is_count,
}
_WORDS: Final[dict[Callable[[Any], bool], str]] = {
    _is_count: "a whole number, one or more",
    _is_timeout: "a number of seconds above zero, or None",
}

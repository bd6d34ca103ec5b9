"""``TASKS[alias]["OPTIONS"]``: the database and the policy defaults of a backend."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final, Literal, NamedTuple

from django.db import DEFAULT_DB_ALIAS, connections

from ..exceptions import ConfigurationError
from . import rules
from .rules import Rule


@dataclass(frozen=True, slots=True)
class Options:
    """`TASKS[alias]["OPTIONS"]`: the database and the policy defaults of a backend."""

    DATABASE: str = DEFAULT_DB_ALIAS
    # Attempts of a task that names none; plain Django tasks expect 1.
    MAX_ATTEMPTS: int = 1
    # (exception, task_result) -> seconds or None; None: this package's default.
    BACKOFF: Any = None
    # Seconds one attempt may run; None: DJANGO_WORKERS["TIMEOUT"].
    TIMEOUT: float | None = None
    # Largest arguments of one job, of both kinds together, and largest result, in
    # bytes of JSON.
    MAX_ARGS_BYTES: int = 1_000_000
    MAX_RESULT_BYTES: int = 1_000_000


class OptionMistake(NamedTuple):
    """One mistake in the options of a backend, and its fix."""

    kind: Literal["unknown", "value", "database", "backoff"]
    message: str
    hint: str


_bytes: Final = rules.count(least=1, most=1_000_000_000)
_RULES: Final[dict[str, Rule]] = {
    "MAX_ATTEMPTS": rules.count(least=1),
    "TIMEOUT": rules.span(most=rules.LONGEST_RUN_SECONDS, optional=True),
    "MAX_ARGS_BYTES": _bytes,
    "MAX_RESULT_BYTES": _bytes,
}
BACKOFF_HINT: Final = (
    "Give a callable (exception, task_result) -> seconds or None, for example "
    "django_workers.exponential(initial=2, cap=600)."
)


# Django makes a set of them: here alone the order says nothing.
_queues: Final = rules.names(rules.queue_problem, kinds=(list, tuple, set, frozenset))


def queues_mistake(alias: str, queues: Any) -> OptionMistake | None:
    """What is wrong with ``TASKS[alias]["QUEUES"]``; Django takes whatever iterates."""
    wrong = _queues(queues)
    if not wrong:
        return None
    return OptionMistake(
        "value",
        f"TASKS[{alias!r}]['QUEUES'] = {queues!r}: {wrong}",
        'Leave it out for "default" alone, or give [] to accept any name.',
    )


def option_mistakes(alias: str, options: Any) -> Iterator[OptionMistake]:
    """What is wrong with the options of the backend *alias*, and how to mend it."""
    where = f"TASKS[{alias!r}]['OPTIONS']"
    if not isinstance(options, Mapping):
        yield OptionMistake(
            "value", f"{where} must be a dict, not {options!r}.", "Leave the key out."
        )
        return
    for key, value in options.items():
        if key == "DATABASE":
            yield from _database_mistakes(where, value)
        elif key == "BACKOFF":
            if value is not None and (wrong := rules.backoff_problem(value)):
                yield OptionMistake(
                    "backoff", f"{where}['BACKOFF'] {wrong}", BACKOFF_HINT
                )
        elif key in _RULES:
            if wrong := _RULES[key](value):
                yield OptionMistake(
                    "value", f"{where}[{key!r}] = {value!r}: {wrong}", _default(key)
                )
        else:
            yield _unknown(where, key)


def build_options(alias: str, options: Any) -> Options:
    """The options of the backend *alias* with their defaults.

    Raises ConfigurationError naming the first mistake and its fix. That the database
    exists is for whoever uses it to ask, see check_database().
    """
    for mistake in option_mistakes(alias, options):
        if mistake.kind != "database" or not isinstance(options["DATABASE"], str):
            raise ConfigurationError(f"{mistake.message} {mistake.hint}")
    return Options(**options)


def check_database(alias: str, database: str) -> None:
    """Raise ConfigurationError if the backend's database is not in `DATABASES`."""
    if database not in connections.settings:
        for mistake in option_mistakes(alias, {"DATABASE": database}):
            raise ConfigurationError(f"{mistake.message} {mistake.hint}")


def _database_mistakes(where: str, alias: Any) -> Iterator[OptionMistake]:
    known = list(connections)
    if alias not in known:
        near = get_close_matches(str(alias), known, n=1)
        yield OptionMistake(
            "database",
            f"{where}['DATABASE'] names {alias!r}, which is not in DATABASES.",
            f"Did you mean {near[0]!r}?"
            if near
            else f"DATABASES has: {', '.join(known)}.",
        )


def _default(key: str) -> str:
    return f"Leave it out for the default, {getattr(Options(), key)!r}."


def _unknown(where: str, key: Any) -> OptionMistake:
    known = Options.__slots__
    near = get_close_matches(str(key).upper(), known, n=1)
    return OptionMistake(
        "unknown",
        f"{where}: {key!r} is not an option.",
        f"Did you mean {near[0]!r}?"
        if near
        else f"The options are {', '.join(known)}.",
    )

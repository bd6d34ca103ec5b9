"""Rules of single values: each says what is wrong with one, or nothing.

A rule is a function of the value. It never raises, whatever the value is.
"""

import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

Rule = Callable[[Any], str]

# A selector takes milliseconds in a C int: 24 days.
LONGEST_PAUSE_SECONDS: Final = 604_800
# As far as a back-off may reach, too.
LONGEST_RUN_SECONDS: Final = 315_360_000
LONGEST_KEEPING_DAYS: Final = 36_500
LARGEST_COUNT: Final = 2**31 - 1

QUEUE_PATTERN: Final = re.compile(r"[A-Za-z0-9_.:-]{1,128}")


def count(*, least: int = 0, most: int = LARGEST_COUNT) -> Rule:
    """A whole number between two bounds."""
    least_in_words = ("zero or more", "one or more")[least]

    def rule(value: Any) -> str:
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            return f"must be a whole number, {least_in_words}."
        return f"must be at most {most:,}." if value > most else ""

    return rule


def span(
    *,
    most: float,
    above_zero: bool = True,
    optional: bool = False,
    unit: str = "seconds",
) -> Rule:
    """A finite number of seconds or days; None only if it is `optional`."""
    words = "above zero" if above_zero else "zero or more"
    words = f"must be a number of {unit}, {words}{', or None' if optional else ''}."

    def rule(value: Any) -> str:
        if value is None:
            return "" if optional else words
        if not isinstance(value, (int, float)) or isinstance(value, bool):
            return words
        if value < 0 or (above_zero and not value) or value != value:
            return words
        return f"must be at most {most:,} {unit}." if value > most else ""

    return rule


def flag(value: Any) -> str:
    """True or False."""
    return "" if isinstance(value, bool) else "must be True or False."


def worker_name(value: Any) -> str:
    """Text that can stand in a row and in a line of a log."""
    if not isinstance(value, str) or len(value) > 64:
        return "must be a string of at most 64 characters."
    if not value.isprintable() or value != value.strip():
        return "must be printable, without blanks at its ends."
    return ""


def listener(value: Any) -> str:
    """True, False or a connection string."""
    if isinstance(value, bool) or (isinstance(value, str) and value.strip()):
        return ""
    return "must be True, False or a connection string."


def names(item_problem: Rule, *, kinds: tuple[type, ...] = (list, tuple)) -> Rule:
    """A list or tuple of different strings, each of which passes another rule."""

    def rule(value: Any) -> str:
        # Not any iterable: a set has no order, and a generator can be read once.
        if not isinstance(value, kinds):
            return "must be a list of strings."
        items: list[Any] = [*value]  # type: ignore[misc]
        if not all(isinstance(item, str) for item in items):
            return "must be a list of strings."
        seen: set[str] = set()
        for item in items:
            if wrong := item_problem(item):
                return f"{item!r} {wrong}"
            if item in seen:
                return f"{item!r} is named twice."
            seen.add(item)
        return ""

    return rule


def queue_problem(name: Any) -> str:
    """What is wrong with the name of a queue."""
    if isinstance(name, str) and QUEUE_PATTERN.fullmatch(name):
        return ""
    return "cannot name a queue: use letters, digits and _.:- only, at most 128."


def pattern_problem(text: str) -> str:
    """What is wrong with a pattern of task names."""
    if text and text == text.strip() and text.isprintable():
        return ""
    return "matches no task: give names, with * for any characters."


def module_problem(path: str) -> str:
    """What is wrong with the name or the dotted path of a module."""
    if all(part.isidentifier() for part in path.split(".")):
        return ""
    return "cannot name a module: give a name, or a path like shop.jobs."


def class_problem(path: str) -> str:
    """What is wrong with the dotted path of a class."""
    return module_problem(path) and "is no dotted path of a class."


def schedules(value: Any) -> str:
    """A dict by name; its entries have a check of their own."""
    if not isinstance(value, Mapping) or not all(isinstance(k, str) for k in value):
        return "must be a dict of schedules by name."
    return ""


def days_by(statuses: tuple[str, ...]) -> Rule:
    """A dict of days by status; None keeps for ever."""
    days = span(most=LONGEST_KEEPING_DAYS, optional=True, unit="days")

    def rule(value: Any) -> str:
        if not isinstance(value, Mapping):
            return f"must be a dict of days by status: {', '.join(statuses)}."
        for status, kept in value.items():
            if status not in statuses:
                return (
                    f"{status!r} is no finished status; these are: "
                    f"{', '.join(statuses)}."
                )
            if wrong := days(kept):
                return f"{status!r} {wrong}"
        return ""

    return rule


def backoff_problem(value: Any) -> str:
    """What is wrong with a back-off: it is called with (exception, task_result)."""
    if not callable(value):
        return f"cannot be {value!r}."
    try:
        inspect.signature(value).bind(None, None)
    except ValueError:  # written in C: it keeps its signature to itself
        return ""
    except TypeError as error:
        return f"cannot be called with two arguments: {error}."
    return ""

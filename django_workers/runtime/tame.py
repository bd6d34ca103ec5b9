"""Exceptions whose own methods fail, and log handlers that do: kept from doing harm.

A task may raise anything, and whoever looks at an exception runs code of its class. A
process that runs jobs looks at exceptions in a dozen places, and must go on.
"""

import logging
import sys
from contextlib import suppress
from typing import Any

from ..exceptions import UnusableError


def tamed(error: BaseException) -> BaseException:
    """The exception, or one in its place if it cannot be looked at."""
    try:
        # All that Python's own code and ours ask of an exception.
        isinstance(error, UnusableError)
        error.with_traceback(error.__traceback__)
        _ = error.__cause__, error.__context__, error.__suppress_context__
        getattr(error, "__notes__", None)
    except BaseException:  # whatever a class has in mind
        standin = UnusableError(
            f"the task raised an exception of the class {_name_of(type(error))}, which "
            "cannot be looked at: a method of its own fails"
        )
        # Without asking it: its class may have overridden that, too.
        with suppress(BaseException):
            getter: Any = vars(BaseException)["__traceback__"]
            return standin.with_traceback(getter.__get__(error))
        return standin
    return error


def log_exception(logger: logging.Logger, message: str, *args: object) -> None:
    """Log the exception that is being handled, and return whatever happens.

    To print it runs code of its class, or of one in its chain; and a handler of the
    project's own may raise what logging lets through.
    """
    try:
        logger.error(message, *args, exc_info=sys.exc_info())
    except BaseException:
        with suppress(BaseException):
            logger.error(message, *args)


def _name_of(kind: type[BaseException]) -> str:
    try:
        return f"{kind.__module__}.{kind.__qualname__}"
    except BaseException:  # a metaclass may have its own view of that
        return "<unknown>"

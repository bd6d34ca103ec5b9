"""Whether a task can be called with these arguments, asked before a job is stored."""

import inspect
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

from ..task import Task

# From Python 3.14 on annotations are evaluated when somebody asks, and a name that only
# a type checker imports is an error then; before, they are what the module left there.
_LENIENT: Final[dict[str, Any]] = {}
if sys.version_info >= (3, 14):
    import annotationlib

    _LENIENT["annotation_format"] = annotationlib.Format.FORWARDREF

_FROM_POSITION: Final = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def check_call(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any], *, path: str
) -> None:
    """Raise TypeError for arguments with which the task could only fail.

    `path` names the call in the error, where there are many. Costs about 3 µs.
    """
    signature = signature_of(task)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        place = f"{path.rstrip('.')}: " if path else ""
        raise TypeError(f"{place}{task.key}{signature}: {error}") from None


def signature_of(task: Task[Any, Any]) -> inspect.Signature:
    """The signature a caller of the task sees, without the context.

    That of a decorator's wrapper where there is one, not of what it wraps: a wrapper
    may well add arguments of its own. Django lets nothing without one be a task.
    """
    return _signature(task.func, task.takes_context)


@lru_cache(maxsize=1024)
def _signature(func: Callable[..., Any], takes_context: bool) -> inspect.Signature:
    signature = inspect.signature(func, follow_wrapped=False, **_LENIENT)
    parameters = list(signature.parameters.values())
    if takes_context and parameters and parameters[0].kind in _FROM_POSITION:
        parameters = parameters[1:]
    return signature.replace(parameters=parameters)

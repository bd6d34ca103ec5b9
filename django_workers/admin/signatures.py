"""What a task's function says of its parameters."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from ..backend import signature_of
from ..task import Task

_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
)


def call_text(task: Task[Any, Any]) -> str:
    """How the task is called, as Python writes it: ``send(to: str, copies=1)``."""
    return f"{task.name}{signature_of(task)}"


def positional_names(task: Task[Any, Any]) -> list[str]:
    """The names of the parameters that positional arguments fall to, in order."""
    parameters = signature_of(task).parameters.values()
    return [item.name for item in parameters if item.kind in _POSITIONAL]


def bind(
    task: Task[Any, Any], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> dict[str, str]:
    """Why the task cannot be called so, by what is to be mended: `args` or `kwargs`.

    Empty if it can be called.
    """
    signature = signature_of(task)
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return {_culprit(signature, args, kwargs): f"{call_text(task)}: {error}"}
    return {}


def _culprit(
    signature: inspect.Signature, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> str:
    """Which of the two is wrong, or lacks something."""
    try:
        signature.bind_partial(*args)
    except TypeError:
        return "args"
    try:
        bound = signature.bind_partial(*args, **kwargs)
    except TypeError:
        return "kwargs"
    missing = [
        item
        for item in signature.parameters.values()
        if item.default is item.empty and item.name not in bound.arguments
    ]
    return "args" if any(item.kind in _POSITIONAL for item in missing) else "kwargs"

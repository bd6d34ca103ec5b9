"""Which queues a backend takes jobs for: the `QUEUES` of ``TASKS[alias]``.

Read from the settings, without building the backend: a supervisor asks too.
"""

from collections.abc import Iterable
from difflib import get_close_matches

from ..compat import DEFAULT_TASK_QUEUE_NAME, task_backends
from . import rules
from .options import queues_mistake


def queues_of(backend: str) -> frozenset[str]:
    """The queues that the backend of this alias takes jobs for; empty: any.

    An alias that is not in `TASKS` and a mistake in its `QUEUES` are for others to
    say: any queue will do then.
    """
    params = task_backends.settings.get(backend)
    if params is None:
        return frozenset()
    queues = params.get("QUEUES", [DEFAULT_TASK_QUEUE_NAME])
    return frozenset() if queues_mistake(backend, queues) else frozenset(queues)


def queue_refusal(queue: str, *, backend: str) -> str:
    """Why the backend of this alias takes no job for a queue; empty if it does."""
    if wrong := rules.queue_problem(queue):
        return f"{queue!r} {wrong}"
    known = queues_of(backend)
    if not known or queue in known:
        return ""
    near = get_close_matches(queue, known, n=1)
    hint = (
        f"did you mean {near[0]!r}?"
        if near
        else f"it takes: {', '.join(sorted(known))}."
    )
    return f"{queue!r} is not among the QUEUES of TASKS[{backend!r}]; {hint}"


def unknown_queues(queues: Iterable[str], *, backends: Iterable[str]) -> list[str]:
    """Those of *queues* that none of these backends takes jobs for."""
    aliases = list(backends)
    return [
        queue
        for queue in queues
        if all(queue_refusal(queue, backend=alias) for alias in aliases)
    ]

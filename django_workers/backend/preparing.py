"""A call made ready to be stored: checked, encoded, with all its defaults."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import carriers, codec
from ..conf import Options
from ..ids import uuid7
from ..task import Task
from .rules import moment_of

if TYPE_CHECKING:
    from ..brokers import NewJob


@dataclass(frozen=True, slots=True)
class Prepared:
    """A job that has passed every check and only needs storing."""

    task: Any
    job: "NewJob"


class CallTexts(NamedTuple):
    """What a call stores as JSON."""

    args: str
    kwargs: str
    tags: str
    metadata: str


def pairs_of(calls: Iterable[Any]) -> Iterator[tuple[str, Any, Any]]:
    """The arguments of many calls, each with the path that names it in an error.

    Raises TypeError for what is no ``(args, kwargs)`` pair.
    """
    for number, call in enumerate(calls):
        if not isinstance(call, Sequence) or isinstance(call, str) or len(call) != 2:
            raise TypeError(
                f"calls[{number}] must be a pair (args, kwargs), not {call!r}."
            )
        args, kwargs = call
        path = f"calls[{number}]."
        # A string is a sequence too, and would be taken apart.
        if not isinstance(args, (list, tuple)):
            raise TypeError(
                f"{path}args must be a list or tuple, not {type(args).__name__}."
            )
        if not isinstance(kwargs, Mapping):
            raise TypeError(
                f"{path}kwargs must be a dict, not {type(kwargs).__name__}."
            )
        yield path, args, kwargs


def texts_of(
    task: Task[Any, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    options: Options,
    path: str,
) -> CallTexts:
    """Write what a call stores as JSON, with what the carriers capture here.

    `path` stands before the place of a bad argument. Raises UnencodableValue.
    """
    args_text, kwargs_text = codec.encode_call(
        args, kwargs, path=path, limit_bytes=options.MAX_ARGS_BYTES
    )
    metadata = dict(task.metadata)
    carried = carriers.capture()
    if carried:
        metadata[carriers.METADATA_KEY] = carried
    return CallTexts(
        args=args_text,
        kwargs=kwargs_text,
        tags=codec.encode(list(task.tags), path="tags") if task.tags else "[]",
        metadata=codec.encode(metadata, path="metadata") if metadata else "{}",
    )


def prepare_call(
    task: Task[Any, Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    backend: str,
    options: Options,
    path: str,
) -> Prepared:
    """The job that a call of a valid task makes.

    `path` stands before the place of a bad argument. Raises UnencodableValue for what
    JSON cannot hold, and InvalidTask for a moment that no database can.
    """
    from ..brokers import NewJob

    texts = texts_of(task, args, kwargs, options=options, path=path)
    return Prepared(
        task,
        NewJob(
            id=uuid7(),
            backend=backend,
            task=task.key,
            queue=task.queue_name,
            priority=task.priority,
            args=texts.args,
            kwargs=texts.kwargs,
            run_after=moment_of("run_after", task.run_after),
            max_attempts=task.max_attempts or options.MAX_ATTEMPTS,
            timeout=task.timeout,
            on_crash=task.on_crash,
            expires_at=moment_of("expires", task.expires),
            retry_until=moment_of("retry_until", task.retry_until),
            tags=texts.tags,
            metadata=texts.metadata,
        ),
    )

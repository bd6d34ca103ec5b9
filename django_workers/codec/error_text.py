"""Error texts that any database can hold, whatever the error is."""

import re
import traceback
from contextlib import suppress
from typing import Final

from ..exceptions import Retry

ERROR_LIMIT: Final = 100_000
# The reason of a job that a task's own words ended.
REASON_LIMIT: Final = 200

# What PostgreSQL's text cannot hold, and what UTF-8 cannot.
UNSTORABLE: Final = re.compile("[\x00\ud800-\udfff]")

_NAME_LIMIT: Final = 255
_CHAIN_SHOWN: Final = 100
_FRAMES_SHOWN: Final = 2_000
# The message of a Retry that ended its job, without an error to tell of.
_NONE_LEFT: Final = "asked for another attempt, and none is left"
# What Python's own tracebacks say in place of such a message.
_NO_MESSAGE: Final = "<exception str() failed>"


def storable_text(text: str, *, limit: int) -> str:
    """Make *text* fit for any database: at most `limit` characters, no NUL, no halves.

    NUL and lone surrogates become U+FFFD. Of a longer text the head and the tail stay,
    with a marker between them that says how long it was. The answer is a plain string,
    whatever subclass *text* belongs to.
    """
    text = str.__str__(text)
    if len(text) > limit:
        marker = f"\n[... cut, {len(text):,} characters in all ...]\n"
        kept = limit - len(marker)
        if kept < len(marker):
            text = text[:limit]
        else:
            text = text[: kept // 2] + marker + text[len(text) - (kept + 1) // 2 :]
    if text.isascii() and "\0" not in text:
        return text
    return UNSTORABLE.sub("\ufffd", text)


def describe_exception(
    exc: BaseException, limit: int = ERROR_LIMIT
) -> tuple[str, str, str]:
    """Tell of an exception: its class's dotted path, its message, its traceback.

    Message and traceback have at most `limit` characters each and can be stored; the
    traceback ends as Python's own does. Never raises, whatever the exception's own
    methods do: this is the last word on a job, and losing it would lose the job.
    """
    message = _message(exc)
    return (
        storable_text(_dotted_path(type(exc)), limit=_NAME_LIMIT),
        storable_text(message, limit=limit),
        storable_text(_traceback(exc, message, limit), limit=limit),
    )


def describe_failure(
    exc: BaseException, limit: int = ERROR_LIMIT, *, will_retry: bool = False
) -> tuple[str, str, str]:
    """As describe_exception(), for what ended an attempt of a job.

    A Retry is no error by itself: its message is that of the error it was raised
    ``from``. Without one it says that another attempt was asked for, and unless
    `will_retry`, that none is left.
    """
    path, message, text = describe_exception(exc, limit)
    if isinstance(exc, Retry):
        if exc.__cause__ is not None:
            message = storable_text(_last_line(exc.__cause__), limit=limit)
        elif not will_retry:
            message = _NONE_LEFT
    return path, message, text


def _last_line(exc: BaseException) -> str:
    """The end of its traceback: the name of its class and its message."""
    name, message = _dotted_path(type(exc)).rpartition(".")[2], _message(exc)
    return f"{name}: {message}" if message else name


def _dotted_path(kind: type[BaseException]) -> str:
    try:
        return f"{kind.__module__}.{kind.__qualname__}"
    except BaseException:  # as in _message
        return "<unknown>"


def _message(exc: BaseException) -> str:
    try:
        return str.__str__(str(exc))
    except BaseException:  # the exception's own __str__ may do anything
        return _NO_MESSAGE


def _traceback(exc: BaseException, message: str, limit: int) -> str:
    """Python's own text, or a shorter one where that could take all memory."""
    # A quarter of the whole lies within the tail that a cut would keep.
    last_line = limit // 4
    # Both read attributes and source files of the user's; and memory may be short.
    with suppress(BaseException):
        if _is_modest(exc, last_line):
            return "".join(traceback.format_exception(exc))
    lines: list[str] = []
    with suppress(BaseException):
        frames = traceback.format_tb(exc.__traceback__, limit=-_FRAMES_SHOWN)
        lines = ["Traceback (most recent call last):\n", *frames] if frames else []
    name = _dotted_path(type(exc)).removeprefix("builtins.").removeprefix("__main__.")
    shown = storable_text(message, limit=last_line)
    return "".join([*lines, f"{name}: {shown}\n" if shown else f"{name}\n"])


def _is_modest(exc: BaseException, limit: int) -> bool:
    """Whether messages, notes, frames and the chain's length are all ordinary."""
    seen: set[int] = set()
    frames = 0
    link: BaseException | None = exc
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        notes = getattr(link, "__notes__", ())
        if len(_message(link)) > limit or sum(map(len, notes)) > limit:
            return False
        step = link.__traceback__
        while step is not None:
            frames += 1
            step = step.tb_next
        if frames > _FRAMES_SHOWN or len(seen) > _CHAIN_SHOWN:
            return False
        link = link.__context__ if link.__cause__ is None else link.__cause__
    return True

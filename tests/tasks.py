"""Tasks that tests enqueue and that worker processes find by autodiscovery."""

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import Any, Self

from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection, models, transaction
from django.utils import timezone, translation
from django.utils.safestring import mark_safe
from django.utils.translation import gettext_lazy

from django_workers.backoff import fixed
from django_workers.context import context as current_context
from django_workers.exceptions import Cancel, Retry, Snooze, TaskTimeout
from django_workers.models import OnCrash
from django_workers.task import task


def note(path: str, text: str) -> None:
    """Append one line to a file, whole, whoever else does so too."""
    fd = os.open(path, os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


@task
def noop() -> None:
    """Do nothing."""


@task
def add(a: int, b: int) -> int:
    """Return the sum."""
    return a + b


@task
async def add_async(a: int, b: int) -> int:
    """Return the sum, from the event loop."""
    await asyncio.sleep(0)
    return a + b


@task
def echo(value: Any) -> Any:
    """Return the argument."""
    return value


@task
def sleep(seconds: float) -> float:
    """Sleep."""
    time.sleep(seconds)
    return seconds


@task(takes_context=True)
def look_around(context: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    """Return what a task can know of its own run."""
    result = context.task_result
    return {
        "id": context.job_id,
        "attempt": context.attempt,
        "args": list(args),
        "kwargs": kwargs,
        "status": result.status.name,
        "worker_ids": result.worker_ids,
        "tags": list(result.tags),
        "tenant": result.metadata.get("tenant"),
        "priority": result.task.priority,
        "remaining": context.remaining,
        "cancelled": context.cancelled,
        "shutting_down": context.is_shutting_down(),
        "same": current_context() is context,
    }


@task(takes_context=True)
async def attempt_of_async(context: Any) -> list[Any]:
    """Return the number of the attempt and the job's id, from the event loop."""
    await asyncio.sleep(0)
    return [context.attempt, current_context().job_id]


@task
def enqueue_another() -> str:
    """Enqueue a job and return its id."""
    return noop.enqueue().id


@task
def write(path: str, text: str) -> None:
    """Append a line to a file."""
    note(path, text)


@task
def write_then_sleep(path: str, text: str, seconds: float) -> str:
    """Append a line to a file, then sleep."""
    note(path, text)
    time.sleep(seconds)
    return text


@task
def fail(message: str = "no") -> None:
    """Fail."""
    raise ValueError(message)


@task(max_attempts=3, backoff=fixed(0.05))
def fail_until(path: str, succeed_at: int) -> int:
    """Fail until the file has as many lines as it takes."""
    note(path, "attempt")
    with Path(path).open() as file:
        attempt = len(file.readlines())
    if attempt < succeed_at:
        raise ValueError(f"attempt {attempt}")
    return attempt


@task(takes_context=True)
def attempt_of(context: Any) -> int:
    """Return the number of the attempt."""
    return int(context.attempt)


@task
def die() -> None:
    """Kill the process that runs this."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(on_crash="fail")
def die_once() -> None:
    """Kill the process; must not run twice."""
    os.kill(os.getpid(), signal.SIGKILL)


@task(timeout=0.3)
def sleep_in_steps(seconds: float) -> str:
    """Sleep in steps short enough for an injected exception to land between them."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)
    return "slept"


@task(timeout=0.3)
async def sleep_async(seconds: float) -> str:
    """Sleep on the event loop."""
    await asyncio.sleep(seconds)
    return "slept"


@task(timeout=0.3)
def sleep_deaf(path: str, seconds: float) -> str:
    """Sleep in one piece of C, where nothing can be injected."""
    note(path, "began")
    time.sleep(seconds)
    note(path, "ended")
    return "slept"


@task(takes_context=True)
def until_cancelled(context: Any, path: str) -> str:
    """Run until somebody asks to cancel, then end by itself."""
    note(path, "began")
    while not context.cancelled:
        time.sleep(0.01)
    raise Cancel("tidied up")


@task
def until_injected(path: str) -> str:
    """Run until an exception is injected."""
    note(path, "began")
    while True:
        time.sleep(0.01)


@task
async def until_cancelled_async(path: str) -> str:
    """Run on the event loop until cancelled; note that it could clean up."""
    note(path, "began")
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        note(path, "cleaned up")
        raise
    return "not cancelled"


@task
def print_something() -> None:
    """Print to both streams."""
    print("something", flush=True)
    print("else", file=sys.stderr, flush=True)


@task
def hold_the_interpreter(path: str, seconds: float) -> None:
    """Sleep in C code that keeps the interpreter's lock: no other thread runs."""
    note(path, "began")
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))


@task
def length_of(text: str) -> int:
    """Return the length of a text."""
    return len(text)


@task(takes_context=True)
def until_shutdown(context: Any, path: str) -> str:
    """Run until the worker drains."""
    note(path, "began")
    while not context.is_shutting_down():
        time.sleep(0.01)
    return "left early"


@task(max_attempts=2)
def retry_soon(path: str) -> str:
    """Ask for another attempt, once."""
    note(path, "attempt")
    with Path(path).open() as file:
        if len(file.readlines()) == 1:
            raise Retry(0.05)
    return "again"


@task
def snooze_once(path: str) -> str:
    """Ask to run later, once."""
    note(path, "look")
    with Path(path).open() as file:
        if len(file.readlines()) == 1:
            raise Snooze(0.05)
    return "later"


@task
def cancel_itself() -> None:
    """End as cancelled."""
    raise Cancel("not needed")


class Queues(models.TextChoices):
    """Queues as projects like to name them."""

    POST = "post"


REASONS: dict[str, Any] = {
    "translated later": gettext_lazy("not needed"),
    "safe": mark_safe("not needed"),
    "of an enumeration": Queues.POST,
    "an exception": ValueError("not needed"),
    "not storable": "not \0 needed \ud800",
    "long": "not needed" * 1_000,
}


@task
def cancel_itself_because(kind: str) -> None:
    """End as cancelled, for a reason that is no plain text."""
    raise Cancel(REASONS[kind])


@task(queue_name=Queues.POST, on_crash=OnCrash.FAIL, tags=[Queues.POST])
def from_an_enumeration() -> str:
    """Be declared with members of enumerations."""
    return "ran"


@task
def return_unstorable() -> Any:
    """Return what JSON cannot hold."""
    return {1, 2}


@task
def note_process(path: str, name: str, seconds: float) -> int:
    """Note a name and the process this runs in; sleep; return the process id."""
    note(path, f"{name} {os.getpid()}")
    time.sleep(seconds)
    return os.getpid()


@task(on_crash="fail")
def note_process_once(path: str, name: str, seconds: float) -> None:
    """Note a name and the process this runs in, and sleep; must not run twice."""
    note(path, f"{name} {os.getpid()}")
    time.sleep(seconds)


@task
def start_another_and_sleep(path: str, seconds: float) -> None:
    """Start a process of its own, note its id, and wait for it."""
    with subprocess.Popen(["sleep", str(seconds)]) as process:
        note(path, str(process.pid))


@task
def die_in_company(path: str, others: int) -> None:
    """Kill the process that runs this once so many others run in it."""
    until = time.monotonic() + 1
    while time.monotonic() < until:
        lines = Path(path).read_text().split() if Path(path).exists() else []
        if lines[1::2].count(str(os.getpid())) >= others:
            break
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


@task
def exit_process() -> None:
    """Raise SystemExit."""
    raise SystemExit(3)


@task
def process_and_thread() -> list[Any]:
    """Return where this runs."""
    return [os.getpid(), threading.current_thread().name]


KINDS = {
    kind.__name__: kind
    for kind in (
        ValueError,
        KeyError,
        ConnectionError,
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        asyncio.CancelledError,
        MemoryError,
        RecursionError,
    )
}


@task(max_attempts=3, backoff=fixed(0.01), retry_on=(ConnectionError, TaskTimeout))
def raise_retrying_some(kind: str) -> None:
    """Raise an exception of that name; only some are retried."""
    raise KINDS[kind](kind)


@task(max_attempts=2, backoff=fixed(0.01), no_retry_on=(ValueError, TaskTimeout))
def raise_retrying_others(kind: str) -> None:
    """Raise an exception of that name; some are never retried."""
    raise KINDS[kind](kind)


@task(max_attempts=2, backoff=fixed(0.01), timeout=0.2, no_retry_on=TaskTimeout)
def time_out_once() -> None:
    """Run out of time; that is not retried."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        time.sleep(0.01)


@task
async def raise_async(kind: str) -> None:
    """Raise an exception of that name on the event loop."""
    raise KINDS[kind](kind)


def _note_backoff(error: BaseException, result: Any) -> float | None:
    note(
        result.args[0], f"{type(error).__name__} {result.attempts} {len(result.errors)}"
    )
    return 0.01 if result.attempts < 3 else None


@task(max_attempts=10, backoff=_note_backoff)
def fail_with_own_backoff(path: str) -> None:
    """Fail; the back-off notes what it is asked and gives up at the third."""
    raise ValueError(path)


def _broken_backoff(error: BaseException, result: Any) -> float | None:
    raise LookupError("a back-off that fails")


@task(max_attempts=2, backoff=_broken_backoff)
def fail_with_broken_backoff() -> None:
    """Fail; so does the back-off."""
    raise ValueError("the task's own error")


@task(max_attempts=2, backoff=fixed(60))
def fail_and_wait() -> None:
    """Fail; the next attempt is a minute away."""
    raise ValueError


@task(max_retries=1, retry_backoff="fixed", retry_delay=0.01)
def fail_with_retries() -> None:
    """Fail; retried once, in the words of other queues."""
    raise ValueError


@task(max_attempts=2)
def always_retry() -> None:
    """Ask for another attempt, always."""
    raise Retry(0.01)


@task(max_attempts=2, backoff=fixed(0.01))
def call_wrongly() -> None:
    """Fail with a TypeError of its own."""
    add.func(1)


@task(max_result_bytes=100)
def return_much(size: int) -> str:
    """Return a string of that length."""
    return "x" * size


class EvilError(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text for you")


@task
def raise_evil() -> None:
    """Raise what cannot be shown."""
    raise EvilError


class FailsWhenTraced(Exception):
    """An exception that takes no traceback."""

    def with_traceback(self, trace: Any) -> Self:
        """Fail."""
        raise KeyError("no trace")


class FailsWhenClassed(Exception):
    """An exception that does not say what it is."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        """Fail."""
        raise KeyError("no class")


class FailsWhenAsked(Exception):
    """An exception that answers nothing."""

    def __getattribute__(self, name: str) -> Any:
        """Fail."""
        raise KeyError(name)


UNUSABLE: dict[str, type[Exception]] = {
    kind.__name__: kind for kind in (FailsWhenTraced, FailsWhenClassed, FailsWhenAsked)
}


@task
def raise_unusable(kind: str) -> None:
    """Raise an exception whose own methods fail."""
    raise UNUSABLE[kind]


@task
async def raise_unusable_async(kind: str) -> None:
    """Raise one from a coroutine."""
    raise UNUSABLE[kind]


@task
def raise_from_unusable() -> None:
    """Raise a plain exception that has one of those in its chain."""
    try:
        raise FailsWhenAsked
    except Exception:
        raise ValueError("plain") from None


@task
def raise_text(text: str, repeat: int) -> None:
    """Raise an exception with such a message."""
    raise ValueError(text.encode().decode("unicode-escape") * repeat)


@task(aliases=["tests.tasks.its_name_last_year"])
def renamed() -> str:
    """Run under the name it once had, too."""
    return "renamed"


@task
def leave_transaction_open() -> None:
    """Write in a transaction that is never ended."""
    transaction.set_autocommit(False)
    Group.objects.create(name=f"left open {uuid.uuid4()}")


@task
def begin_by_hand() -> None:
    """Open a transaction that Django does not know of, and write in it."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")
    Group.objects.create(name=f"by hand {uuid.uuid4()}")


@task
async def begin_by_hand_async() -> None:
    """Do the same from a coroutine."""
    await sync_to_async(begin_by_hand.func)()


@task
def make_group(name: str) -> None:
    """Write a row."""
    Group.objects.create(name=name)


@task
async def make_group_async(name: str) -> None:
    """Write a row from a coroutine."""
    await Group.objects.acreate(name=name)


@task
def close_the_connection_in_a_transaction() -> None:
    """Begin a transaction, never end it, and close its connection by hand."""
    transaction.atomic().__enter__()
    Group.objects.count()
    connection.close()


@task
async def close_the_connection_in_a_transaction_async() -> None:
    """Do the same from a coroutine."""
    await sync_to_async(close_the_connection_in_a_transaction.func)()


@task
def use_the_database() -> bool:
    """Return whether the database answers."""
    return Group.objects.filter(pk=-1).exists()


@task
async def use_the_database_async() -> bool:
    """Return whether the database answers a coroutine."""
    return await Group.objects.filter(pk=-1).aexists()


@task
async def cancel_everybody_else(seconds: float) -> str:
    """Cancel every task of the event loop but its own."""
    for other in asyncio.all_tasks() - {asyncio.current_task()}:
        other.cancel()
    await asyncio.sleep(seconds)
    return "alone"


@task
def fork_and_return(path: str) -> str:
    """Fork, and return from both processes."""
    if os.fork():
        return "the original"
    note(path, "forked")
    return "the copy"


@task
async def fork_and_return_async(path: str) -> str:
    """Fork, and return from both processes."""
    return fork_and_return.func(path)


@task
def change_process_state() -> None:
    """Leave a language, a zone and a broken connection behind."""
    translation.activate("fr")
    timezone.activate("Asia/Tokyo")
    Group.objects.exists()
    connection.close()


@task
async def block_the_loop(path: str, seconds: float) -> str:
    """Sleep on the event loop without giving it back."""
    note(path, "began")
    time.sleep(seconds)  # noqa: ASYNC251 - the mistake this is about
    note(path, "ended")
    return "slept"


@task(timeout=0.3)
def swallow_every_exception(path: str) -> None:
    """Go on whatever is raised."""
    note(path, "began")
    while True:
        try:
            time.sleep(0.01)
        except BaseException as error:
            note(path, type(error).__name__)


@task(timeout=0.3)
def finish_when_told(path: str) -> str:
    """Return something all the same when time is up."""
    try:
        while True:
            time.sleep(0.01)
    except TaskTimeout:
        note(path, "told")
        return "in time"


@task(max_attempts=3, backoff=fixed(0.01), takes_context=True)
def fail_once_cancelled(context: Any, path: str) -> None:
    """Fail, with attempts left, after somebody has asked to cancel."""
    note(path, "began")
    while not context.cancelled:
        time.sleep(0.01)
    raise ValueError("no")


@task
def clean_up_when_told(path: str, seconds: float) -> None:
    """Run until interrupted, then take some time to clean up."""
    note(path, "began")
    try:
        time.sleep(0.2)
        while True:
            time.sleep(0.01)
    finally:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(0.01)
        note(path, "cleaned up")


@task
async def clean_up_when_told_async(path: str, seconds: float) -> None:
    """Run until cancelled, then take some time to clean up."""
    note(path, "began")
    try:
        await asyncio.sleep(60)
    finally:
        await asyncio.sleep(seconds)
        note(path, "cleaned up")


@task
def write_pid_then_sleep(path: str, seconds: float) -> int:
    """Append the id of the process that runs this to a file, then sleep."""
    note(path, str(os.getpid()))
    time.sleep(seconds)
    return os.getpid()


@task
def write_slowly(path: str, text: str) -> None:
    """Append a line to a file, after a moment."""
    time.sleep(0.02)
    note(path, text)

"""Receivers of every signal, loaded by workers: each notes what it got in a file.

TESTS_SIGNALS names the file, TESTS_SIGNALS_TAKE says how many seconds a receiver
takes. In front of each stands one that raises.
"""

import json
import os
import sys
import threading
import time
from typing import Any, NoReturn

from django.dispatch import Signal

from django_workers import signals
from django_workers.compat import task_enqueued, task_finished, task_started
from tests.tasks import note

SIGNALS: dict[str, Signal] = {
    "task_enqueued": task_enqueued,
    "task_started": task_started,
    "task_finished": task_finished,
    **{
        name: getattr(signals, name)
        for name in (
            "job_created",
            "job_started",
            "job_completed",
            "job_failed",
            "job_retried",
            "job_cancelled",
            "job_rescued",
            "job_stale",
            "worker_started",
            "worker_stopped",
            "schedule_fired",
        )
    },
}


def _raise(**kwargs: Any) -> NoReturn:
    raise RuntimeError("a receiver that raises")


def _noter(name: str) -> Any:
    def receive(sender: Any, **kwargs: Any) -> None:
        time.sleep(float(os.environ.get("TESTS_SIGNALS_TAKE", "0")))
        kwargs.pop("signal")
        page = {
            "signal": name,
            "sender": sender.__name__,
            "keywords": sorted(kwargs),
            "pid": os.getpid(),
            "thread": threading.current_thread().name,
            "handled": repr(sys.exc_info()[1]),
        }
        page |= {key: _plain(value) for key, value in kwargs.items()}
        note(os.environ["TESTS_SIGNALS"], json.dumps(page))

    return receive


def _plain(value: Any) -> Any:
    """Return what tests compare: a result as its id and status, the rest as text."""
    if hasattr(value, "job_status"):
        return [value.id, value.job_status, value.status.name]
    if isinstance(value, (bool, int, float, str, type(None))):
        return value
    return repr(value) if isinstance(value, BaseException) else str(value)


for _name, _signal in SIGNALS.items():
    _signal.connect(_raise, weak=False, dispatch_uid="raises")
    _signal.connect(_noter(_name), weak=False, dispatch_uid="notes")

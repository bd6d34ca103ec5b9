"""A process that runs tasks: it knows no queue, only frames from its supervisor."""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from django.db import connections as django_connections

from ..conf import RuntimeSettings
from ..exceptions import JobCancelled, TaskTimeout
from ..schedules import declared_schedules, policies_of
from ..task import list_tasks, registry
from . import connections, wire
from .aftermath import Aftermath
from .execution import Execution
from .executors import ThreadsExecutor
from .executors.aio import LoopThread
from .executors.base import Slot
from .page import SharedPage
from .processes import flush
from .tame import log_exception
from .verdict import unreported
from .wire import Wire

logger = logging.getLogger("django_workers.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildOptions:
    """What a child is told at its start."""

    worker_id: str
    slots: int
    settings: RuntimeSettings


class Child:
    """Wires one process together: reader, executor, watchdog, aftermath."""

    def __init__(
        self, sock: socket.socket, page_fd: int, options: ChildOptions
    ) -> None:
        """Build everything and start the executor's threads."""
        self._options = options
        self._wire = Wire(sock)
        self._page = SharedPage(page_fd, options.slots)
        self._stopping = threading.Event()
        self._loop = LoopThread(
            options.slots, before=connections.before_job, after=connections.after_job
        )
        self._execution = Execution(
            worker_id=options.worker_id,
            settings=options.settings,
            loop=self._loop,
            stopping=self._stopping.is_set,
            must_end=self._page.must_end,
        )
        self._aftermath = Aftermath(self._execution)
        self._executor = ThreadsExecutor(
            slots=options.slots,
            run=self._execution.run,
            start=self._page.start,
            dropped=self._execution.dropped,
            report=self._report,
            watch=self._watch,
            on_idle=self._when_idle,
        )

    def run(self) -> None:
        """Say hello, then work off frames until the supervisor is gone."""
        try:
            self._wire.send(wire.BOOT, self._hello())
        except OSError:
            return  # the worker has ended meanwhile
        while (frame := self._wire.receive()) is not None:
            kind, payload = frame
            if kind == wire.JOBS:
                self._executor.put((work[0], work) for work in payload)
            elif kind == wire.ACKS:
                self._aftermath.acknowledge(payload)
            elif kind == wire.CANCEL:
                for number, reason in payload:
                    self._execution.cancel(self._executor.slots, number, reason)
            elif kind == wire.EVENT:
                self._aftermath.tell(*payload)
            elif kind == wire.STOPPING:
                self._stopping.set()
        self._executor.stop()
        self._aftermath.finish(timeout=2.0)

    def _hello(self) -> dict[str, Any]:
        tasks = list_tasks()
        hello = {
            "tasks": registry.names(self._options.settings.tasks),
            "policies": policies_of(tasks),
            "schedules": declared_schedules(tasks, self._options.settings.schedules),
        }
        # A frame holds plain values only, but a project may well name its queues by the
        # members of an enumeration.
        return {"pid": os.getpid(), **json.loads(json.dumps(hello))}

    def _when_idle(self, slot: Slot) -> None:
        connections.when_idle()
        self._loop.in_orm_thread(slot, connections.when_idle)

    def _report(self, reports: list[tuple[Any, ...]]) -> None:
        try:
            self._wire.send(wire.DONE, reports)
        except OSError:
            os._exit(1)  # nobody is left to tell; the jobs are taken back elsewhere
        except ValueError:
            if len(reports) > 1:
                for report in reports:
                    self._report([report])
            else:
                log_exception(logger, "The report of a job could not be sent")
                self._wire.send(wire.DONE, [tuple(unreported(reports[0][0]))])

    def _watch(self) -> None:
        """Ask what has run out of time to end, and tell of what does not."""
        self._page.beat()
        now = time.monotonic()
        grace = self._options.settings.cancel_grace
        for slot in self._executor.slots:
            if not slot.number or slot.reported:
                continue
            if slot.asked is None:
                if slot.deadline is not None and now >= slot.deadline:
                    slot.ask(TaskTimeout, now=now)
                elif slot.cancel_at is not None and now >= slot.cancel_at:
                    slot.ask(JobCancelled, now=now)
            elif now - slot.asked_at >= grace:
                slot.reported = True
                report = self._execution.give_up(slot)
                if report is not None:
                    self._wire.send(wire.STUCK, report)


def main(sock: socket.socket, page_fd: int, options: ChildOptions) -> None:
    """Run a child in this process until its supervisor is gone; never returns."""
    # Not SIG_IGN: what a task starts with exec would inherit that and never stop.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    # Whatever was open before the fork belongs to the parent.
    for connection in django_connections.all(initialized_only=True):
        connection.connection = None
    # The copy of a process that a task forks must not keep the supervisor waiting for
    # the end of this one.
    os.register_at_fork(after_in_child=lambda: os.close(sock.fileno()))
    code = 1
    try:
        Child(sock, page_fd, options).run()
        code = 0
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        flush()
        os._exit(code)

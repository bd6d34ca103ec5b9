"""The children of a supervisor: they are adopted, heard, replaced and buried here."""

import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from . import wire
from .dispatcher import Dispatcher
from .link import ChildLink
from .wire import ControlWire

logger = logging.getLogger("django_workers.worker")

# How long a child that is to be killed may send the signals about its last jobs.
LAST_WORDS_SECONDS: Final = 1.0
# How long the last reports of a dead child may take to be read.
LAST_REPORTS_SECONDS: Final = 2.0


class Nursery:
    """Every child has a thread here that reads what it says."""

    def __init__(
        self,
        control: ControlWire,
        dispatcher: Dispatcher,
        *,
        patience: float,
        grace: float,
        greet: Callable[[dict[str, Any]], None],
        is_expected: Callable[[], bool],
    ) -> None:
        """Care for nobody yet.

        `patience` is how many seconds a child that is replaced may go on, `grace` how
        many a job has to end when it must; `greet` gets the hello of each child;
        `is_expected` says whether children may end now.
        """
        self._control = control
        self._dispatcher = dispatcher
        self._patience = patience
        self._grace = grace
        self._greet = greet
        self._is_expected = is_expected
        self._readers: dict[int, threading.Thread] = {}
        self._retired: dict[int, float] = {}

    def adopt(self, payload: tuple[int, int, int], fds: list[int]) -> None:
        """Take over a child the launcher has started: (index, pid, slots)."""
        index, pid, slots = payload
        link = ChildLink.adopt(
            index=index,
            pid=pid,
            slots=slots,
            sock=socket.socket(fileno=fds[0]),
            page_fd=fds[1],
        )
        os.close(fds[1])
        self._dispatcher.add(link)
        reader = threading.Thread(
            target=self._read, args=(link,), name=f"child-{pid}", daemon=True
        )
        self._readers[pid] = reader
        reader.start()

    def _read(self, link: ChildLink) -> None:
        while (frame := link.wire.receive()) is not None:
            kind, payload = frame
            if kind == wire.DONE:
                self._dispatcher.reported(link, payload)
            elif kind == wire.BOOT:
                self._greet(payload)
                self._control.send(wire.READY, link.pid)
                self._dispatcher.hello(link)
            elif kind == wire.STUCK:
                self._dispatcher.stuck(link, payload)
                self._retire(link)

    def _retire(self, link: ChildLink) -> None:
        """Replace a child; it is killed once the rest of it has finished."""
        if link.retiring:
            return
        logger.warning(
            "A task in process %d ignores that it should stop: "
            "the process is replaced, and killed once it has nothing else to do",
            link.pid,
        )
        self._dispatcher.retire(link)
        self._retired[link.pid] = time.monotonic()
        self._control.send(wire.RETIRE, link.pid)

    def mind_retired(self) -> None:
        """Kill what was replaced and has nothing else to do, or no time left."""
        now = time.monotonic()
        for link in self._dispatcher.links:
            since = self._retired.get(link.pid)
            if since is None or link.killed:
                continue
            quiet_since = max(since, link.reported_at)
            done = not link.held and now - quiet_since > LAST_WORDS_SECONDS
            if done or now - since > self._patience:
                self.kill(link)

    def mind_silent(self) -> None:
        """Kill children that answer nothing and hold jobs whose time is up."""
        now = time.monotonic()
        for link in self._dispatcher.end_overdue(now, grace=self._grace):
            logger.error(
                "Process %d answers nothing while a job's time is up: killed", link.pid
            )
            self.kill(link)

    def kill(self, link: ChildLink) -> None:
        """Kill a child on purpose: what it runs is interrupted, it did not crash."""
        link.killed = True
        self._control.send(wire.KILL, link.pid)

    def bury(self, pid: int, how: str) -> None:
        """A child has died; `how` in words."""
        reader = self._readers.pop(pid, None)
        if reader is not None:
            reader.join(timeout=LAST_REPORTS_SECONDS)  # reads what it still said
        for link in list(self._dispatcher.links):
            if link.pid == pid:
                if not (link.killed or self._is_expected()):
                    logger.error("Process %d %s", pid, how)
                self._dispatcher.lost_child(link, how=how)
        self._retired.pop(pid, None)

    def say_stopping(self) -> None:
        """Let the launcher and the children's tasks know that the worker drains."""
        self._control.send(wire.DRAIN)
        for link in self._dispatcher.links:
            try:
                link.wire.send(wire.STOPPING, None)
            except OSError:
                continue

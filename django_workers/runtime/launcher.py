"""Process 1 of `runworkers`: forks the supervisor and the children, and reaps them.

One thread, Django loaded, no connection, no user call: so forking is safe and a child
is ready in milliseconds. Where that cannot be had - a platform without fork, or a
project whose start-up has left threads running - processes are spawned instead.

A signal handler only sets a flag. What dies is replaced: at once after a healthy life,
with growing pauses otherwise, and not at all after too many deaths at birth.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from django.db import connections

from . import child as child_room
from . import exits, wire
from .alarm import Alarm
from .child import ChildOptions
from .page import new_page
from .processes import (
    die_with_parent,
    flush,
    how_it_ended,
    kill_group,
    kill_strays,
    own_group,
    say,
)
from .spawn import spawn
from .streak import Streak
from .supervisor import Supervisor, SupervisorOptions
from .wire import ControlWire

# Deaths in a row before any child became ready after which the launcher gives up.
MOST_BIRTH_DEATHS: Final = 5
# A child that has not said hello by then is killed and replaced.
HELLO_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.5
# How long children may send their last signals once the supervisor has ended.
LAST_WORDS_SECONDS: Final = 3.0

StartMethod = str


@dataclass(slots=True)
class _Process:
    """A child as the launcher knows it."""

    index: int
    pid: int
    slots: int
    born: float
    ready: bool = False
    retired: bool = False
    killed: bool = False


class Launcher:
    """Keeps one supervisor and its children alive until told to stop."""

    def __init__(
        self,
        supervisor: SupervisorOptions,
        child: ChildOptions,
        *,
        slots: list[int],
        renew: Callable[[SupervisorOptions], SupervisorOptions],
        start_method: StartMethod = "auto",
        watch: Callable[[], str] | None = None,
    ) -> None:
        """Start nothing yet.

        `slots` holds the number of slots of each child; `renew` gives a supervisor
        that is started again a fresh session. `watch` is asked twice a second and
        names a changed file to make the launcher stop everything and return.
        """
        self._supervisor_options = supervisor
        self._child_options = child
        self._slots = slots
        self._renew = renew
        self._forks = can_fork(start_method)
        self._watch = watch
        self._children: dict[int, _Process] = {}
        self._supervisor = 0
        self._supervisor_born = 0.0
        self._control: ControlWire | None = None
        self._child_streak = Streak()
        self._supervisor_streak = Streak()
        self._next_index = 0
        self._wanted: list[int] = list(slots)
        self._signals = 0
        self._draining = False
        self._any_ready = False
        self._gave_up = False
        # The file whose change ended run(), if one did.
        self.changed = ""

    def run(self) -> int:
        """Run until the supervisor has ended on purpose; its exit code."""
        with Alarm(self._signalled) as alarm:
            self._start_supervisor()
            looked = time.monotonic()
            while True:
                self._replace_dead()
                self._wait(alarm)
                code = self._reap()
                if code is not None:
                    if self._signals:
                        self.changed = ""
                    return code
                self._pass_signals_on()
                now = time.monotonic()
                if now - looked >= LOOK_SECONDS:
                    looked = now
                    self._kill_silent(now)
                    self._look_for_changes()

    # Starting

    def _start_supervisor(self) -> None:
        mine, theirs = socket.socketpair()
        options = self._supervisor_options
        if self._forks:
            pid = self._fork(
                lambda: Supervisor(theirs, options).run(), close=[mine.fileno()]
            )
        else:
            pid = spawn("supervisor", theirs, None, options)
        theirs.close()
        self._control = ControlWire(mine)
        self._supervisor, self._supervisor_born = pid, time.monotonic()

    def _start_child(self, slots: int) -> None:
        mine, theirs = socket.socketpair()
        page = new_page(slots)
        options = self._child_options_of(slots)
        if self._forks:
            closing = [mine.fileno()]
            if self._control is not None:
                closing.append(self._control.fileno())
            pid = self._fork(
                lambda: child_room.main(theirs, page, options), close=closing
            )
        else:
            pid = spawn("child", theirs, page, options)
        theirs.close()
        process = _Process(self._next_index, pid, slots, time.monotonic())
        self._next_index += 1
        self._children[pid] = process
        self._tell(wire.CHILD, (process.index, pid, slots), fds=(mine.fileno(), page))
        mine.close()
        os.close(page)

    def _child_options_of(self, slots: int) -> ChildOptions:
        options = self._child_options
        return ChildOptions(
            worker_id=options.worker_id, slots=slots, settings=options.settings
        )

    def _fork(self, main: Callable[[], int | None], *, close: list[int]) -> int:
        for connection in connections.all(initialized_only=True):
            connection.close()
        flush()
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = exits.SUPERVISOR
        try:
            _become_child(parent)
            for fd in close:
                os.close(fd)
            code = main() or 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            flush()
            os._exit(code)

    def _replace_dead(self) -> None:
        now = time.monotonic()
        if self._gave_up or (self._draining and not self._any_ready):
            return
        if not self._supervisor and now >= self._supervisor_streak.not_before:
            self._start_supervisor()
        if not self._supervisor or now < self._child_streak.not_before:
            return
        while self._wanted and not self._draining:
            self._start_child(self._wanted.pop())

    # Reaping

    def _wait(self, alarm: Alarm) -> None:
        sources: list[Any] = [alarm]
        if self._control is not None:
            sources.append(self._control)
        ready, _, _ = select.select(sources, [], [], self._patience())
        alarm.clear()
        if self._control in ready:
            self._listen()

    def _patience(self) -> float:
        waits = [LOOK_SECONDS]
        now = time.monotonic()
        if self._wanted:
            waits.append(self._child_streak.not_before - now)
        if not self._supervisor:
            waits.append(self._supervisor_streak.not_before - now)
        return max(0.005, min(waits))

    def _listen(self) -> None:
        assert self._control is not None
        frames = self._control.receive()
        if frames is None:
            self._control.close()
            self._control = None
            return
        for kind, pid, _fds in frames:
            if kind == wire.DRAIN:
                self._draining = True  # whoever ends now is not replaced
                continue
            process = self._children.get(pid)
            if process is None:
                continue
            if kind == wire.READY:
                process.ready = self._any_ready = True
            elif kind == wire.RETIRE and not process.retired:
                process.retired = True
                self._wanted.append(process.slots)
            elif kind == wire.KILL:
                process.killed = True
                kill_group(pid)

    def _reap(self) -> int | None:
        """Bury the dead; the exit code once the supervisor has ended on purpose."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return (
                    None if self._supervisor == 0 and not self._draining else exits.OK
                )
            if pid == 0:
                return None
            if pid == self._supervisor:
                code = self._supervisor_died(status)
                if code is not None:
                    return code
            elif pid in self._children:
                self._child_died(self._children.pop(pid), status, usage.ru_maxrss)

    def _supervisor_died(self, status: int) -> int | None:
        """Its children cannot go on without it: end them, and start afresh or stop."""
        now = time.monotonic()
        self._supervisor = 0
        code = os.waitstatus_to_exitcode(status)
        failed = code in (exits.SUPERVISOR, exits.LEASE_LOST) or code < 0
        if not failed:
            self._hear_children_out(now + LAST_WORDS_SECONDS)
        for pid in self._children:
            kill_group(pid)
        for pid in self._children:
            os.waitpid(pid, 0)
        self._children.clear()
        if self._control is not None:
            self._control.close()
            self._control = None
        self._wanted = list(self._slots)
        if failed:
            if self._draining:
                return exits.SUPERVISOR
            self._supervisor_streak.died(lived=now - self._supervisor_born, now=now)
            deaths = self._supervisor_streak.deaths
            if deaths > MOST_BIRTH_DEATHS:
                say(
                    f"The supervisor {how_it_ended(status)}, for the {deaths}th time "
                    "in a row: giving up."
                )
                return exits.SUPERVISOR
            if code != exits.LEASE_LOST:
                say(f"The supervisor {how_it_ended(status)}: starting another")
            self._supervisor_options = self._renew(self._supervisor_options)
            return None
        return code

    def _hear_children_out(self, until: float) -> None:
        """Let idle children end by themselves: receivers may still be at work."""
        while self._children and time.monotonic() < until:
            pid, _status = os.waitpid(-1, os.WNOHANG)
            if pid:
                self._children.pop(pid, None)
                kill_strays(pid)
            else:
                time.sleep(0.005)

    def _child_died(self, process: _Process, status: int, peak_kib: int) -> None:
        now = time.monotonic()
        kill_strays(process.pid)
        how = f"{how_it_ended(status)} (peak memory {peak_kib // 1024} MiB)"
        self._tell(wire.DIED, (process.pid, how))
        if process.retired or self._draining:
            return
        self._wanted.append(process.slots)
        if process.killed:
            return
        self._child_streak.died(lived=now - process.born, now=now)
        if process.ready:
            self._child_streak.deaths = min(self._child_streak.deaths, 3)
        elif not self._any_ready and self._child_streak.deaths >= MOST_BIRTH_DEATHS:
            self._gave_up = True
            self._tell(
                wire.BOOT,
                f"{self._child_streak.deaths} processes in a row died before they were "
                f"ready, the last one {how}: giving up. Its traceback stands above.",
            )

    def _kill_silent(self, now: float) -> None:
        for process in self._children.values():
            if not process.ready and now - process.born > HELLO_SECONDS:
                say(f"Process {process.pid} did not get ready: killed")
                kill_group(process.pid)

    # Signals and changes

    def _signalled(self) -> None:
        self._signals += 1

    def _pass_signals_on(self) -> None:
        while self._signals:
            self._signals -= 1
            if self.changed:
                self.changed = ""  # it was stopping to restart; now it just stops
            elif not self._draining:
                self._draining = True
                self._tell(wire.DRAIN, "signal")
                if not self._supervisor:
                    self._gave_up = True
            else:
                self._tell(wire.HURRY)

    def _look_for_changes(self) -> None:
        if self._watch is None or self._draining:
            return
        changed = self._watch()
        if changed:
            self.changed = changed
            say(f"{changed} has changed: restarting")
            self._draining = True
            self._tell(wire.DRAIN, f"{changed} has changed")

    def _tell(
        self, kind: str, payload: object = None, fds: tuple[int, ...] = ()
    ) -> None:
        if self._control is None:
            return
        try:
            self._control.send(kind, payload, fds)
        except OSError:
            pass  # its death is noticed by waiting for it


def can_fork(method: StartMethod) -> bool:
    """Whether processes are forked: on Linux, and only from a single thread."""
    if method != "auto":
        return method == "fork"
    return sys.platform == "linux" and threading.active_count() == 1


def _become_child(parent: int) -> None:
    """Leave the launcher's group and signals behind, but not its life."""
    own_group()
    die_with_parent(parent)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)

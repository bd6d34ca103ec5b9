"""Signals as one thread hears them: its select() wakes up, and a function counts."""

import signal
import socket
from collections.abc import Callable


class Alarm:
    """Wakes select() on any signal; calls `stop` for those that ask to stop."""

    def __init__(self, stop: Callable[[], None]) -> None:
        self._stop = stop
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)
        self._before: dict[int, object] = {}
        self._wakeup = -1

    def fileno(self) -> int:
        """The descriptor, for select()."""
        return self._read.fileno()

    def __enter__(self) -> "Alarm":
        self._wakeup = signal.set_wakeup_fd(
            self._write.fileno(), warn_on_full_buffer=False
        )
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            self._before[number] = signal.signal(number, lambda *_: self._stop())
        self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.set_wakeup_fd(self._wakeup)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._read.close()
        self._write.close()

    def clear(self) -> None:
        """Forget what has woken us."""
        try:
            while self._read.recv(4096):
                pass
        except BlockingIOError:
            pass

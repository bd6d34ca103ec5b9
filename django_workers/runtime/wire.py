"""Frames between a supervisor and one of its processes, over one socket pair.

A frame is a length and a marshalled tuple ``(kind, payload)``: plain values between
processes of one program on one host, never anything from outside.
"""

import marshal
import socket
import struct
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any, Final

_HEADER: Final = struct.Struct("!I")

# Supervisor to child.
JOBS: Final = "jobs"
ACKS: Final = "acks"
CANCEL: Final = "cancel"
STOPPING: Final = "stopping"
EVENT: Final = "event"

# Child to supervisor.
BOOT: Final = "boot"
DONE: Final = "done"
STUCK: Final = "stuck"

# Launcher and supervisor.
CHILD: Final = "child"
DIED: Final = "died"
RETIRE: Final = "retire"
KILL: Final = "kill"
DRAIN: Final = "drain"
HURRY: Final = "hurry"
READY: Final = "ready"

BUFFER_BYTES: Final = 1 << 20


class Wire:
    """One end of a socket pair; sending is safe from any thread.

    With `waits=False` sending never waits: what the other side does not take at once
    is kept and sent by a thread. A child whose interpreter is held by C code reads
    nothing for as long, and must not hold up the supervisor too.
    """

    def __init__(self, sock: socket.socket, *, waits: bool = True) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
        self._socket = sock
        self._reader = sock.makefile("rb", 1 << 16)
        self._lock = threading.Lock()
        self._waits = waits
        self._kept: deque[memoryview] = deque()

    def fileno(self) -> int:
        """The descriptor, for select()."""
        return self._socket.fileno()

    def send(self, kind: str, payload: Any) -> None:
        """Send one frame; raises OSError when the other side is gone.

        Nothing is raised while frames are kept: whoever reads learns of the end.
        """
        body = marshal.dumps((kind, payload))
        frame = memoryview(_HEADER.pack(len(body)) + body)
        with self._lock:
            if self._waits:
                self._socket.sendall(frame)
                return
            rest = frame if self._kept else self._send_at_once(frame)
            if rest:
                self._kept.append(rest)
                if len(self._kept) == 1:
                    threading.Thread(target=self._send_kept, daemon=True).start()

    def _send_at_once(self, frame: memoryview) -> memoryview:
        """Send what the other side has room for; the rest."""
        while frame:
            try:
                frame = frame[self._socket.send(frame, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                break
        return frame

    def _send_kept(self) -> None:
        """Send what was kept, in order, until nothing is."""
        rest = self._kept[0]
        try:
            while True:
                self._socket.sendall(rest)
                with self._lock:
                    self._kept.popleft()
                    if not self._kept:
                        return
                    rest = self._kept[0]
        except OSError:
            return  # the other side is gone, and whoever reads from it learns it

    def receive(self) -> tuple[str, Any] | None:
        """Wait for one frame; None when the other side is gone."""
        try:
            header = self._reader.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return None
            size = _HEADER.unpack(header)[0]
            body = self._reader.read(size)
        except (OSError, ValueError):
            return None
        if len(body) < size:
            return None  # it died in the middle of a frame
        kind, payload = marshal.loads(body)
        return kind, payload

    def close(self) -> None:
        """Close this end; the other one then reads the end of the stream."""
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._reader.close()
        self._socket.close()


class ControlWire:
    """One end between launcher and supervisor; frames may carry descriptors."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._lock = threading.Lock()
        self._buffer = b""
        self._fds: list[int] = []

    def fileno(self) -> int:
        """The descriptor, for select()."""
        return self._socket.fileno()

    def send(self, kind: str, payload: Any = None, fds: Sequence[int] = ()) -> None:
        """Send one frame; raises OSError when the other side is gone."""
        body = marshal.dumps((kind, payload))
        frame = _HEADER.pack(len(body)) + body
        with self._lock:
            if fds:
                socket.send_fds(self._socket, [frame], list(fds))
            else:
                self._socket.sendall(frame)

    def receive(self) -> list[tuple[str, Any, list[int]]] | None:
        """Read what has arrived: frames with their descriptors; None at the end.

        Call it when select() says that there is something. A frame of kind CHILD owns
        the next two descriptors.
        """
        try:
            data, fds, _flags, _address = socket.recv_fds(self._socket, 1 << 16, 64)
        except OSError:
            return None
        if not data:
            return None
        self._buffer += data
        self._fds += fds
        frames: list[tuple[str, Any, list[int]]] = []
        while len(self._buffer) >= _HEADER.size:
            end = _HEADER.size + _HEADER.unpack(self._buffer[: _HEADER.size])[0]
            if len(self._buffer) < end:
                break
            kind, payload = marshal.loads(self._buffer[_HEADER.size : end])
            self._buffer = self._buffer[end:]
            owned = self._fds[:2] if kind == CHILD else []
            del self._fds[: len(owned)]
            frames.append((kind, payload, owned))
        return frames

    def close(self) -> None:
        """Close this end."""
        self._socket.close()

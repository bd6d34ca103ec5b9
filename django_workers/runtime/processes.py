"""What the operating system is asked about processes."""

import ctypes
import os
import signal
import sys
from typing import Final

_PR_SET_PDEATHSIG: Final = 1


def own_group() -> None:
    """Lead a session of one's own: no terminal's Ctrl+C, and killable as a group."""
    try:
        os.setsid()
    except PermissionError:
        pass  # it leads one already


def die_with_parent(parent: int) -> None:
    """Be killed when the parent dies (Linux); end now if it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def say(text: str) -> None:
    """Print a line for whoever reads along; nobody reading must not end a worker."""
    try:
        print(text, flush=True)  # noqa: T201 - what an operator reads
    except (OSError, ValueError, AttributeError):
        _silence()


def flush() -> None:
    """Hand on what has been printed, as far as anybody takes it."""
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        _silence()


def _silence() -> None:
    """Let what is printed from now on vanish, at the interpreter's end too."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    except (OSError, ValueError, AttributeError):
        pass


def keep_streams() -> None:
    """Open what a parent has closed: nobody to read is no reason not to work.

    Else the first socket would get the number of the standard output, and whatever a
    task prints would go into it.
    """
    for number, name, mode in (
        (0, "stdin", "r"),
        (1, "stdout", "w"),
        (2, "stderr", "w"),
    ):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, closefd=False))


def kill_group(pid: int) -> None:
    """Kill a process and everything it has started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def kill_strays(group: int) -> None:
    """Kill what a dead child has left running in its group."""
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        pass


def how_it_ended(status: int) -> str:
    """Say in words what wait() says of a process."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"

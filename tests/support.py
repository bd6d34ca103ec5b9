"""What several tests need: waiting with a deadline, and real worker processes."""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import psutil

ROOT = Path(__file__).resolve().parent.parent
READY = "Ready."
MARK = "TESTS_WORKER"

T = TypeVar("T")


def wait_until(
    predicate: Callable[[], T],
    *,
    deadline: float = 10,
    message: str | Callable[[], str] = "it did not happen",
    pause: float = 0.01,
) -> T:
    """Call *predicate* until it returns something true, and return that.

    *deadline* and the *pause* between two calls are seconds. Past the deadline fails
    the test with *message* (a callable is asked only then). This is the one place
    where tests sleep.
    """
    until = time.monotonic() + deadline
    while not (found := predicate()):
        if time.monotonic() > until:
            said = message() if callable(message) else message
            raise AssertionError(f"{said} (waited {deadline} s)")
        time.sleep(pause)
    return found


class RunningWorker:
    """One `runworkers` started as a real process tree, and the means to end it."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", *, log: Path, mark: str
    ) -> None:
        self.process = process
        self.log = log
        self._mark = mark

    @property
    def pid(self) -> int:
        """Return the process id of the launcher."""
        return self.process.pid

    def output(self) -> str:
        """Return everything the whole tree has printed so far."""
        return self.log.read_text(errors="replace")

    def wait_for_output(self, text: str, *, deadline: float = 10) -> None:
        """Wait until *text* is part of the output; *deadline* in seconds."""
        wait_until(
            lambda: text in self.output(),
            deadline=deadline,
            message=lambda: f"{text!r} was not printed:\n{self.output()}",
        )

    def wait(self, *, deadline: float = 40) -> int:
        """Wait until the launcher ends by itself, and return its exit code."""
        try:
            return self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"still running after {deadline} s:\n{self.output()}"
            ) from None

    def send(self, signum: int = signal.SIGTERM) -> None:
        """Send a signal to the launcher alone, as a service manager does."""
        self.process.send_signal(signum)

    def stop(self, signum: int = signal.SIGTERM, *, deadline: float = 40) -> int:
        """Send *signum* to the launcher, wait for its end, return its exit code."""
        self.send(signum)
        return self.wait(deadline=deadline)

    def tree(self) -> list[psutil.Process]:
        """Return the living processes of this worker, orphans too.

        They are known by a variable of their environment, which outlives a change of
        parent, of process group and of session.
        """
        return [process for process in psutil.process_iter() if self._is_mine(process)]

    def kill_tree(self) -> None:
        """Kill every process of the tree at once, as a host that loses power."""
        self.process.kill()

        def none_left() -> bool:
            alive = self.tree()
            for process in alive:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            return not alive

        # More than once: a child may have been on its way while we looked.
        wait_until(none_left, message="a killed process is still there")
        self.process.wait(10)

    def _is_mine(self, process: psutil.Process) -> bool:
        try:
            return (
                process.status() != psutil.STATUS_ZOMBIE
                and process.environ().get(MARK) == self._mark
            )
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            return False


@contextmanager
def running_worker(
    *arguments: str,
    database_url: str,
    log: Path,
    env: Mapping[str, str] | None = None,
    wait_until_ready: bool = True,
    deadline: float = 20,
) -> Iterator[RunningWorker]:
    """Run `manage.py runworkers` with *arguments* on *database_url* while in the block.

    Returns when the banner says it is ready, or at once with *wait_until_ready* off
    (for `--burst`, or for one that must refuse to start). *deadline*: seconds it may
    take to get ready. Whatever is left of the tree at the end of the block is killed.
    """
    mark = uuid.uuid4().hex
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "DJANGO_SETTINGS_MODULE": "tests.settings",
        "PYTHONUNBUFFERED": "1",
        MARK: mark,
        **(env or {}),
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "django", "runworkers", *arguments],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    worker = RunningWorker(process, log=log, mark=mark)
    try:
        if wait_until_ready:
            wait_until(
                lambda: READY in worker.output() or process.poll() is not None,
                deadline=deadline,
                message=lambda: f"the worker is not ready:\n{worker.output()}",
            )
            if READY not in worker.output():
                raise AssertionError(
                    f"the worker ended with {process.returncode}:\n{worker.output()}"
                )
        yield worker
    finally:
        worker.kill_tree()
        # Shown by pytest if the test fails.
        print(f"--- runworkers {' '.join(arguments)}\n{worker.output()}")

"""The whole example at once: data, a login, the site and its worker, until Ctrl+C.

    python -m example_project.demo

is what `make demo` runs. It uses the SQLite file beside `manage.py` whatever the
environment says, so that nobody's real database gets the demo's tables and its login;
`--database-url` names another.

Ends with 0 when it was stopped; with 1 when it could not start, or when the site or the
worker has ended by itself.
"""

import argparse
import ctypes
import logging
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Final

import django
import environ
from django.core.management import CommandError, call_command
from django.db import connections
from django.urls import reverse

ROOT: Final = Path(__file__).resolve().parent.parent
HOST: Final = "127.0.0.1"
FIRST_PORT: Final = 8000
PORTS_TRIED: Final = 100
# What `runworkers` prints once its children can take jobs.
READY: Final = "Ready."
# The worker lets running jobs finish for 25 s before it hands them back.
STOP_SECONDS: Final = 35.0
# Signals nearer to each other than that are one: `make` repeats what its group has got.
SAME_SIGNAL_SECONDS: Final = 0.5
LOOK_SECONDS: Final = 0.1
# The addresses come when the worker has gone quiet after the sample, so that they are
# the last thing on the screen; but not later than this.
QUIET_SECONDS: Final = 1.0
PATIENCE_SECONDS: Final = 10.0
# Pages that went well and are asked for every second would bury the rest.
DULL: Final = re.compile(r'"GET \S+ HTTP/[\d.]+" (200|304) |^\s*$')
LABELS: Final = {"site": "\033[36m", "worker": "\033[33m"}


class Part:
    """A child process, the site or the worker, in a process group of its own.

    A Ctrl+C reaches the demo alone that way, which hands it on once.
    """

    def __init__(self, name: str, *arguments: str) -> None:
        self.name = name
        self._rest = b""
        self.process = subprocess.Popen(
            [sys.executable, str(ROOT / "manage.py"), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "DJANGO_RUNSERVER_HIDE_WARNING": "true",
            },
            start_new_session=True,
            preexec_fn=_end_with_parent,
        )

    def fileno(self) -> int:
        """Where its output can be read."""
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def read(self) -> list[str] | None:
        """The lines it has printed; None once all of its processes have ended."""
        data = os.read(self.fileno(), 65536)
        if not data:
            return None
        *whole, self._rest = (self._rest + data).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def interrupt(self) -> None:
        """Ask it to end; a second time: to hurry."""
        with suppress(ProcessLookupError):
            if self.name == "site":
                # The server, and what restarts it when code changes.
                os.killpg(self.process.pid, signal.SIGINT)
            else:
                self.process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """End it at once, with what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


class Demo:
    """Runs the parts side by side, shows what they print, stops them together."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.parts: list[Part] = []
        # When the worker became ready, and when something was last printed.
        self._ready_at: float | None = None
        self._printed_at = 0.0
        self._is_announced = False
        # When somebody asked to stop, and how many of these have been handed on.
        self._asked: list[float] = []
        self._handed_on = 0
        self._failed = False

    def run(self) -> int:
        """Run until everything has ended; return the exit code."""
        with _signals(self._ask), selectors.DefaultSelector() as selector:
            try:
                self.parts.append(Part("worker", "runworkers"))
                self.parts.append(Part("site", "runserver", f"{HOST}:{self.port}"))
                for part in self.parts:
                    selector.register(part, selectors.EVENT_READ, part)
                while selector.get_map():
                    for key, _ in selector.select(LOOK_SECONDS):
                        if not self._show(key.data):
                            selector.unregister(key.data)
                    self._announce()
                    self._notice_ends()
                    self._stop()
            finally:
                for part in self.parts:
                    part.kill()
                    part.process.wait()
        _say("\nStopped.")
        return 1 if self._failed else 0

    def _ask(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self._asked or now - self._asked[-1] > SAME_SIGNAL_SECONDS:
            self._asked.append(now)

    def _show(self, part: Part) -> bool:
        """Print what a part has to say; False once it has ended."""
        lines = part.read()
        for line in lines or []:
            self._printed_at = time.monotonic()
            if line.startswith(READY):
                self._ready_at = self._printed_at
            if not DULL.search(line):
                _say(f"{_label(part.name)} {line}")
        return lines is not None

    def _announce(self) -> None:
        now = time.monotonic()
        if self._is_announced or self._asked or self._ready_at is None:
            return
        if (
            now - self._printed_at < QUIET_SECONDS
            and now - self._ready_at < PATIENCE_SECONDS
        ) or not _answers(self.port):
            return
        self._is_announced = True
        site = f"http://{HOST}:{self.port}"
        dashboard = reverse("admin:app_list", args=["django_workers"])
        _say(
            "\nAtlas is ready.\n\n"
            f"  Site       {site}/\n"
            f"  Admin      {site}{reverse('admin:index')}\n"
            f"  Dashboard  {site}{dashboard}\n"
            "  Login      demo, password demo\n\n"
            "Ctrl+C stops the site and its worker.\n"
        )

    def _notice_ends(self) -> None:
        """Stop everything when one part has ended by itself."""
        for part in self.parts:
            code = part.process.poll()
            if code is not None and not self._asked:
                _say(f"The {part.name} has ended with exit code {code}.")
                self._failed = True
                self._asked.append(time.monotonic())

    def _stop(self) -> None:
        """Hand on what was asked: the first time end, then hurry, then at once."""
        if not self._asked:
            return
        if len(self._asked) > self._handed_on:
            self._handed_on = len(self._asked)
            if self._handed_on == 1:
                _say("\nStopping. Once more to hurry.")
            for part in self.parts:
                part.kill() if self._handed_on > 2 else part.interrupt()
        if time.monotonic() - self._asked[0] > STOP_SECONDS:
            for part in self.parts:
                part.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, prepare the data and run; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m example_project.demo",
        description="Run the example site and its worker on sample data.",
    )
    parser.add_argument(
        "--port", type=int, default=FIRST_PORT, help="the first port to try"
    )
    parser.add_argument(
        "--database-url",
        default=f"sqlite:///{ROOT / 'db.sqlite3'}",
        help="the database to use (default: the SQLite file db.sqlite3)",
    )
    options = parser.parse_args(arguments)
    environ.Env.read_env(ROOT / ".env")
    os.environ["DATABASE_URL"] = options.database_url
    os.environ["QUEUE_DATABASE_URL"] = ""
    os.environ.setdefault("DEBUG", "True")
    os.environ["DJANGO_SETTINGS_MODULE"] = "example_project.settings"
    try:
        prepare()
        port = free_port(options.port)
    except CommandError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return Demo(port).run()


def prepare() -> None:
    """Bring the database up to date, and put the sample and the login into it.

    Raises CommandError where DEBUG is off.
    """
    from django.conf import settings

    if not settings.DEBUG:
        raise CommandError(
            "The demo has a login that everybody knows. It runs with DEBUG=True only."
        )
    django.setup()
    _say("Preparing the database.")
    call_command("migrate", verbosity=0)
    call_command("create_demo_login", stdout=StringIO())
    # It enqueues, and no worker runs yet: that comes next, and needs no hint.
    logging.getLogger("django_workers.enqueue").setLevel(logging.ERROR)
    call_command("load_sample")
    connections.close_all()


def free_port(first: int) -> int:
    """The first port from *first* up that nobody listens on.

    Raises CommandError if there is none nearby.
    """
    for port in range(first, first + PORTS_TRIED):
        if _is_free(port):
            if port != first:
                _say(f"Port {first} is taken; the site goes to {port}.")
            return port
    raise CommandError(f"No port from {first} to {port} is free; try --port.")


def _is_free(port: int) -> bool:
    if _answers(port):
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((HOST, port)) == 0


def _label(name: str) -> str:
    text = f"{name:>6} |"
    if sys.stdout.isatty() and "NO_COLOR" not in os.environ:
        return f"{LABELS[name]}{text}\033[0m"
    return text


def _say(text: str) -> None:
    # The terminal may be gone; the children have to be stopped all the same.
    with suppress(OSError):
        print(text, flush=True)


def _end_with_parent() -> None:
    """Have Linux end the child should this process be killed."""
    if sys.platform == "linux":
        set_death_signal = 1
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGTERM)


@contextmanager
def _signals(handler: "signal._HANDLER") -> Iterator[None]:
    """Send what would end this process to *handler* while in the block."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, action in before.items():
            signal.signal(number, action)


if __name__ == "__main__":
    sys.exit(main())

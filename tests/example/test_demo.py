"""`make demo`, as a process tree: what it prints, and that nothing of it is left."""

import http.cookiejar
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil
import pytest

from tests.example.support import environment
from tests.support import MARK, RunningWorker, wait_until

# The demo uses SQLite, whatever this session runs on.
pytestmark = [pytest.mark.sqlite, pytest.mark.thorough]

START_SECONDS = 40


class RunningDemo(RunningWorker):
    """One demo, started as a real process tree."""

    def address(self, label: str) -> str:
        """Return an address that it has printed."""
        self.wait_for_output("Ctrl+C stops", deadline=START_SECONDS)
        found = re.search(rf"^  {label} +(http\S+)$", self.output(), re.MULTILINE)
        assert found, self.output()
        return found[1]

    def part(self, command: str) -> psutil.Process:
        """Return the process that was started as a command of `manage.py`."""
        own = psutil.Process(self.pid)
        return next(child for child in own.children() if command in child.cmdline())


@contextmanager
def demo(clone: Path, *arguments: str, **variables: str) -> Iterator[RunningDemo]:
    """Run the demo of a copy while in the block."""
    mark, log = uuid.uuid4().hex, clone / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "example_project.demo", *arguments],
            cwd=clone,
            env={**environment(variables), MARK: mark},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    running = RunningDemo(process, log=log, mark=mark)
    try:
        yield running
    finally:
        running.kill_tree()
        print(running.output())


@pytest.fixture
def port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def browser() -> Callable[..., str]:
    """Return a function that fetches pages, or sends forms, with one set of cookies."""
    cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
    opener = urllib.request.build_opener(cookies)

    def fetch(url: str, **form: str) -> str:
        data = urllib.parse.urlencode(form).encode() if form else None
        request = urllib.request.Request(url, data, {"Referer": url})
        with opener.open(request, timeout=20) as answer:
            return str(answer.read().decode())

    return fetch


def test_it_shows_the_site_and_lets_one_in_and_ctrl_c_ends_all_of_it(clone, port):
    fetch = browser()
    with demo(clone, "--port", str(port)) as running:
        assert "What time is it" in fetch(running.address("Site"))

        admin = running.address("Admin")
        token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', fetch(admin))
        assert token
        form = {"username": "demo", "password": "demo", "next": "/admin/"}
        fetch(f"{admin}login/", csrfmiddlewaretoken=token[1], **form)
        assert "Task dashboard" in fetch(running.address("Dashboard"))
        wait_until(
            lambda: "4,576 <small>of" in fetch(f"{running.address('Site')}import/"),
            deadline=30,
            pause=0.2,
        )

        # As a terminal does it: to the whole group.
        os.killpg(running.pid, signal.SIGINT)

        assert running.wait() == 0
        assert running.tree() == []
        assert running.output().endswith("\nStopped.\n")
        assert "No worker is running" not in running.output()
        assert (clone / "db.sqlite3").exists()


def test_it_goes_to_the_next_port_and_a_service_manager_can_stop_it(clone, port):
    with ExitStack() as stack:
        other = stack.enter_context(socket.socket())
        other.bind(("127.0.0.1", port))
        other.listen()
        running = stack.enter_context(demo(clone, "--port", str(port)))

        address = running.address("Site")

        assert f"Port {port} is taken" in running.output()
        assert urllib.parse.urlsplit(address).port != port
        assert running.stop(signal.SIGTERM) == 0
        assert running.tree() == []


def test_it_ends_with_an_error_when_a_part_of_it_ends(clone, port):
    with demo(clone, "--port", str(port)) as running:
        running.wait_for_output("Ready.", deadline=START_SECONDS)

        running.part("runworkers").kill()

        assert running.wait() == 1
        assert "The worker has ended with exit code -9." in running.output()
        assert running.tree() == []


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot promise it")
def test_nothing_is_left_of_a_demo_that_was_killed(clone, port):
    with demo(clone, "--port", str(port)) as running:
        running.address("Site")

        running.process.kill()

        wait_until(lambda: running.tree() == [], deadline=40, message="orphans")


def test_it_refuses_where_debug_is_off(clone):
    with demo(clone, DEBUG="False", SECRET_KEY="k" * 50) as running:
        assert running.wait() == 1
        assert "runs with DEBUG=True only" in running.output()
        assert not (clone / "db.sqlite3").exists()


def test_it_keeps_away_from_the_database_of_the_environment(clone, port, tmp_path):
    somebody_elses = tmp_path / "precious.sqlite3"
    url = f"sqlite:///{somebody_elses}"

    with demo(clone, "--port", str(port), DATABASE_URL=url) as running:
        running.wait_for_output("Preparing", deadline=START_SECONDS)
        running.wait_for_output("jobs wait for a worker", deadline=START_SECONDS)
        assert running.stop(signal.SIGINT) == 0

    assert not somebody_elses.exists()

"""The tutorial and the README, done as they are written."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import django
import pytest

from tests.docs.pages import Snippet, page
from tests.support import READY, ROOT, RunningWorker, wait_until

pytestmark = [pytest.mark.sqlite, pytest.mark.worker, pytest.mark.thorough]
TUTORIAL = page("docs/tutorial.md")
DOCTEST = """
import doctest, sys, django
django.setup()
test = doctest.DocTestParser().get_doctest(sys.stdin.read(), {}, "tutorial", None, 0)
runner = doctest.DocTestRunner()
runner.run(test)
sys.exit(bool(runner.failures))
"""


class Reader:
    """Somebody who does what the tutorial says, in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.worker: RunningWorker | None = None
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if name not in ("DATABASE_URL", "DJANGO_SETTINGS_MODULE")
        } | {
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            # Coverage leaves its data file to the garbage collector.
            "PYTHONWARNINGS": "default,ignore::ResourceWarning",
            "TESTS_WORKER": "tutorial",
        }

    def do(self, snippet: Snippet) -> None:
        """Do one step."""
        word, _, target = (snippet.words or ("",))[0].partition("=")
        if word == "file":
            (self.folder / target).write_text(snippet.code)
        elif word == "append":
            self.append(self.folder / target, snippet.code)
        elif word == "run":
            self.run(snippet)
        elif word == "worker" and snippet.language == "text":
            self.read_worker(snippet)
        elif word == "worker":
            self.start_worker(snippet)
        elif word == "wait":
            self.run_until_it_says_something(snippet)
        elif snippet.language == "pycon":
            self.type(snippet)

    def append(self, path: Path, code: str) -> None:
        """Append code; a worker that runs restarts and gets ready again."""
        ready = self.worker.output().count(READY) if self.worker else 0
        with path.open("a") as file:
            file.write("\n\n" + code)
        if self.worker:
            worker = self.worker
            wait_until(
                lambda: worker.output().count(READY) > ready,
                deadline=30,
                message=worker.output,
            )

    def read_worker(self, snippet: Snippet) -> None:
        """Look for these lines, one below the other, in what the worker has printed."""
        if "Task id=" in snippet.code and django.VERSION < (6, 0):
            return  # as the page says
        worker = self.worker
        assert worker is not None
        wait_until(
            lambda: pattern_of(snippet.code).search(worker.output()),
            deadline=20,
            message=worker.output,
        )

    def run(self, snippet: Snippet) -> str:
        """Run the commands of a console; what they print is what stands there."""
        printed = "".join(self.shell(command) for command in commands_of(snippet))
        shown = "".join(
            line
            for line in snippet.code.splitlines(keepends=True)
            if not line.startswith("$ ")
        )
        assert matches(printed, shown), printed
        return printed

    def run_until_it_says_something(self, snippet: Snippet) -> None:
        """Run a command again until it has found something."""
        (command,) = commands_of(snippet)
        wait_until(
            lambda: "successful" in self.shell(command),
            deadline=20,
            message=lambda: self.shell(command),
            pause=0.5,
        )

    def shell(self, command: str) -> str:
        """Run a command of this interpreter."""
        done = subprocess.run(
            self.words_of(command),
            cwd=self.folder,
            env=self.environment | self.variables_of(command),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,  # as on a terminal
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    @staticmethod
    def words_of(command: str) -> list[str]:
        words = [word for word in shlex.split(command) if not is_variable(word)]
        if words[0] == "django-admin":
            return [sys.executable, "-m", "django", *words[1:]]
        assert words[0] == "python"
        return [sys.executable, *words[1:]]

    @staticmethod
    def variables_of(command: str) -> dict[str, str]:
        return dict(
            word.split("=", 1) for word in shlex.split(command) if is_variable(word)
        )

    def type(self, snippet: Snippet) -> None:
        """Type into a shell and compare what it says."""
        done = subprocess.run(
            [sys.executable, "-c", DOCTEST],
            input=snippet.code,
            cwd=self.folder,
            env=self.environment | {"DJANGO_SETTINGS_MODULE": "mysite.settings"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        worker = self.worker.output() if self.worker else ""
        assert done.returncode == 0, done.stdout + done.stderr + worker

    def start_worker(self, snippet: Snippet) -> None:
        """Start a worker and compare its banner."""
        (command,) = commands_of(snippet)
        log = self.folder / "worker.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                self.words_of(command),
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        worker = self.worker = RunningWorker(process, log=log, mark="tutorial")
        worker.wait_for_output(READY, deadline=30)
        shown = snippet.code.split("\n", 1)[1]
        assert matches(worker.output(), shown), worker.output()


def commands_of(snippet: Snippet) -> list[str]:
    return [
        line.removeprefix("$ ")
        for line in snippet.code.splitlines()
        if line.startswith("$ ")
    ]


def is_variable(word: str) -> bool:
    return re.fullmatch(r"[A-Z_]+=.*", word) is not None


def matches(printed: str, shown: str) -> bool:
    """Compare an output with what a page shows; three dots stand for anything."""
    return pattern_of(shown).fullmatch(printed.strip()) is not None


def pattern_of(shown: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, shown.strip().split("..."))))


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """Return a reader, whose worker is gone afterwards."""
    someone = Reader(tmp_path)
    yield someone
    if someone.worker:
        someone.worker.kill_tree()


def test_the_tutorial_works_as_written(reader: Reader):
    for snippet in TUTORIAL.snippets:
        reader.do(snippet)

    assert reader.worker is not None
    assert reader.worker.stop(signal.SIGINT) == 0
    last_words = TUTORIAL.snippets[-1].code
    assert matches(reader.worker.output().splitlines()[-1], last_words)


def test_the_readme_works_as_written(reader: Reader):
    readme = page("README.md").snippets
    settings = next(s.code for s in readme if "TASKS = " in s.code)
    sqlite = next(s.code for s in readme if "WAL" in s.code)
    task = next(s for s in readme if s.words == ("file=shop/tasks.py",))
    banner = next(s.code for s in readme if READY in s.code).split("\n", 1)[1]
    calls = [s.code for s in readme if "result" in s.code and s.language == "python"]

    for command in (
        "django-admin startproject mysite .",
        "python manage.py startapp shop",
    ):
        reader.shell(command)
    # The dots are what startproject has written.
    reader.append(
        reader.folder / "mysite/settings.py",
        settings.replace("[...", "[*INSTALLED_APPS") + sqlite,
    )
    reader.do(task)
    assert "no issues" in reader.shell("python manage.py check")
    reader.shell("python manage.py migrate --verbosity 0")
    reader.start_worker(
        Snippet(
            page="README.md",
            line=0,
            language="console",
            words=(),
            # Names and numbers differ from host to host.
            code="$ python manage.py runworkers\n"
            + re.sub(r"(worker|children) .*", r"\1...", banner),
        )
    )
    *before, last = "".join(calls).strip().splitlines()
    call, _, shown = last.partition("  # ")
    reader.type(
        Snippet(
            page="README.md",
            line=0,
            language="pycon",
            words=(),
            code="".join(f">>> {line}\n" for line in [*before, call] if line)
            + f"{shown.replace(chr(34), chr(39))}\n",
        )
    )

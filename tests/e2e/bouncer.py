"""A real PgBouncer in transaction mode, in front of the server that tests use."""

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection

from tests.databases import START_SECONDS, Server, ServerError, StopMode, url_of
from tests.support import wait_until

# So few that workers and tests must share them.
POOL_SIZE = 4

# No parameter is ignored at the start of a connection, and no query resets one at the
# end of a transaction: these are PgBouncer's own defaults.
CONFIGURATION = """\
[databases]
* = {server}

[pgbouncer]
pool_mode = transaction
default_pool_size = {pool_size}
auth_type = any
unix_socket_dir = {folder}
listen_port = 5432
logfile = {folder}/log
pidfile = {folder}/pid
server_login_retry = 1
"""


def program() -> str | None:
    """Return where PgBouncer is, or None."""
    # Debian keeps servers in /usr/sbin, which is not on everybody's PATH.
    path = f"{os.environ.get('PATH', '')}:/usr/sbin"
    return shutil.which("pgbouncer", path=path)


class PgBouncer(Server):
    """A PgBouncer on a Unix socket, in front of one entry of Django's DATABASES."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        """Write down how to reach the server; start nothing yet."""
        super().__init__()
        self.settings = {**settings, "HOST": str(self.folder), "PORT": ""}
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _user_for(settings["HOST"])
        configuration = CONFIGURATION.format(
            server=dsn_of(settings, dbname=False),
            folder=self.folder,
            pool_size=POOL_SIZE,
        )
        (self.folder / "ini").write_text(configuration)
        if self._user is not None:
            shutil.chown(self.folder, self._user)
            shutil.chown(self.folder / "ini", self._user)

    @property
    def url(self) -> str:
        """Return the address as DATABASE_URL has it."""
        return f"{url_of(self.settings)}&DISABLE_SERVER_SIDE_CURSORS=True"

    def start(self) -> None:
        """Start it and return once it accepts connections."""
        program_path = program()
        if program_path is None:
            pytest.skip("PgBouncer is not installed (Debian: pgbouncer)")
        with (self.folder / "output").open("wb") as output:
            self._process = process = subprocess.Popen(
                [program_path, "--quiet", str(self.folder / "ini")],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                user=self._user,
            )

        def answers() -> bool:
            if process.poll() is not None:
                raise ServerError(f"pgbouncer: {self.log()}")
            return self._answers()

        wait_until(answers, deadline=START_SECONDS, message=self.log)

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it at once: whoever is connected is cut off."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_SECONDS)
            self._process = None
            # It minds a socket that its killed predecessor has left.
            for left in (".s.PGSQL.5432", "pid"):
                (self.folder / left).unlink(missing_ok=True)

    def log(self) -> str:
        """Return everything it has said."""
        said = [self.folder / name for name in ("output", "log")]
        return "".join(path.read_text() for path in said if path.exists())

    def _answers(self) -> bool:
        try:
            psycopg.connect(dsn_of(self.settings)).close()
        except psycopg.OperationalError:
            return False
        return True


def dsn_of(settings: Mapping[str, Any], *, dbname: bool = True) -> str:
    """Return one entry of Django's DATABASES as libpq has it."""
    words = {
        "host": settings["HOST"],
        "port": settings["PORT"],
        "user": settings["USER"],
        "password": settings["PASSWORD"],
        "dbname": settings["NAME"] if dbname else "",
    }
    return " ".join(f"{name}={word}" for name, word in words.items() if word)


def _user_for(host: str) -> str | None:
    """Return who is to run it: it refuses root, and must reach the server's socket."""
    if os.geteuid() != 0:
        return None
    uid = Path(host).stat().st_uid if host.startswith("/") else 0
    return pwd.getpwuid(uid).pw_name if uid else "nobody"


@contextmanager
def connected_through(bouncer: PgBouncer) -> Iterator[None]:
    """Lead Django's own connection through the bouncer while in the block."""
    before = dict(connection.settings_dict)
    connection.close()
    connection.settings_dict.update(
        {**bouncer.settings, "DISABLE_SERVER_SIDE_CURSORS": True}
    )
    try:
        yield
    finally:
        connection.close()
        connection.settings_dict.update(before)

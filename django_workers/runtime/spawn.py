"""Start a supervisor or a child as a fresh interpreter, where forking is not safe."""

import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import asdict
from typing import Any, Final
from uuid import UUID

from ..conf import RuntimeSettings, runtime_settings
from ..discovery import autodiscover
from .child import ChildOptions
from .child import main as child_main
from .lease import Identity
from .processes import die_with_parent, flush
from .supervisor import Supervisor, SupervisorOptions

# The fresh interpreter gets the parent's import path before it imports anything, and
# its apps before it imports this module, which knows models.
_BOOTSTRAP: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "import django; django.setup(); "
    "from django_workers.runtime.spawn import main; main(sys.argv[2:])"
)


def spawn(
    role: str,
    sock: socket.socket,
    page: int | None,
    options: ChildOptions | SupervisorOptions,
) -> int:
    """Start a process that runs `role` ("child" or "supervisor"); its id."""
    fds = [sock.fileno()] + ([page] if page is not None else [])
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            _BOOTSTRAP,
            json.dumps(sys.path),
            role,
            json.dumps(fds),
            str(os.getpid()),
            json.dumps(_plain(options)),
        ],
        pass_fds=fds,
        start_new_session=True,
    )
    process.returncode = 0  # the launcher reaps it, not subprocess
    return process.pid


def _plain(options: ChildOptions | SupervisorOptions) -> dict[str, Any]:
    """Options as JSON holds them; settings go as what differs from the project's."""
    values = {
        name: getattr(options, name) for name in type(options).__dataclass_fields__
    }
    values.pop("say", None)
    values["settings"] = _settings_dict(values["settings"])
    if "predecessors" in values:
        values["predecessors"] = [str(session) for session in values["predecessors"]]
    if "identity" in values:
        identity = asdict(values["identity"])
        values["identity"] = {**identity, "session": str(identity["session"])}
    return values


def _settings_dict(settings: Any) -> dict[str, Any]:
    given = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    # Schedules may hold objects; the fresh process reads them from its own settings.
    given.pop("schedules")
    return {
        name: dict(value) if name == "retention" else value
        for name, value in given.items()
    }


def main(argv: list[str]) -> None:
    """Run a spawned process; called by the bootstrap line above, never returns."""
    role, fds_text, parent, options_text = argv
    die_with_parent(int(parent))
    fds = json.loads(fds_text)
    sock = socket.socket(fileno=fds[0])
    values = json.loads(options_text)
    values["settings"] = _restored(values["settings"])
    if role == "child":
        autodiscover(values["settings"].autodiscover)
        child_main(sock, fds[1], ChildOptions(**values))
    else:
        os._exit(_supervise(sock, values))


def _supervise(sock: socket.socket, values: dict[str, Any]) -> int:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    identity = values["identity"]
    values["identity"] = Identity(**{**identity, "session": UUID(identity["session"])})
    values["predecessors"] = [UUID(text) for text in values["predecessors"]]
    code = Supervisor(sock, SupervisorOptions(**values)).run()
    flush()
    return code


def _restored(given: dict[str, Any]) -> RuntimeSettings:
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in given.items()
    }
    return RuntimeSettings(**values, schedules=runtime_settings().schedules)

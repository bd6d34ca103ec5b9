"""Notice that the project's code has changed, as Django's own server does."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from django.utils.autoreload import StatReloader


def code_watcher(say: Callable[[str], None]) -> Callable[[], str]:
    """Return a function that names a watched file changed since its last call, or ''.

    A Python file that does not compile does not count: the old code goes on until it
    does, and *say* is told why.
    """
    reloader = StatReloader()
    known: dict[Path, float] = dict(reloader.snapshot_files())

    def changed() -> str:
        for path, modified in reloader.snapshot_files():
            before = known.get(path)
            known[path] = modified
            if before is not None and modified > before and _compiles(path, say):
                return str(path)
        return ""

    return changed


def _compiles(path: Path, say: Callable[[str], None]) -> bool:
    if path.suffix != ".py":
        return True
    try:
        compile(path.read_bytes(), str(path), "exec")
    except (SyntaxError, ValueError, OSError) as error:
        say(f"{path} does not compile: {error}; waiting")
        return False
    return True


def restart() -> None:
    """Replace this process by a fresh one with the same arguments; never returns."""
    with suppress(OSError, ValueError):  # nobody reads what is printed
        sys.stdout.flush()
        sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])

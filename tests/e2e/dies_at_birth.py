"""Code after whose import no process but the supervisor survives its birth."""

import os
import sys

_forks = 0


def _count() -> None:
    global _forks
    _forks += 1


def _die() -> None:
    if _forks > 1:
        os._exit(9)


os.register_at_fork(before=_count, after_in_child=_die)

if "django_workers.runtime.spawn" in sys.modules and "child" in sys.argv:
    os._exit(9)

"""Where Django's own tests come from: the source release of the Django under test."""

import logging
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from types import ModuleType

import django

from tests.support import ROOT

CACHE = ROOT / ".cache" / "django-suite"


def add_to_path() -> None:
    """Make Django's `tests/tasks` importable as the package `tasks`.

    Downloads the source release the first time. Django 5.2 has no such tests, and the
    backport's release carries none either: there the tests of Django 6.0 run, the
    version the backport was taken from, with the backport in the place of
    `django.tasks`.
    """
    if django.VERSION < (6, 0):
        _put_backport_in_place()
        release = "Django>=6.0,<6.1"
        folder = CACHE / "6.0"
    else:
        release = f"Django=={django.__version__}"
        folder = CACHE / django.__version__
    if not folder.exists():
        _fetch(release, folder)
    sys.path.insert(0, str(folder))


def _fetch(release: str, folder: Path) -> None:
    CACHE.mkdir(parents=True, exist_ok=True)
    # Next to its final place, then renamed: runs side by side never see half of it.
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        subprocess.run(
            [
                *(sys.executable, "-m", "pip", "download", "--quiet"),
                *("--no-deps", "--no-binary", "Django", "--ignore-requires-python"),
                *("--dest", scratch, release),
            ],
            check=True,
        )
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as release_files:
            wanted = [
                member
                for member in release_files.getmembers()
                if "/tests/tasks/" in member.name
            ]
            release_files.extractall(scratch, members=wanted, filter="data")
        (unpacked,) = Path(scratch).glob("*/tests")
        try:
            unpacked.rename(folder)
        except OSError:
            # Another run was first; an empty target would have been replaced.
            if not folder.exists():
                raise


def _put_backport_in_place() -> None:
    import django_tasks.backends.dummy
    import django_tasks.backends.immediate
    import django_tasks.base
    import django_tasks.exceptions

    core = ModuleType("django.tasks")
    core.__dict__.update(vars(django_tasks), Task=django_tasks.base.Task)
    exceptions = ModuleType("django.tasks.exceptions")
    exceptions.__dict__.update(vars(django_tasks.exceptions))
    for name in ("InvalidTask", "InvalidTaskBackend"):
        # Released up to 0.12 under names that end in Error.
        released = getattr(exceptions, f"{name}Error", None)
        if released is not None:
            setattr(exceptions, name, released)
    sys.modules.update(
        {
            "django.tasks": core,
            "django.tasks.backends": django_tasks.backends,
            "django.tasks.backends.dummy": django_tasks.backends.dummy,
            "django.tasks.backends.immediate": django_tasks.backends.immediate,
            "django.tasks.base": django_tasks.base,
            "django.tasks.exceptions": exceptions,
        }
    )
    # The tests listen to the log of the name it has in Django.
    logging.getLogger("django_tasks").parent = logging.getLogger("django.tasks")

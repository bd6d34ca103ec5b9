"""Check a built release: `python .ci/check_wheel.py dist`.

The wheel must hold exactly the files of `django_workers` that git keeps, install into
an environment that holds nothing, and work there: import, `manage.py check`, `migrate`.
The source release must hold the tests.
"""

import os
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "django_workers"

SETTINGS = f"""
SECRET_KEY = "only-for-this-check"
USE_TZ = True
SQLITE = {{"ENGINE": "django.db.backends.sqlite3", "NAME": "check.sqlite3"}}
DATABASES = {{"default": SQLITE}}
INSTALLED_APPS = ["{PACKAGE}"]
TASKS = {{"default": {{"BACKEND": "{PACKAGE}.backend.DatabaseBackend"}}}}
"""


def main(folder: str) -> int:
    """Check the wheel and the source release in *folder*; return an exit code."""
    (wheel,) = Path(folder).glob("*.whl")
    (source,) = Path(folder).glob("*.tar.gz")
    problems = [*_wrong_files(wheel), *_missing_from(source), *_fails_alone(wheel)]
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    if not problems:
        sys.stdout.write(f"{wheel.name} and {source.name} are complete and work.\n")
    return 1 if problems else 0


def _wrong_files(wheel: Path) -> Iterable[str]:
    tracked = subprocess.run(
        ["git", "ls-files", PACKAGE],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    expected = set(tracked.stdout.split())
    names = set(zipfile.ZipFile(wheel).namelist())
    packed = {name for name in names if ".dist-info/" not in name}
    for name in sorted(expected - packed):
        yield f"missing from the wheel: {name}"
    for name in sorted(packed - expected):
        yield f"in the wheel, but not in git: {name}"
    for ending in ("METADATA", "licenses/LICENSE"):
        if not any(name.endswith(f".dist-info/{ending}") for name in names):
            yield f"missing from the wheel: {ending}"


def _missing_from(source: Path) -> Iterable[str]:
    with tarfile.open(source) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("LICENSE", "README.md", "pyproject.toml", "tests/settings.py"):
        if name not in names:
            yield f"missing from the source release: {name}"


def _fails_alone(wheel: Path) -> Iterable[str]:
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        venv.create(home / "venv", with_pip=True)
        python = str(home / "venv" / "bin" / "python")
        (home / "settings.py").write_text(SETTINGS)
        environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "settings"}
        environment.pop("PYTHONPATH", None)
        for command in (
            ["-m", "pip", "install", "--quiet", str(wheel)],
            ["-m", "pip", "check"],
            ["-c", f"import {PACKAGE}; print({PACKAGE}.__version__)"],
            ["-m", "django", "check", "--fail-level", "ERROR"],
            ["-m", "django", "migrate", "--verbosity", "0"],
            ["-m", "django", "runworkers", "--help"],
            ["-m", "django", "workers", "--help"],
        ):
            done = subprocess.run(
                [python, *command],
                cwd=home,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                words = " ".join(command)
                yield f"in an empty environment: {words}\n{done.stdout}{done.stderr}"
                return


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))

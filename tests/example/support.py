"""A copy of the example site in a folder of its own, and programs run there."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support import ROOT

# What the settings read, and what else a developer may have set.
NOT_HANDED_ON = (
    *("DEBUG", "SECRET_KEY", "ALLOWED_HOSTS", "DATABASE_URL", "QUEUE_DATABASE_URL"),
    *("JOB_CONCURRENCY", "JOB_TIMEOUT", "DJANGO_SETTINGS_MODULE"),
)


def copied(folder: Path) -> Path:
    """Copy the site into *folder*, without a developer's own data and settings."""
    shutil.copytree(
        ROOT / "example_project",
        folder / "example_project",
        ignore=shutil.ignore_patterns("var", "__pycache__"),
    )
    for name in ("manage.py", ".env.example"):
        shutil.copy(ROOT / name, folder)
    return folder


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment of a process of the copy, with just these of its variables."""
    return {
        **{
            name: text for name, text in os.environ.items() if name not in NOT_HANDED_ON
        },
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "example_project.settings",
        **variables,
    }


def manage(
    clone: Path, *arguments: str, **variables: str
) -> "subprocess.CompletedProcess[str]":
    """Run `manage.py` of a copy, with these environment variables."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=clone,
        env=environment(variables),
        capture_output=True,
        text=True,
        check=False,
    )

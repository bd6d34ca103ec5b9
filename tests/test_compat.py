"""Where Django's tasks come from, and what is said where they come from nowhere."""

import subprocess
import sys

from tests.support import ROOT

# As on Django 5.2 with nothing beside it, whatever this environment holds.
ALONE = """
import sys

import django

django.VERSION = (5, 2, 0, "final", 0)
sys.modules["django_tasks"] = None
"""


def test_without_tasks_of_any_kind_one_line_says_what_to_install():
    done = subprocess.run(
        [sys.executable, "-c", f"{ALONE}import django_workers"],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "django_workers.exceptions.ConfigurationError: django_workers on Django 5.2 "
        "needs the package django-tasks: python -m pip install django-tasks"
    )

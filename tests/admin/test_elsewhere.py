"""The admin of a project whose queue has a database of its own."""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT


# That session uses the database of this one, though no fixture of this one says so.
@pytest.mark.mariadb
@pytest.mark.postgresql
@pytest.mark.sqlite
def test_every_page_and_button_goes_to_the_database_of_the_queue():
    session = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/admin/elsewhere"),
            *("--ds", "tests.admin.elsewhere.settings", "-p", "no:cacheprovider"),
        ],
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )

    print(session.stdout)
    assert session.returncode == 0

"""The tests of the example site, in a session that has the site's own settings."""

import os
import subprocess
import sys

import pytest

from tests.support import ROOT


# That session uses the database of this one, though no fixture of this one says so.
@pytest.mark.mariadb
@pytest.mark.postgresql
@pytest.mark.sqlite
@pytest.mark.thorough
def test_the_site_does_what_it_shows():
    session = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "tests/example/site"),
            *("--ds", "tests.example.settings", "-p", "no:cacheprovider"),
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

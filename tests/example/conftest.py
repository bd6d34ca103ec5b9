"""The example site has settings of its own, so its tests have a session of their own.

`test_site.py` starts that session, or you do:

    python -m pytest tests/example/site --ds tests.example.settings
"""

from pathlib import Path

import pytest
from django.conf import settings

from tests.example.support import copied

if settings.SETTINGS_MODULE != "tests.example.settings":
    collect_ignore = ["site"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a copy of the example site, as from a clean clone."""
    return copied(tmp_path)

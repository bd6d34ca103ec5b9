"""The tests' settings with a DJANGO_WORKERS of one worker's own, by the environment.

`tests.e2e.jobs.settings_of` makes the environment that a worker gets.
"""

import json
import os

from tests.settings import *  # noqa: F403 - the same project, otherwise
from tests.settings import DATABASES

DJANGO_WORKERS = json.loads(os.environ.get("TESTS_DJANGO_WORKERS", "{}"))
DEBUG = "TESTS_DEBUG" in os.environ

if "TESTS_PORT" in os.environ:
    # A pooler cannot be named by a URL that already names the socket's folder.
    DATABASES["default"]["PORT"] = os.environ["TESTS_PORT"]

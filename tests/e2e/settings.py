"""The tests' settings with a DJANGO_WORKERS of one worker's own, by the environment.

`tests.e2e.jobs.settings_of` makes the environment that a worker gets.
"""

import json
import os

from tests.settings import *  # noqa: F403 - the same project, otherwise

DJANGO_WORKERS = json.loads(os.environ.get("TESTS_DJANGO_WORKERS", "{}"))
DEBUG = "TESTS_DEBUG" in os.environ

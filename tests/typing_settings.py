"""The settings that the type checker reads: the example site's, with all its apps."""

import os

# The site asks for a secret key where DEBUG is off.
os.environ["DEBUG"] = "True"

from example_project.settings import *  # noqa: F403

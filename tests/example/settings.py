"""Settings of the example site under test, for its tests and for their workers.

Everything is as on a site with DEBUG off, but on a database of its own, in a temporary
folder, and without HTTPS.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def _folder() -> Path:
    """The folder of this test session; its workers find it in their environment."""
    if known := os.environ.get("TESTS_EXAMPLE_FOLDER"):
        return Path(known)
    folder, owner = Path(tempfile.mkdtemp(prefix="dw-")), os.getpid()
    os.environ["TESTS_EXAMPLE_FOLDER"] = str(folder)

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


FOLDER = _folder()
os.environ["DEBUG"] = "False"
os.environ["SECRET_KEY"] = "only-for-tests"
os.environ["QUEUE_DATABASE_URL"] = ""
os.environ["DATABASE_URL"] = (
    os.environ.get("DATABASE_URL") or f"sqlite:///{FOLDER / 'main.sqlite3'}"
)

from example_project.settings import *  # noqa: E402, F403
from example_project.settings import DATABASES  # noqa: E402

_main = DATABASES["default"]
if _main["ENGINE"].endswith("sqlite3"):
    # A file, so that workers can open it.
    _main["TEST"] = {"NAME": str(FOLDER / "test.sqlite3")}
else:
    # Not the one that the session which has started this one works on.
    _main["TEST"] = {"NAME": "test_example"}
if "host" in _main["OPTIONS"]:
    # The folder of a Unix socket, which a URL can only name in its query.
    _main["HOST"] = _main["OPTIONS"].pop("host")

ALLOWED_HOSTS = ["*"]
SECURE_SSL_REDIRECT = False
SESSION_COOKIE_SECURE = False
CSRF_COOKIE_SECURE = False
MEDIA_ROOT = FOLDER / "media"
OUTBOX_DIR = FOLDER / "outbox"

# E-mail as under DEBUG, so that what workers send can be read.
_FILES = "django.core.mail.backends.filebased.EmailBackend"
if "MAILERS" in globals():
    MAILERS = {"default": {"BACKEND": _FILES, "OPTIONS": {"file_path": OUTBOX_DIR}}}
else:
    EMAIL_BACKEND, EMAIL_FILE_PATH = _FILES, OUTBOX_DIR

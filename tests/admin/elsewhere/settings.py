"""Settings of a project whose queue has a database of its own, and no router.

Both databases have all tables, as after `migrate` and `migrate --database queue`.
"""

from typing import Any, cast

from tests.settings import *  # noqa: F403
from tests.settings import DATABASES, TASKS

_default = DATABASES["default"]
_is_file = _default["ENGINE"].endswith("sqlite3")
# Not the names of the session that has started this one.
_default["TEST"] = {
    "NAME": f"{_default['NAME']}.data.test" if _is_file else "test_admin_data"
}
DATABASES["queue"] = {
    **_default,
    "TEST": {
        "NAME": f"{_default['NAME']}.queue.test" if _is_file else "test_admin_queue"
    },
}
cast("dict[str, Any]", TASKS["default"])["OPTIONS"] = {"DATABASE": "queue"}

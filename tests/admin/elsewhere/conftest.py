"""Two databases in each test, and the rule that `default` knows nothing of the queue.

`tests/admin/test_elsewhere.py` starts this session, or you do:

    python -m pytest tests/admin/elsewhere --ds tests.admin.elsewhere.settings
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections

if settings.SETTINGS_MODULE != "tests.admin.elsewhere.settings":
    collect_ignore = ["test_pages.py"]


def _refuse(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
) -> Any:
    assert "django_workers_" not in sql, f"asked of `default`: {sql}"
    return execute(sql, params, many, context)


@pytest.fixture(autouse=True)
def _queue_is_elsewhere(db: None) -> Iterator[None]:
    with connections["default"].execute_wrapper(_refuse):
        yield

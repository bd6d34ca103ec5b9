"""Turn the list of exclusions into strict expected failures."""

import pytest

from tests.django_suite.exclusions import EXCLUDED


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark excluded tests; refuse an exclusion of a test that does not exist."""
    ours = [
        item
        for item in items
        if isinstance(item, pytest.Function)
        and item.cls is not None
        and item.cls.__name__ in EXCLUDED
    ]
    for item in ours:
        excluded = EXCLUDED[item.cls.__name__].get(item.name)
        if excluded is not None:
            item.add_marker(
                pytest.mark.xfail(
                    reason=excluded.reason, raises=excluded.error, strict=True
                )
            )
    for name in {item.cls.__name__ for item in ours}:
        cls = next(item.cls for item in ours if item.cls.__name__ == name)
        for test in EXCLUDED[name]:
            if not hasattr(cls, test):
                raise pytest.UsageError(f"{name} has no {test}: drop the exclusion")

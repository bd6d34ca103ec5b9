"""The broker under contract: this database's own, and the generic one beside it."""

import pytest

from django_workers.brokers import Broker, broker_for


def pytest_generate_tests(metafunc):
    """Run what asks for a broker over all that this session's database can have."""
    if "broker" in metafunc.fixturenames:
        classes = dict.fromkeys((type(broker_for("default")), Broker))
        metafunc.parametrize(
            "broker",
            list(classes),
            ids=[cls.__name__ for cls in classes],
            indirect=True,
        )


@pytest.fixture
def broker(request):
    """Return a broker for the database of this session."""
    return request.param("default")

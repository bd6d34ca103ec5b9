"""Visitors of the admin, each with what they may do."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client

LogIn = Callable[..., Client]


@pytest.fixture(autouse=True)
def _two_sites(settings: Any, db: None) -> None:
    settings.ROOT_URLCONF = "tests.admin.urls"


@pytest.fixture
def log_in() -> LogIn:
    """Return a function that logs in a member of the staff with these permissions."""

    def log_in(*codenames: str) -> Client:
        user = User.objects.create_user(f"staff-{User.objects.count()}", is_staff=True)
        found = Permission.objects.filter(
            content_type__app_label="django_workers", codename__in=codenames
        )
        assert {permission.codename for permission in found} == set(codenames)
        user.user_permissions.set(found)
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def chief() -> Client:
    """Return a superuser's browser."""
    client = Client()
    client.force_login(User.objects.create_superuser("chief"))
    return client

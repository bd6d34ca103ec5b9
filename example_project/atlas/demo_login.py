"""The login `demo`: works under DEBUG alone, wherever the database is used.

The account has no password that Django's own backend would take; this backend, which
the settings list under DEBUG only, takes the one printed by `make demo`.
"""

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

NAME = "demo"
PASSWORD = "demo"


class DemoLogin(ModelBackend):
    """Lets demo in with the password demo."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **kwargs: Any,
    ) -> User | None:
        if not settings.DEBUG or (username, password) != (NAME, PASSWORD):
            return None
        return User.objects.filter(username=NAME, is_active=True).first()


def create_demo_login() -> User:
    """Create the account, or find it.

    Raises PermissionDenied where DEBUG is off, or when the name belongs to somebody
    who has a password.
    """
    if not settings.DEBUG:
        raise PermissionDenied("The demo login exists under DEBUG only.")
    user, created = User.objects.get_or_create(
        username=NAME, defaults={"is_staff": True, "is_superuser": True}
    )
    if created:
        user.set_unusable_password()
        user.save()
    elif user.has_usable_password():
        raise PermissionDenied(
            f"An account named {NAME} exists, with its own password."
        )
    return user

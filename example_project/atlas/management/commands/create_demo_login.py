"""`manage.py create_demo_login`: the account for trying the admin, under DEBUG."""

from typing import Any

from django.core.exceptions import PermissionDenied
from django.core.management.base import BaseCommand, CommandError

from ...demo_login import NAME, PASSWORD, create_demo_login


class Command(BaseCommand):
    """Refuses where DEBUG is off."""

    help = "Create the account demo with the password demo; refused unless DEBUG is on."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            create_demo_login()
        except PermissionDenied as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"login {NAME}, password {PASSWORD}")

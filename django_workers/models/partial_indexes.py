"""Partial indexes on databases that have none."""

from typing import Any, Final

from django.core.checks import CheckMessage
from django.db import models

# "... does not support unique constraints / indexes with conditions / on expressions."
_NOT_CREATED: Final = frozenset({"models.W036", "models.W037", "models.W043"})


class PartialIndexesModel(models.Model):
    """A model whose migration adds full indexes where partial ones cannot be.

    Django's warnings that MySQL and MariaDB go without are not true here.
    """

    class Meta:
        abstract = True

    @classmethod
    def check(cls, **kwargs: Any) -> list[CheckMessage]:
        """Check the model, without those warnings."""
        return [
            message
            for message in super().check(**kwargs)
            if message.id not in _NOT_CREATED
        ]

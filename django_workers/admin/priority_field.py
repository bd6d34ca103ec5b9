"""A form field for priorities: a number or the name of a level."""

from typing import Any

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..conf import LEVELS, priority_of


class PriorityField(forms.CharField):
    """A priority as people write it; the form gets its number, or None for none."""

    def __init__(self, **options: Any) -> None:
        values: dict[str, Any] = {
            "label": _("Priority"),
            "required": False,
            "empty_value": None,
            "help_text": _("-100 to 100, or: critical, high, normal, low."),
        }
        super().__init__(**{**values, **options})

    def to_python(self, value: Any) -> int | None:  # type: ignore[override]
        """Read a number or the name of a level."""
        text = super().to_python(value)
        if text is None:
            return None
        try:
            return priority_of(text if text in LEVELS else int(text))
        except ValueError:
            raise forms.ValidationError(
                gettext("A whole number from -100 to 100, or the name of a level.")
            ) from None

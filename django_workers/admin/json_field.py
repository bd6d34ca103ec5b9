"""A form field for arguments: JSON that a job can be stored with."""

import json
from typing import Any, NoReturn

from django import forms
from django.forms.fields import InvalidJSONInput
from django.utils.translation import gettext

from .. import codec
from ..exceptions import UnencodableValue


class JSONTextarea(forms.Textarea):
    """A small field for JSON, in the font of code."""

    def __init__(self, rows: int = 4) -> None:
        super().__init__(
            {"rows": rows, "cols": 60, "spellcheck": "false", "class": "dw-json"}
        )


class StrictJSONField(forms.JSONField):
    """JSON that a job can be stored with; says where it cannot."""

    def __init__(self, *, kind: type, **options: Any) -> None:
        self.kind = kind
        widget = options.pop("widget", None) or JSONTextarea()
        super().__init__(required=False, widget=widget, **options)

    def to_python(self, value: Any) -> Any:
        """Read the text; an empty one is the empty list or object."""
        if value in self.empty_values:
            return self.kind()
        try:
            found = _read(value) if isinstance(value, str) else value
            codec.encode(found, path="")
        except UnencodableValue as error:
            raise forms.ValidationError(str(error).removeprefix(": ")) from error
        except ValueError as error:
            raise forms.ValidationError(
                gettext("This is not JSON: %(error)s") % {"error": error}
            ) from error
        if not isinstance(found, self.kind):
            raise forms.ValidationError(
                gettext('This must be a JSON list, like [1, "two"].')
                if self.kind is list
                else gettext('This must be a JSON object, like {"name": 1}.')
            )
        return found

    def validate(self, value: Any) -> None:
        """Accept the empty list and object: they are arguments too."""

    def bound_data(self, data: Any, initial: Any) -> Any:
        """Show again what was typed, whatever it is."""
        try:
            return super().bound_data(data, initial)
        except (ValueError, RecursionError):
            return InvalidJSONInput(data)

    def prepare_value(self, value: Any) -> Any:
        """Show the empty list and object as they are."""
        return super().prepare_value(self.kind() if value is None else value)


def _read(text: str) -> Any:
    """Read JSON of which nothing is dropped without a word; raises ValueError."""
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key appears twice in one object")
    return found


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no value of JSON")

"""What people fill in."""

from datetime import date
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator

from . import catalogue
from .models import Report, Subscription


class PlainForm(forms.BaseForm):
    """Writes its labels without a colon."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"label_suffix": "", **kwargs})


class SubscriptionForm(PlainForm, forms.ModelForm):
    """An address that a zone's changes are sent to."""

    email = forms.EmailField(
        widget=forms.EmailInput(
            attrs={"placeholder": "you@example.com", "autocomplete": "email"}
        )
    )

    class Meta:
        model = Subscription
        fields = ("email",)


class ReportForm(PlainForm, forms.ModelForm):
    """What a report is called, and how far it looks ahead."""

    title = forms.CharField(
        max_length=80,
        widget=forms.TextInput(attrs={"placeholder": "Spring in Europe"}),
    )
    days = forms.IntegerField(min_value=1, max_value=366, initial=180)

    class Meta:
        model = Report
        fields = ("title", "days")


def check_zone(name: str) -> None:
    """Raise ValidationError unless there is a zone of that name."""
    if name not in catalogue.zones():
        raise ValidationError(f"There is no zone “{name}”.")


class ZoneField(forms.CharField):
    """The name of a zone; the page offers them in its list `zones`."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validators=[check_zone], **kwargs)

    def widget_attrs(self, widget: forms.Widget) -> dict[str, Any]:
        return {**super().widget_attrs(widget), "list": "zones", "autocomplete": "off"}


class MeetingForm(PlainForm, forms.Form):
    """Where the people are, and on which day (in UTC) they could meet."""

    day = forms.DateField(
        widget=forms.DateInput(attrs={"type": "date"}),
        # Before and after these nobody knows how clocks stand.
        validators=[
            MinValueValidator(date(1970, 1, 1)),
            MaxValueValidator(date(2037, 12, 31)),
        ],
    )
    first = ZoneField(label="First place", initial="Europe/Berlin")
    second = ZoneField(label="Second place", initial="America/New_York")
    third = ZoneField(label="Third place", initial="Asia/Tokyo", required=False)
    fourth = ZoneField(label="Fourth place", required=False)

    def places(self) -> list[str]:
        """The zones that were named, each once."""
        names = ("first", "second", "third", "fourth")
        given = [self.cleaned_data[name] for name in names if self.cleaned_data[name]]
        return list(dict.fromkeys(given))

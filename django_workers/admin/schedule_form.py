"""The form of a schedule: a task from those declared, a timing, arguments as JSON."""

from typing import TYPE_CHECKING, Any, ClassVar
from zoneinfo import available_timezones

from django import forms
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..compat import task_backends
from ..conf import queue_refusal
from ..databases import own_backends, queue_database
from ..models import Schedule
from ..schedules import plan
from ..task import QUEUE_PATTERN
from .base import rows
from .declared import declared_task, declared_tasks
from .json_field import StrictJSONField
from .priority_field import PriorityField
from .signatures import bind

# Changing one of these changes when it fires.
_TIMING = frozenset({"cron", "interval", "timezone"})


if TYPE_CHECKING:
    BaseForm = forms.ModelForm[Schedule]
else:
    BaseForm = forms.ModelForm


class ScheduleForm(BaseForm):
    """A schedule that fires: its timing, task, queue and arguments are checked."""

    task = forms.ChoiceField(label=_("Task"))
    backend = forms.ChoiceField(label=_("Backend"))
    timezone = forms.ChoiceField(
        label=_("Time zone"),
        required=False,
        help_text=_("Of the cron expression. Empty: the site's TIME_ZONE."),
    )
    args = StrictJSONField(kind=list, label=_("Arguments"), help_text=_("A JSON list."))
    kwargs = StrictJSONField(
        kind=dict, label=_("Keyword arguments"), help_text=_("A JSON object.")
    )
    priority = PriorityField(
        help_text=_(
            "-100 to 100, or: critical, high, normal, low. Empty: the task's own."
        )
    )

    class Meta:
        model = Schedule
        fields: ClassVar = [
            "name",
            "enabled",
            "task",
            "args",
            "kwargs",
            "cron",
            "interval",
            "timezone",
            "queue",
            "priority",
            "backend",
        ]
        widgets: ClassVar = {
            "cron": forms.TextInput(
                attrs={"class": "dw-code", "autocomplete": "off", "spellcheck": "false"}
            ),
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        using = queue_database()
        if self.instance._state.adding:
            # Without it Django's checks would ask the router, which knows no queue.
            self.instance._state.db = using
        stored = self.instance if self.instance.pk else None
        tasks = [(task.key, task.key) for task in declared_tasks()]
        self._offer("task", tasks, stored.task if stored else None)
        zones = [(zone, zone) for zone in sorted(available_timezones())]
        self._offer("timezone", [("", "---------"), *zones], self.instance.timezone)
        # A job goes where its schedule stands: others would never look for it there.
        aliases = [
            backend.alias
            for backend in own_backends()
            if using == backend.settings.DATABASE
        ] or list(task_backends.settings)
        self._offer("backend", [(a, a) for a in aliases], self.instance.backend)
        if "backend" in self.fields and len(self.fields["backend"].choices) == 1:  # type: ignore[attr-defined]
            self.fields["backend"].help_text = _(
                "The only backend whose jobs are kept here."
            )

    def _offer(
        self, name: str, choices: list[tuple[str, str]], stored: str | None
    ) -> None:
        """Offer these choices, and what is stored even if it is none of them."""
        field = self.fields.get(name)
        if field is None:  # read-only for a declared schedule
            return
        known = {value for value, _word in choices}
        if stored and stored not in known:
            word = gettext("%(name)s (unknown here)") % {"name": stored}
            choices = [(stored, word), *choices]
        field.choices = choices  # type: ignore[attr-defined]

    def clean_queue(self) -> str:
        """Refuse what cannot name a queue."""
        queue = str(self.cleaned_data["queue"] or "")
        if queue and not QUEUE_PATTERN.fullmatch(queue):
            raise forms.ValidationError(
                _("A queue's name has letters, digits and _.:- only, at most 128.")
            )
        return queue

    def clean(self) -> dict[str, Any]:
        """Refuse a zone without a cron expression, and arguments the task lacks."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if cleaned.get("timezone") and cleaned.get("interval") is not None:
            self.add_error("timezone", _("An interval has no time zone."))
        if {"task", "args", "kwargs"} <= cleaned.keys():
            wrong = call_errors(cleaned["task"], cleaned["args"], cleaned["kwargs"])
            for name, error in wrong.items():
                self.add_error(name, error)
        if {"task", "queue", "backend"} <= cleaned.keys():
            error = queue_error(cleaned["task"], cleaned["queue"], cleaned["backend"])
            if error:
                self.add_error("queue", error)
        if cleaned.get("enabled") and "enabled" in self.changed_data:
            # Of a declared schedule there is no field to mend.
            for column, text in self.instance.problems().items():
                if column not in self.fields:
                    self.add_error("enabled", f"{column}: {text}")
        return cleaned

    def validate_unique(self) -> None:
        """Refuse a name that is taken in the database that holds the queue."""
        name = self.cleaned_data.get("name")
        others = rows(Schedule).exclude(pk=self.instance.pk)
        if name and others.filter(name=name).exists():
            taken = self.instance.unique_error_message(Schedule, ("name",))
            self.add_error("name", taken)

    def plan(self, *, by: str) -> list[str]:
        """Set what follows from the form, and return the names of those columns.

        When it is due next follows from its timing and its switch; why it is off from
        who, *by* name, switched it off.
        """
        columns: list[str] = []
        changed = set(self.changed_data)
        switched_on = "enabled" in changed and self.instance.enabled
        if self.instance.pk is None or switched_on or _TIMING & changed:
            plan(self.instance)
            columns += ["anchor_at", "next_fire_at"]
        if "enabled" in changed:
            self.instance.disabled_reason = "" if self.instance.enabled else f"by {by}"
            columns.append("disabled_reason")
        return columns


def call_errors(name: str, args: list[Any], kwargs: dict[str, Any]) -> dict[str, str]:
    """Why a task cannot be called so, by field; none too if its code is not here."""
    task = declared_task(name)
    return bind(task, args, kwargs) if task else {}


def queue_error(name: str, queue: str, backend: str) -> str:
    """Why a task's job cannot go into a queue of that backend; empty if it can.

    No queue means the task's own, if its code is here.
    """
    task = declared_task(name)
    queue = queue or (task.queue_name if task else "")
    return queue_refusal(queue, backend=backend) if queue else ""

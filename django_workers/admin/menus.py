"""Lists that need their whole width: their filters are menus above them."""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.admin import SimpleListFilter, display
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.http import HttpRequest
from django.utils.functional import Promise

from ..templatetags.django_workers_admin import labelled


def labelled_column(label: str | Promise) -> Callable[[Any], Any]:
    """Make a method a column whose name a narrow screen shows beside the value.

    There each row is a small card, and the heads of the columns are gone.
    """

    def decorate(method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
        @wraps(method)
        def shown(self: Any, row: Any) -> str:
            return labelled(label, method(self, row))

        return display(description=label)(shown)  # type: ignore[arg-type]

    return decorate


class MenuFilter(SimpleListFilter):
    """A filter shown as a menu; a value that is none of its choices stays chosen."""

    # Shown in another way than as a menu.
    is_menu = True

    def __init__(
        self, request: HttpRequest, params: Any, model: Any, owner: Any
    ) -> None:
        super().__init__(request, params, model, owner)
        value = self.value()
        if value and value not in {choice for choice, _word in self.lookup_choices}:
            self.lookup_choices.insert(0, (value, value))


class MenuChangeList(ChangeList):
    """A change list whose filters are menus in one form with the search."""

    # Parameters that narrow nothing.
    no_filters: tuple[str, ...] = ()

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        title = str(self.opts.verbose_name_plural)
        self.title = title[:1].upper() + title[1:]
        # Django would put the column beside the list.
        self.has_filters = False
        # A menu left at "any" sends an empty value.
        self.params = {
            name: value
            for name, value in self.params.items()
            if value and name not in self.no_filters
        }
        self.filter_params = {
            name: values for name, values in self.filter_params.items() if any(values)
        }

    def get_filters_params(self, params: Any = None) -> dict[str, Any]:
        """Return the parameters that narrow the list."""
        found = super().get_filters_params(params)
        return {
            name: values
            for name, values in found.items()
            if name not in self.no_filters and any(values)
        }

    @property
    def is_filtered(self) -> bool:
        """Whether anything narrows the list."""
        return bool(self.query or self.get_filters_params())

    def menus(self) -> list[MenuFilter]:
        """The filters to be shown as menus."""
        return [
            spec
            for spec in self.filter_specs
            if isinstance(spec, MenuFilter) and spec.is_menu
        ]

    def kept_params(self) -> list[tuple[str, str]]:
        """The parameters that another search keeps: what is no menu and no text."""
        menus = {menu.parameter_name for menu in self.menus()}
        return [
            (name, value)
            for name, value in self.params.items()
            if name not in menus and name != SEARCH_VAR
        ]

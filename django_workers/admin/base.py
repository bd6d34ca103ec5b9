"""What all our ModelAdmins share: looks, the log, the way back."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar

from django.contrib import admin
from django.contrib.admin import AdminSite
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.models import CHANGE, LogEntry
from django.core.exceptions import BadRequest, PermissionDenied, ValidationError
from django.db.models import Model, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from ..databases import queue_database
from .site import APP, context_of, extend

M = TypeVar("M", bound=Model)
STYLESHEET: Final = "django_workers/admin.css"
_KEY_BITS: Final = 63

if TYPE_CHECKING:
    BaseAdmin = admin.ModelAdmin[M]
else:

    class BaseAdmin(admin.ModelAdmin, Generic[M]):
        """Django's class is not subscriptable at run time; this one is."""


class WorkersModelAdmin(BaseAdmin[M]):
    """A ModelAdmin whose pages carry our tabs and whose site carries our dashboard."""

    actions_selection_counter = True
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    save_on_top = False

    class Media:
        css: ClassVar = {"all": (STYLESHEET,)}

    def __init__(self, model: type[M], admin_site: AdminSite) -> None:
        super().__init__(model, admin_site)
        extend(admin_site)

    def get_queryset(self, request: HttpRequest) -> QuerySet[M]:
        """Return the rows of the database that holds the queue."""
        found: QuerySet[M] = super().get_queryset(request)
        return found.using(queue_database())

    def response_action(
        self, request: HttpRequest, queryset: QuerySet[M], *args: Any, **kwargs: Any
    ) -> HttpResponse | None:
        """Carry out an action on the ticked rows; refuse ticks that are no row's."""
        try:
            for text in request.POST.getlist(ACTION_CHECKBOX_NAME):
                key = self.opts.pk.to_python(text)
                if isinstance(key, int) and key.bit_length() > _KEY_BITS:
                    raise ValidationError("too large for the key of a row")
        except ValidationError as error:
            # Django would ask the database for such rows, and fail.
            raise BadRequest(error.messages[0]) from error
        return super().response_action(request, queryset, *args, **kwargs)

    def url(self, name: str, *args: object) -> str:
        """The address of one of this model's pages, by the end of its name."""
        return reverse(
            f"admin:{APP}_{self.opts.model_name}_{name}",
            args=args,
            current_app=self.admin_site.name,
        )

    def may(self, request: HttpRequest, codename: str) -> bool:
        """Whether the user holds a permission of this app, by its codename."""
        return bool(request.user.has_perm(f"{APP}.{codename}"))

    def require(self, allowed: bool) -> None:
        """Refuse the request with 403 unless it is *allowed*."""
        if not allowed:
            raise PermissionDenied

    def page_context(
        self,
        request: HttpRequest,
        *,
        title: str,
        crumbs: Iterable[tuple[str, str | None]] = (),
        **own: object,
    ) -> dict[str, Any]:
        """The context of a page of our own, `crumbs` between the app and its title."""
        return context_of(
            self.admin_site,
            request,
            opts=self.opts,
            media=self.media,
            title=title,
            crumbs=[*crumbs],
            **own,
        )

    def record(self, request: HttpRequest, objects: Iterable[M], message: str) -> None:
        """Write what was done to these objects into the admin's log."""
        record(request, objects, message)


class ReadOnly:
    """Rows that nobody adds, edits or deletes here: only the broker writes them."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say no."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say no."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Say no."""
        return False


def rows(model: type[M]) -> Any:
    """All rows of a model in the database that holds the queue."""
    return model._default_manager.using(queue_database())


def record(
    request: HttpRequest,
    objects: Iterable[Model],
    message: str,
    *,
    flag: int = CHANGE,
) -> None:
    """Write what the user did to *objects* into the admin's log.

    A site may let in visitors that are no stored users; they leave no entry.
    """
    objects = list(objects)
    if objects and request.user.pk is not None:
        LogEntry.objects.log_actions(
            request.user.pk, objects, flag, change_message=message
        )


def actor(request: HttpRequest) -> str:
    """The name that is kept with what the user does."""
    return str(request.user.get_username())


def way_back(request: HttpRequest, fallback: str) -> HttpResponse:
    """Redirect to the page the form came from, if it is one of this site."""
    target = request.POST.get("next", "")
    safe = url_has_allowed_host_and_scheme(
        target, {request.get_host()}, require_https=request.is_secure()
    )
    return HttpResponseRedirect(target if safe else fallback)

"""One verb for everything that matches a filter, after a page that asks."""

from typing import TYPE_CHECKING, Any, Final

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from ..models import Job
from ..templatetags.django_workers_admin import figure
from .job_list import VERB, WINDOW, JobChangeList
from .verbs import VERBS, Verb, carry_out, is_allowed

if TYPE_CHECKING:
    from .jobs import JobAdmin

# Most jobs that one confirmation acts on, and how many it shows as examples.
AT_ONCE: Final = 5_000
EXAMPLES: Final = 10


class BulkPage:
    """The page at `job/bulk/?verb=...`, which takes the filters of the list too."""

    def __init__(self, model_admin: "JobAdmin") -> None:
        self.jobs = model_admin

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Ask on GET, act on POST. Raises PermissionDenied as the verb itself does."""
        verb = VERBS.get(request.GET.get(VERB, ""))
        if verb is None:
            raise Http404(gettext("No such action."))
        self.jobs.require(is_allowed(verb, self.jobs, request))
        self.jobs.require(self.jobs.has_view_permission(request))
        listing = self._listing(request)
        found = self._found(verb, listing)
        if request.method == "POST":
            return self._act(verb, request, listing, found)
        return self._ask(verb, request, listing, found)

    def _listing(self, request: HttpRequest) -> JobChangeList:
        """The list the filters describe."""
        listing = self.jobs.get_changelist_instance(request)
        assert isinstance(listing, JobChangeList)
        return listing

    @staticmethod
    def _is_windowed(listing: JobChangeList) -> bool:
        """Whether only the newest jobs are looked at.

        Without a status the verb's own condition is one that no index answers.
        """
        return listing.needs_window or not listing.status

    def _found(self, verb: Verb, listing: JobChangeList) -> list[Job]:
        """At most one more job than we act on at once, of those the verb changes."""
        jobs = listing.queryset.filter(status__in=[*verb.statuses])
        if self._is_windowed(listing):
            end = listing.window_end()
            jobs = jobs.filter(pk__gte=end) if end else jobs
        return list(jobs.only("pk", "task", "queue", "status")[: AT_ONCE + 1])

    def _ask(
        self,
        verb: Verb,
        request: HttpRequest,
        listing: JobChangeList,
        found: list[Job],
    ) -> HttpResponse:
        context = self.jobs.page_context(
            request,
            title=gettext("%(verb)s everything that matches") % {"verb": verb.label},
            crumbs=[(gettext("Jobs"), self._back(listing))],
            verb=verb,
            filters=self._filters(listing),
            count=figure(len(found), AT_ONCE),
            any_found=bool(found),
            is_bounded=len(found) > AT_ONCE,
            at_once=figure(AT_ONCE),
            is_windowed=self._is_windowed(listing),
            window=WINDOW,
            examples=found[:EXAMPLES],
            back_url=self._back(listing),
        )
        return TemplateResponse(request, "django_workers/admin/bulk.html", context)

    def _act(
        self,
        verb: Verb,
        request: HttpRequest,
        listing: JobChangeList,
        found: list[Job],
    ) -> HttpResponse:
        carry_out(verb, self.jobs, request, found[:AT_ONCE])
        if not found:
            text = gettext("Nothing matches any more; nothing was changed.")
            self.jobs.message_user(request, text, messages.WARNING)
        if len(found) > AT_ONCE:
            text = gettext("There are more. Do it again for the next ones.")
            self.jobs.message_user(request, text, messages.INFO)
        return HttpResponseRedirect(self._back(listing))

    def _back(self, listing: JobChangeList) -> str:
        return self.jobs.url("changelist") + listing.get_query_string()

    @staticmethod
    def _filters(listing: JobChangeList) -> list[tuple[str, Any]]:
        """What narrows the list, in words."""
        words = [(gettext("search"), listing.query)] if listing.query else []
        return words + [
            (name, value[-1] if isinstance(value, list) else value)
            for name, value in listing.get_filters_params().items()
        ]

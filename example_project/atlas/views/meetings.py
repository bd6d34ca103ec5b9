"""Plan a meeting: a view that is a coroutine, for a task that is one."""

from datetime import UTC, datetime

from asgiref.sync import sync_to_async
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods

from .. import catalogue
from ..forms import MeetingForm
from ..tasks.meetings import plan_meeting

# A template may read the session, and that the database.
arender = sync_to_async(render)


# Django has no transactions in coroutines: with ATOMIC_REQUESTS they must say so.
@transaction.non_atomic_requests
@require_http_methods(["GET", "POST"])
async def planner(request: HttpRequest) -> HttpResponse:
    """Ask for places and a day; have the best hour found."""
    if request.method == "POST":
        form = MeetingForm(request.POST)
        if form.is_valid():
            result = await plan_meeting.aenqueue(
                form.places(), form.cleaned_data["day"].isoformat()
            )
            return redirect("job", result.id)
    else:
        form = MeetingForm(initial={"day": datetime.now(UTC).date()})
    context = {"form": form, "zones": catalogue.zones()}
    status = 422 if form.errors else 200
    return await arender(request, "atlas/meeting.html", context, status=status)

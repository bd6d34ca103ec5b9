"""Addresses of the example site."""

from django.contrib import admin
from django.db import transaction
from django.templatetags.static import static
from django.urls import include, path
from django.views.generic import RedirectView

admin.site.site_header = "Atlas"
admin.site.site_title = "Atlas"
admin.site.index_title = "Administration"

icon = transaction.non_atomic_requests(
    RedirectView.as_view(url=static("atlas/icon.svg"))
)

urlpatterns = [
    # Browsers ask for it on pages that name no icon, such as the admin's.
    path("favicon.ico", icon),
    path("admin/", admin.site.urls),
    path("", include("example_project.atlas.urls")),
]

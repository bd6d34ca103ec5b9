"""Addresses of the example site."""

from django.contrib import admin
from django.urls import include, path

admin.site.site_header = "Atlas"
admin.site.site_title = "Atlas"
admin.site.index_title = "Administration"

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("example_project.atlas.urls")),
]

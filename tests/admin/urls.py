"""Two admin sites: the default one, and another under another name."""

from django.contrib import admin
from django.urls import path

from django_workers.admin import register

staff_site = admin.AdminSite(name="backstage")
register(staff_site)

urlpatterns = [
    path("admin/", admin.site.urls),
    path("backstage/", staff_site.urls),
]

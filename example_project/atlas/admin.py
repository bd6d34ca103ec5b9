"""The site's own data in the admin."""

from django.contrib import admin

from .models import HealthReport, Picture, Report, Subscription, Transition, Zone


@admin.register(Zone)
class ZoneAdmin(admin.ModelAdmin):
    """Zones, by name and country."""

    list_display = ("name", "country", "latitude", "longitude")
    search_fields = ("name", "country")


@admin.register(Transition)
class TransitionAdmin(admin.ModelAdmin):
    """Changes of clocks, newest first."""

    list_display = ("zone", "at", "shift", "abbreviation")
    list_select_related = ("zone",)
    search_fields = ("zone__name",)
    date_hierarchy = "at"
    raw_id_fields = ("zone",)


@admin.register(Subscription)
class SubscriptionAdmin(admin.ModelAdmin):
    """Who wants to know."""

    list_display = ("email", "zone", "created_at")
    raw_id_fields = ("zone",)


@admin.register(Report)
class ReportAdmin(admin.ModelAdmin):
    """Reports, written and awaited."""

    list_display = ("title", "days", "asked_at", "finished_at")


admin.site.register([HealthReport, Picture])

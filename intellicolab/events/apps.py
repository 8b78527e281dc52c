from django.apps import AppConfig


class EventsConfig(AppConfig):
    name = "intellicolab.events"
    label = "events"
    verbose_name = "Events"

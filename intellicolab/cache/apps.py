from django.apps import AppConfig


class CacheConfig(AppConfig):
    name = "intellicolab.cache"
    label = "cache"
    verbose_name = "Cache"

"""`python -m bench.clients.limit_policies JSON`: have these policies and no others; a list of their fields."""

import json
import sys

import django

if __name__ == "__main__":
    django.setup()

    from ratelimit.models import Policy

    Policy.objects.all().delete()
    for fields in json.loads(sys.argv[1]):
        Policy.objects.create(**fields)

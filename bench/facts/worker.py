"""`manage.py worker` with the group of the bench, and no other."""

import django
from django.core.management import call_command


def main() -> None:
    django.setup()
    from bench.facts.shared import GROUP

    call_command("worker", groups=GROUP, queues="none")


if __name__ == "__main__":
    main()

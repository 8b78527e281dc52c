"""Consumer groups: who handles which facts, and how."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .schema import Event

NONE = "none"  # what `manage.py worker --groups` takes for no group
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

Handler = Callable[[Any], None]
Condition = Callable[[Any], bool]
H = TypeVar("H", bound=Handler)


def always(_event: Event) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Group:
    """Each fact of its handlers' kinds is handled once by one of its consumers.

    `outside` says that the handlers do what no transaction can take back, such as sending an email. Then a consumer
    that was killed in the middle leaves a dead letter, because nobody knows whether it was done; with `repeatable` it
    is simply done again. Without `outside`, handlers write to the database only, which goes back with the transaction.
    """

    name: str
    outside: bool = False
    repeatable: bool = False
    concurrency: int = 1  # consumers a worker; with more than one, or more workers, facts may overtake each other
    batch: int = 100  # facts in one transaction
    tries: int = 8  # deliveries, those of killed consumers included; with the pauses between them half an hour
    silence: float = 60.0  # seconds after which a consumer that does not renew has been killed
    handlers: dict[tuple[str, int], list[tuple[Handler, Condition]]] = field(default_factory=dict)
    streams: set[str] = field(default_factory=set)

    def wants(self, name: str) -> bool:
        """Whether it handles some version of these events."""
        return any(known == name for known, _version in self.handlers)

    def handlers_of(self, event: Event) -> list[Handler]:
        found = self.handlers.get((event.name, event.version), [])
        return [handler for handler, where in found if where(event)]


_groups: dict[str, Group] = {}


def declare(group: Group) -> Group:
    """Make a group known that is to be unlike the default. Raises ValueError for a bad name or one that is taken."""
    if not _NAME.fullmatch(group.name) or group.name == NONE:
        raise ValueError(f"A group's name is letters, digits, - and _, 64 at most, and not {NONE!r}: {group.name!r}.")
    if group.name in _groups:
        raise ValueError(f"The group {group.name!r} is declared already; declare it before its first handler.")
    _groups[group.name] = group
    return group


def on(event: type[Event], *, group: str, where: Condition = always) -> Callable[[H], H]:
    """Have a group handle a kind of fact: `@on(UserCreated, group="audit") def note(event): ...`.

    Handlers of one group for one kind run in the order of their declaration, all or none. `where` looks at the fact
    alone, without a query; facts that no handler wants cost the database nothing. Raises ValueError for an event that
    has no stream.
    """
    if not event.stream:
        raise ValueError(f"{event.name!r} has no stream: it is for `listen`.")

    def register(handler: H) -> H:
        found = _groups.get(group) or declare(Group(group))
        found.handlers.setdefault((event.name, event.version), []).append((handler, where))
        found.streams.add(event.stream)
        return handler

    return register


def groups() -> Iterator[Group]:
    """All that are declared, by name."""
    return iter([_groups[name] for name in sorted(_groups)])


def named(names: Iterable[str]) -> list[Group]:
    """Those groups. Raises LookupError, which names the declared ones, for a name that is none of them."""
    chosen = list(names)
    if unknown := sorted(set(chosen) - _groups.keys()):
        known = ", ".join(sorted(_groups)) or "none is declared"
        raise LookupError(f"There is no group {', '.join(unknown)}. The groups: {known}.")
    return [group for group in groups() if group.name in chosen]

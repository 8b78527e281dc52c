"""Consumer groups: who handles which facts, and how."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from .schema import Event

Handler = Callable[[Any], None]
H = TypeVar("H", bound=Handler)


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
    handlers: dict[tuple[str, int], list[Handler]] = field(default_factory=dict)
    streams: set[str] = field(default_factory=set)

    def wants(self, name: str) -> bool:
        """Whether it handles some version of these events."""
        return any(known == name for known, _version in self.handlers)

    def handlers_of(self, name: str, version: int) -> list[Handler]:
        return self.handlers.get((name, version), [])


_groups: dict[str, Group] = {}


def declare(group: Group) -> Group:
    """Make a group known that is to be unlike the default. Raises ValueError when it is known already."""
    if group.name in _groups:
        raise ValueError(f"The group {group.name!r} is declared already; declare it before its first handler.")
    _groups[group.name] = group
    return group


def on(event: type[Event], *, group: str) -> Callable[[H], H]:
    """Have a group handle a kind of fact: `@on(UserCreated, group="audit") def note(event): ...`.

    Handlers of one group for one kind run in the order of their declaration, all or none. Raises ValueError for an
    event that has no stream.
    """
    if not event.stream:
        raise ValueError(f"{event.name!r} has no stream: it is for `listen`.")

    def register(handler: H) -> H:
        found = _groups.get(group) or declare(Group(group))
        found.handlers.setdefault((event.name, event.version), []).append(handler)
        found.streams.add(event.stream)
        return handler

    return register


def groups() -> Iterator[Group]:
    """All that are declared, by name."""
    return iter([_groups[name] for name in sorted(_groups)])

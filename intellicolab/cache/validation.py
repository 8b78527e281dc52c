"""What can be wrong with a declaration, in words for whoever wrote it."""

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Union

from intellicolab.redis.codec import JSON

from .immutable import is_immutable
from .strategies import Strategy
from .template import TemplateError, arguments_of, compile_template, parser

if TYPE_CHECKING:
    from .declaration import Cached

MAX_JITTER = 0.5
_NAMESPACE = re.compile(r"[a-z][a-z0-9-]*")


def parameters_of(loader: Callable[..., Any] | None) -> list[str]:
    """The names of a loader's parameters; none for what cannot be called."""
    return list(inspect.signature(loader).parameters) if callable(loader) else []


def problems_of(thing: "Cached[Any]") -> list[str]:
    """One sentence's end a problem: "it has …"."""
    return [*_numbers(thing), *_parts(thing), *_local_tier(thing), *_templates(thing)]


def _numbers(thing: "Cached[Any]") -> list[str]:
    wrong = []
    if thing.ttl <= 0:
        wrong.append("it has no time to live: give `ttl` in seconds")
    if not 0 <= thing.jitter <= MAX_JITTER:
        wrong.append(f"`jitter` must lie between 0 and {MAX_JITTER}")
    if thing.none_ttl <= 0 or thing.lease <= 0:
        wrong.append("`none_ttl` and `lease` must be above 0 seconds")
    return wrong


def _parts(thing: "Cached[Any]") -> list[str]:
    wrong = []
    if not _NAMESPACE.fullmatch(thing.namespace):
        wrong.append("its namespace must be lower-case letters, digits and hyphens")
    try:
        thing.custom_codec or JSON(Union[thing.type, None])  # noqa: UP007  a value here
    except TypeError as error:
        wrong.append(f"its type cannot be read from JSON: {error}")
    if not isinstance(thing.strategy, Strategy):
        known = ", ".join(sorted(kind.__name__ for kind in Strategy.__subclasses__()))
        return [*wrong, f"unknown strategy {thing.strategy!r}: use one of {known}"]
    return wrong + [f"{thing.strategy.name}: {problem}" for problem in thing.strategy.problems()]


def _local_tier(thing: "Cached[Any]") -> list[str]:
    if thing.local is None:
        return []
    wrong = []
    if len(thing.local) != 2 or min(thing.local) <= 0:
        wrong.append("`local` must be (entries, bytes), both above 0")
    if getattr(thing.strategy, "name", "") == "write-behind":
        wrong.append("write-behind asks its buffer first, so it cannot have a local tier")
    if getattr(thing.strategy, "beta", 0):
        wrong.append("refresh-ahead needs to see each read, so it cannot have a local tier")
    if not is_immutable(thing.type):
        wrong.append("a local tier hands one object to all, so its type must be immutable, as frozen Structs are")
    return wrong


def _templates(thing: "Cached[Any]") -> list[str]:
    if not callable(thing.loader):
        return ["it has no loader"]
    if not thing.parameters:
        return ["its loader takes no argument: give it one that tells the values apart"]
    try:
        for template in (thing.key, *thing.tag_templates):
            compile_template(template, thing.parameters)
        named = arguments_of(thing.key)
        if getattr(thing.strategy, "name", "") == "write-behind" and len(named) == len(thing.parameters):
            parser(thing.key, thing.parameters, [str] * len(named))
    except TemplateError as error:
        return [str(error)]
    ignored = [name for name in thing.parameters if name not in named]
    return [f"its key {thing.key!r} ignores the loader's argument {name!r}: values would mix" for name in ignored]

"""What can be wrong with a declaration, in words for whoever wrote it."""

import inspect
import re
from collections.abc import Sequence
from inspect import Parameter
from math import isfinite
from typing import TYPE_CHECKING, Any, Union

from intellicolab.redis.codec import JSON

from .immutable import is_immutable
from .strategies import Strategy
from .template import TemplateError, arguments_of, compile_template, parser

if TYPE_CHECKING:
    from .declaration import Cached

MAX_JITTER = 0.5
SHORTEST = 0.001  # seconds; Redis counts in milliseconds
_NAMESPACE = re.compile(r"[a-z][a-z0-9-]*")


def parameters_of(loader: Any) -> list[str]:
    """The names of a loader's parameters; none for what cannot be called."""
    return [parameter.name for parameter in _signature(loader)]


def _signature(function: Any) -> list[Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # no function, or one written in C that does not say
        return []


def problems_of(thing: "Cached[Any]") -> list[str]:
    """One sentence's end a problem: "it has …"."""
    return [*_numbers(thing), *_parts(thing), *_local_tier(thing), *_functions(thing), *_templates(thing)]


def _numbers(thing: "Cached[Any]") -> list[str]:
    wrong = []
    if not _is_time(thing.ttl):
        wrong.append("it has no time to live: give `ttl` in seconds")
    if not _is_number(thing.jitter) or not 0 <= thing.jitter <= MAX_JITTER:
        wrong.append(f"`jitter` must lie between 0 and {MAX_JITTER}")
    if not _is_time(thing.none_ttl) or not _is_time(thing.lease):
        wrong.append("`none_ttl` and `lease` must be above 0 seconds")
    return wrong


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_time(value: Any) -> bool:
    return _is_number(value) and value >= SHORTEST


def _are_bounds(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(type(bound) is int and bound > 0 for bound in value)


def _parts(thing: "Cached[Any]") -> list[str]:
    wrong = []
    if not isinstance(thing.namespace, str) or not _NAMESPACE.fullmatch(thing.namespace):
        wrong.append("its namespace must be lower-case letters, digits and hyphens")
    try:
        thing.custom_codec or JSON(Union[thing.type, None])  # noqa: UP007  a value here
    except TypeError as error:
        wrong.append(f"its type cannot be read from JSON: {error}")
    if not isinstance(thing.strategy, Strategy) or type(thing.strategy) is Strategy:
        known = ", ".join(sorted(kind.__name__ for kind in Strategy.__subclasses__()))
        return [*wrong, f"unknown strategy {thing.strategy!r}: use one of {known}"]
    if not _is_number(thing.strategy.stale) or not _is_number(thing.strategy.beta):
        return [*wrong, f"{thing.strategy.name}: `stale` and `beta` must be numbers"]
    return wrong + [f"{thing.strategy.name}: {problem}" for problem in thing.strategy.problems()]


def _local_tier(thing: "Cached[Any]") -> list[str]:
    if thing.local is None:
        return []
    wrong = []
    if not _are_bounds(thing.local):
        wrong.append("`local` must be (entries, bytes), both above 0")
    if getattr(thing.strategy, "name", "") == "write-behind":
        wrong.append("write-behind asks its buffer first, so it cannot have a local tier")
    if getattr(thing.strategy, "beta", 0):
        wrong.append("refresh-ahead needs to see each read, so it cannot have a local tier")
    if not is_immutable(thing.type):
        wrong.append("a local tier hands one object to all, so its type must be immutable, as frozen Structs are")
    return wrong


def _functions(thing: "Cached[Any]") -> list[str]:
    if not callable(thing.loader):
        return ["it has no loader"]
    if not thing.parameters:
        return ["its loader takes no argument: give it one that tells the values apart"]
    wrong = []
    if thing.many is not None and not callable(thing.many):
        wrong.append("`many` must be the function that loads several")
    if inspect.iscoroutinefunction(thing.loader) or inspect.iscoroutinefunction(thing.many):
        wrong.append("its loader is a coroutine function, and must be a plain one: it is run in a thread")
    if {each.kind for each in _signature(thing.loader)} - {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}:
        wrong.append("its loader must take each argument by its place: no *args, no **options, no keywords")
    return wrong


def _templates(thing: "Cached[Any]") -> list[str]:
    if not thing.parameters:
        return []
    templates: list[Any] = [thing.key]
    if isinstance(thing.tag_templates, list | tuple):  # of a text it would be each letter
        templates += thing.tag_templates
    else:
        templates.append(None)
    if not all(isinstance(template, str) for template in templates):
        return ["its key must be text, and its tags a list of texts"]
    try:
        for template in templates:
            compile_template(template, thing.parameters)
        named = arguments_of(thing.key)
        if getattr(thing.strategy, "name", "") == "write-behind" and len(named) == len(thing.parameters):
            parser(thing.key, thing.parameters, [str] * len(named))
    except TemplateError as error:
        return [str(error)]
    ignored = [name for name in thing.parameters if name not in named]
    return [f"its key {thing.key!r} ignores the loader's argument {name!r}: values would mix" for name in ignored]

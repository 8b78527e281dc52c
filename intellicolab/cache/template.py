"""Names made from arguments, such as "{room_id}:{user_id}": checked once against a loader, then compiled."""

import re
from collections.abc import Callable, Sequence
from string import Formatter
from typing import Any
from urllib.parse import quote, unquote

Argument = int | str

# What an argument may look like in a name (RFC 3986, section 2.3, and the percent sign): it cannot separate two.
_ARGUMENT = re.compile(r"[A-Za-z0-9_.~%-]*")


class TemplateError(ValueError):
    """A template that cannot name things; the message says why."""


def arguments_of(template: str) -> list[str]:
    """The names in braces, in order. Raises TemplateError for anything but plain names in braces."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise TemplateError(f"{template!r} is not a template: {error}") from error
    names = [name for _, name, _, _ in parts if name is not None]
    for text, name, form, conversion in parts:
        if set(text) & set("{}") or (name is not None and (not name.isidentifier() or form or conversion)):
            raise TemplateError(f"{template!r} may have only plain names in braces, such as {{user_id}}")
    return names


def compile_template(template: str, parameters: Sequence[str], before: str = "", after: str = "") -> Callable[..., str]:
    """A function from the arguments, in the parameters' order, to the name, with `before` and `after` around it.

    Text is percent-encoded: whatever an argument holds, two lists of arguments never make one name, and no argument
    can hold the braces of a cluster hash tag. Raises TemplateError for a name that is not a parameter, and for two
    arguments with nothing between them that an argument cannot hold, too.
    """
    unknown = [name for name in arguments_of(template) if name not in parameters]
    if unknown:
        raise TemplateError(f"{template!r} names {unknown[0]!r}, which the loader does not take")
    _check_separators(template)
    if len(parameters) == 1 and template == "{" + parameters[0] + "}":
        return _single(before, after)
    pieces = [(text, parameters.index(name) if name else None) for text, name, _, _ in Formatter().parse(template)]

    def name_of(*arguments: Argument) -> str:
        if len(arguments) != len(parameters):
            raise TypeError(f"{template!r} takes {len(parameters)} arguments ({', '.join(parameters)})")
        return before + "".join(t + (escape(arguments[at]) if at is not None else "") for t, at in pieces) + after

    return name_of


def _check_separators(template: str) -> None:
    """Or (1, 23) and (12, 3) would be one name for "{a}{b}", and ("x-y", "z") and ("x", "y-z") for "{a}-{b}"."""
    between = [text for text, name, _, _ in Formatter().parse(template) if name][1:]
    if any(_ARGUMENT.fullmatch(text) for text in between):
        raise TemplateError(f"{template!r} needs between its arguments what text cannot hold, such as a colon")


def _single(before: str, after: str) -> Callable[..., str]:
    def name_of(argument: Argument) -> str:
        return f"{before}{argument if type(argument) is int else escape(argument)}{after}"

    return name_of


def parser(template: str, parameters: Sequence[str], kinds: Sequence[type]) -> Callable[[str], Any]:
    """The way back, from a name to its argument, or to the tuple of them. Raises TemplateError where there is none."""
    if sorted(arguments_of(template)) != sorted(parameters):
        raise TemplateError(f"{template!r} must name each argument once, so that a name can be taken apart")
    pattern = "".join(
        re.escape(text) + (f"(?P<{name}>[^:]*)" if name else "") for text, name, _, _ in Formatter().parse(template)
    )
    if re.search(r"\*\)\(", pattern):
        raise TemplateError(f"{template!r} needs something between its arguments, such as a colon")

    def parse(name: str) -> Any:
        found = re.fullmatch(pattern, name)
        if found is None:
            raise ValueError(f"{name!r} was not made from {template!r}")
        parts = [kind(unquote(found[parameter])) for parameter, kind in zip(parameters, kinds, strict=True)]
        return parts[0] if len(parts) == 1 else tuple(parts)

    return parse


def escape(argument: Argument) -> str:
    """One argument as a part of a name. Raises TypeError for what has no one spelling, such as a float or a bool."""
    if isinstance(argument, str):
        return quote(argument, safe="", errors="surrogatepass")
    if isinstance(argument, bool) or not isinstance(argument, int):
        raise TypeError(f"A cached thing is named by numbers and text, not by {type(argument).__name__}.")
    return str(int(argument))

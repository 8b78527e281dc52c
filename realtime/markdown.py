"""Message text to HTML, once, when it is written: markdown-it-py parses, Pygments colours, nh3 sanitises.

What nh3 lets through is the whole of what a browser is ever given as markup, whatever the parser may do.
"""

from collections.abc import Sequence
from html import escape
from typing import Any

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline
from markdown_it.token import Token
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from .mentions import Named, name_at
from .models import Message

_TAGS = set(
    "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th thead tr ul".split()
)
_ATTRIBUTES = {
    "a": {"href", "title"},
    "code": {"class"},
    "ol": {"start"},
    "pre": {"class"},
    "span": {"class", "data-person"},
}
_FORMATTER = HtmlFormatter(nowrap=True, classprefix="hl-")
# Many of Pygments' lexers take quadratic time on some input: 8,000 spaces hold `autoit` up for 14 s, and everyone's
# commits with it. So only languages are coloured whose worst found input of this many characters takes 0.2 s.
_HIGHLIGHT_MAX = 2_500
_LANGUAGES = set(
    "bash c clojure console cpp css diff docker dockerfile elixir erlang go graphql haskell html http ini java "
    "javascript js json jsx kotlin lisp lua markdown md nginx perl php powershell py pycon python r rb rs ruby rust "
    "scala sh shell sql swift toml ts tsx typescript xml yaml yml".split()
)
# Rows that lack cells get them added, so a short text can ask for a huge table; a larger one is shown as text.
_CELLS_MAX = 2_000
# Characters of HTML that one message may become. A page of history holds fifty, a frame on Redis a hundred.
_HTML_MAX = 64 * 1024


def _highlight(code: str, language: str, _attributes: str) -> str:
    """A fenced block with coloured spans; an empty answer lets the parser escape the code itself."""
    if language.lower() not in _LANGUAGES or len(code) > _HIGHLIGHT_MAX:
        return ""
    return f'<pre class="code"><code>{highlight(code, get_lexer_by_name(language), _FORMATTER)}</code></pre>'


def _mention(state: StateInline, silent: bool) -> bool:
    """`@Alice` where somebody is called that; not inside code, which is parsed before."""
    named: Named = state.env.get("named", {})
    name = name_at(state.src, state.pos, named) if named and state.src[state.pos] == "@" else ""
    if not name:
        return False
    if not silent:
        token = state.push("mention", "span", 0)
        token.content = f"@{name}"
        token.meta = {"people": " ".join(map(str, named[name.lower()]))}
    state.pos += len(name) + 1
    return True


def _show_mention(_renderer: Any, tokens: Sequence[Token], index: int, _options: Any, _env: Any) -> str:
    token = tokens[index]
    return f'<span class="mention" data-person="{token.meta["people"]}">{escape(token.content)}</span>'


_OPTIONS = {"html": False, "linkify": True, "breaks": True, "highlight": _highlight}
_markdown = (
    # No images: a picture from elsewhere would tell its host who reads the room.
    MarkdownIt("commonmark", _OPTIONS).enable(["linkify", "strikethrough", "table"]).disable(["image"])
)
_without_tables = MarkdownIt("commonmark", _OPTIONS).enable(["linkify", "strikethrough"]).disable(["image"])
_plain = MarkdownIt("zero", {"linkify": True, "breaks": True}).enable(["linkify", "newline"])


for _each in (_markdown, _without_tables):
    _each.inline.ruler.push("mention", _mention)
    _each.add_render_rule("mention", _show_mention)


def render(text: str, message_format: str = Message.Format.MARKDOWN, named: Named | None = None) -> str:
    """Sanitised HTML of a message, in which `named` people are marked. Plain text keeps every character as typed and
    only gets its links.

    What is too large as HTML, or shows nothing (a lone link definition), is shown as it was typed.
    """
    html = _clean(_parser(text, message_format).render(text, {"named": named or {}}))
    if not html or len(html) > _HTML_MAX:
        html = _clean(f"<p>{escape(text).replace(chr(10), '<br>')}</p>")
    return html


def _parser(text: str, message_format: str) -> MarkdownIt:
    if message_format == Message.Format.PLAIN:
        return _plain
    lines = text.splitlines()
    columns = max((line.count("|") for line in lines), default=0) + 1
    return _markdown if columns * len(lines) <= _CELLS_MAX else _without_tables


def _clean(html: str) -> str:
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    ).strip()

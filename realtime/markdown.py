"""Message text to HTML, once, when it is written: markdown-it-py parses, Pygments colours, nh3 sanitises.

What nh3 lets through is the whole of what a browser is ever given as markup, whatever the parser may do.
"""

import nh3
from markdown_it import MarkdownIt
from pygments import highlight
from pygments.formatters.html import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.util import ClassNotFound

from .models import Message

_TAGS = set(
    "a blockquote br code del em h1 h2 h3 h4 h5 h6 hr li ol p pre s span strong table tbody td th thead tr ul".split()
)
_ATTRIBUTES = {
    "a": {"href", "title"},
    "code": {"class"},
    "ol": {"start"},
    "pre": {"class"},
    "span": {"class"},
}
_FORMATTER = HtmlFormatter(nowrap=True, classprefix="hl-")
# Colouring is for reading; a pasted log is shown as it is, so that it cannot hold up everyone's commits.
_HIGHLIGHT_MAX = 20_000


def _highlight(code: str, language: str, _attributes: str) -> str:
    """A fenced block with coloured spans; an empty answer lets the parser escape the code itself."""
    if not language or len(code) > _HIGHLIGHT_MAX:
        return ""
    try:
        lexer = get_lexer_by_name(language)
    except ClassNotFound:
        return ""
    return f'<pre class="code"><code>{highlight(code, lexer, _FORMATTER)}</code></pre>'


_OPTIONS = {"html": False, "linkify": True, "breaks": True, "highlight": _highlight}
_markdown = (
    # No images: a picture from elsewhere would tell its host who reads the room.
    MarkdownIt("commonmark", _OPTIONS).enable(["linkify", "strikethrough", "table"]).disable(["image"])
)
_plain = MarkdownIt("zero", {"linkify": True, "breaks": True}).enable(["linkify", "newline"])


def render(text: str, message_format: str = Message.Format.MARKDOWN) -> str:
    """Sanitised HTML of a message. Plain text keeps every character as typed and only gets its links."""
    parser = _plain if message_format == Message.Format.PLAIN else _markdown
    return nh3.clean(
        parser.render(text),
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
        set_tag_attribute_values={"a": {"target": "_blank"}},
    ).strip()

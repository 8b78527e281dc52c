import pytest

from realtime.markdown import render
from realtime.models import Message

PLAIN = Message.Format.PLAIN


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("hello *you*", "<p>hello <em>you</em></p>"),
        ("a < b & c", "<p>a &lt; b &amp; c</p>"),
        ("<b>bold?</b>", "<p>&lt;b&gt;bold?&lt;/b&gt;</p>"),
        ("one\ntwo", "<p>one<br>\ntwo</p>"),
        ("~~gone~~", "<p><s>gone</s></p>"),
    ],
)
def test_markdown(text, html):
    assert render(text) == html


def test_a_bare_address_becomes_a_link_that_tells_nothing_to_its_host():
    html = render("see https://example.org/a?b=1&c=2")
    assert 'href="https://example.org/a?b=1&amp;c=2"' in html
    assert 'rel="noopener noreferrer nofollow"' in html
    assert 'target="_blank"' in html


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "[x](javascript:alert(1))",
        '<img src=x onerror="alert(1)">',
        "[x](data:text/html,<script>alert(1)</script>)",
        "<svg/onload=alert(1)>",
        "`<script>`",
        '```"><script>\nx\n```',
    ],
)
def test_nothing_that_runs_gets_through(text):
    html = render(text).lower()
    assert "<script" not in html
    assert "<img" not in html
    assert "<svg" not in html
    assert 'href="javascript' not in html
    assert 'href="data' not in html


def test_pictures_from_elsewhere_are_links_not_pictures():
    assert "<img" not in render("![spy](https://example.org/pixel.gif)")


def test_code_is_coloured_with_classes_only():
    html = render("```python\nx = 1\n```")
    assert '<pre class="code"><code>' in html
    assert '<span class="hl-' in html
    assert "style=" not in html


def test_code_of_an_unknown_language_is_shown_as_it_is():
    assert "&lt;x&gt;" in render("```klingon\n<x>\n```")


@pytest.mark.parametrize(
    "text",
    ["=] :D\\-<", "*not emphasis*", "# not a heading", "a_b_c `tick`", "1. not a list", "> not a quote", "&amp;"],
)
def test_plain_text_keeps_every_character(text):
    shown = render(text, PLAIN).removeprefix("<p>").removesuffix("</p>")
    assert shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") == text


def test_plain_text_links_addresses():
    assert '<a href="http://digg.com/linux_unix"' in render("http://digg.com/linux_unix out", PLAIN)


def test_code_that_could_take_long_to_colour_is_not_coloured():
    assert "hl-" in render("```c\nint x;\n```")
    assert "hl-" not in render("```c\n" + "int x;\n" * 500 + "```")
    assert "hl-" not in render("```autoit\nLocal $x = 1\n```")


def test_a_short_text_cannot_become_a_huge_table():
    small = "| a | b |\n| --- | --- |\n| 1 | 2 |"
    assert "<table>" in render(small)
    huge = "|a" * 300 + "|\n" + "|-" * 300 + "|\n" + "a\n" * 3000
    html = render(huge)
    assert "<table>" not in html
    assert len(html) < 5 * len(huge)


def test_html_is_bounded_and_nothing_of_the_text_is_lost():
    html = render("http://a.bc " * 1300)
    assert len(html) <= 64 * 1024
    assert html.count("http://a.bc") == 1300


@pytest.mark.parametrize("text", ["[a]: b", "[a]: http://b.c 'd'"])
def test_a_text_that_markdown_would_swallow_is_shown(text):
    assert text.replace("'", "&#x27;") in render(text) or text in render(text)

"""The design tokens hold what they promise, and nothing goes round them."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
STYLES = [ROOT / "intellicolab/static/intellicolab/css", ROOT / "realtime/static/realtime/css"]
# admin.css is built on the tokens of Django's own admin, in both of its colour schemes.
SHEETS = sorted(path for folder in STYLES for path in folder.glob("*.css") if path.name != "admin.css")
SCRIPTS = sorted([*ROOT.glob("intellicolab/static/**/*.js"), *ROOT.glob("realtime/static/**/*.js")])
EMAILS = ROOT / "templates/accounts/email"  # read by mail programs, which know neither our sheets nor our policy
TEMPLATES = sorted(path for path in (ROOT / "templates").rglob("*.html") if path.parent != EMAILS)

GROUNDS = ["ground", "ground-sunken", "ground-raised", "ground-hover"]
TEXT = [(text, ground) for text in ("text", "text-soft", "text-muted") for ground in GROUNDS]
TEXT += [("accent-text", ground) for ground in [*GROUNDS, "accent-soft"]]
TEXT += [(f"{kind}-text", ground) for kind in ("success", "warning", "danger") for ground in ("ground", f"{kind}-soft")]
TEXT += [("text", f"{kind}-soft") for kind in ("accent", "success", "warning", "danger")]
TEXT += [("on-accent", "accent"), ("on-accent", "accent-hover"), ("on-danger", "danger"), ("on-danger", "danger-hover")]
TEXT += [(f"on-tint-{n}", f"tint-{n}") for n in range(8)]
CODE = [f"hl-{kind}" for kind in ("comment", "keyword", "string", "number", "name", "type", "inserted", "deleted")]
TEXT += [(name, ground) for name in CODE for ground in ("ground", "ground-sunken")]
BORDERS = [("control-line", ground) for ground in ("ground", "ground-sunken", "ground-raised")]
BORDERS += [(kind, "ground") for kind in ("accent", "danger", "success", "warning")]


def declarations(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+):\s*([^;]+);", css))


def tokens(scheme: str) -> dict[str, str]:
    """Custom properties as one scheme has them: those of dark come after a media query."""
    found: dict[str, str] = {}
    for name in ("tokens.css", "code.css"):
        path = next(path for path in SHEETS if path.name == name)
        light, _, dark = path.read_text().partition("@media (prefers-color-scheme: dark)")
        found |= declarations(light)
        if scheme == "dark":
            found |= declarations(dark.partition("@media")[0])
    return found


def colour(name: str, scheme: str) -> str:
    value = tokens(scheme)[name]
    reference = re.fullmatch(r"var\(--([\w-]+)\)", value)
    return colour(reference[1], scheme) if reference else value


def luminance(value: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(value[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_aa_contrast_on_every_ground(scheme):
    poor = {
        (text, ground): round(contrast(colour(text, scheme), colour(ground, scheme)), 2)
        for text, ground in TEXT
        if contrast(colour(text, scheme), colour(ground, scheme)) < 4.5
    }
    assert poor == {}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_controls_stand_out_from_their_ground(scheme):
    poor = {
        (line, ground): round(contrast(colour(line, scheme), colour(ground, scheme)), 2)
        for line, ground in BORDERS
        if contrast(colour(line, scheme), colour(ground, scheme)) < 3
    }
    assert poor == {}


def test_components_use_only_tokens_for_colours_and_only_tokens_that_exist():
    known = set(tokens("light")) | {"viewport-height"}
    for sheet in SHEETS:
        css = re.sub(r"/\*.*?\*/", "", sheet.read_text(), flags=re.S)
        assert set(re.findall(r"var\(--([\w-]+)", css)) <= known | set(declarations(css)), sheet.name
        if sheet.name not in ("tokens.css", "code.css"):
            assert re.findall(r"#[0-9a-f]{3,8}\b|rgba?\(|hsla?\(", css) == [], sheet.name


def test_dark_has_a_colour_of_its_own_for_every_coloured_token():
    light = {name for name, value in tokens("light").items() if value.startswith("#")}
    same = {name for name in light if tokens("dark")[name] == tokens("light")[name]}
    assert same <= {"on-accent", "on-danger"}


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: path.name)
def test_templates_have_nothing_inline(template):
    html = template.read_text()
    assert not re.search(r"\sstyle=|<style|\son[a-z]+=|javascript:", html)
    assert not re.search(r"<script(?![^>]*\bsrc=)", html)


def test_every_icon_that_is_used_exists():
    icons = set(re.findall(r'<symbol id="([\w-]+)"', (STYLES[0].parent / "icons.svg").read_text()))
    used = {name for path in TEMPLATES for name in re.findall(r"icons\.svg' %}#([\w-]+)", path.read_text())}
    assert used <= icons
    assert {"open", "private", "direct"} <= icons  # the kinds of rooms


def test_only_sanitised_html_is_ever_set_as_markup():
    """Where markup is set: a message's html, which the server sanitised, and the sidebar, which the server rendered."""
    setters = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function")
    lines = [(path.name, line.strip()) for path in SCRIPTS for line in path.read_text().splitlines()]
    found = {(name, line) for name, line in lines if setters.search(line)}
    assert found == {
        ("message.js", "text.innerHTML = message.html;"),
        ("sidebar.js", "lists.innerHTML = fresh;"),
    }

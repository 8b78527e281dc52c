"""Which browser and system a User-Agent header stands for, in words for people.

Names only: browsers have frozen the versions in this header (Chrome says Windows 10 on Windows 11, Safari says
macOS 10.15 on every later one), so a version would often be wrong. Nor is it evidence of anything: whoever sends the
header chooses it. The order matters, because nearly all of them claim to be Mozilla, Safari and Chrome as well.
"""

import re

UNKNOWN = "Unknown browser"
LOOKED_AT = 512  # characters; real ones have some 200


def _compiled(*patterns: tuple[str, str]) -> list[tuple[re.Pattern[str], str]]:
    return [(re.compile(pattern), name) for pattern, name in patterns]


BROWSERS = _compiled(
    (r"\bEdg(A|iOS)?/", "Edge"),
    (r"\b(OPR|OPiOS|OPT)/", "Opera"),
    (r"\bSamsungBrowser/", "Samsung Internet"),
    (r"\bVivaldi/", "Vivaldi"),
    (r"\bYaBrowser/", "Yandex Browser"),
    (r"\bDuckDuckGo/|\bDdg/", "DuckDuckGo"),
    (r"\bFocus/|\bKlar/", "Firefox Focus"),
    (r"\b(Firefox|FxiOS)/", "Firefox"),
    (r"\b(HeadlessChrome|Chrome|CriOS|Chromium)/", "Chrome"),
    (r"\bVersion/[\d.]+ .*\bSafari/", "Safari"),
    (r"^curl/", "curl"),
    (r"^python-|^Python/", "Python"),
)
SYSTEMS = _compiled(
    (r"\biPhone\b", "iPhone"),
    (r"\biPad\b", "iPad"),
    (r"\bAndroid\b", "Android"),
    (r"\bCrOS\b", "ChromeOS"),
    (r"\bWindows\b", "Windows"),
    (r"\bMac OS X\b|\bMacintosh\b", "macOS"),
    (r"\bLinux\b|\bX11\b", "Linux"),
)


def described(user_agent: str) -> str:
    """Such as "Firefox on Linux"; what of it is not recognised is left out, and all unknown is "Unknown browser"."""
    text = user_agent[:LOOKED_AT]
    browser, system = _first(BROWSERS, text), _first(SYSTEMS, text)
    return f"{browser or UNKNOWN} on {system}" if system else browser or UNKNOWN


def _first(patterns: list[tuple[re.Pattern[str], str]], text: str) -> str:
    return next((name for pattern, name in patterns if pattern.search(text)), "")

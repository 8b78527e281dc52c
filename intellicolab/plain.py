"""Text of others for administrators to read: what cannot be seen in it, or turns what follows around, as its code."""

import unicodedata

_KEPT = "\n\t\u200c\u200d"  # the joiners of emoji and of several scripts
# Controls, formats such as the bidirectional overrides with which one text can be made to look like another, halves of
# surrogate pairs, which no page can be encoded with, and the line ends of Unicode.
_CODED = ("Cc", "Cf", "Cs", "Zl", "Zp")


def plain(text: str) -> str:
    """As it is where all of it can be seen, else with escapes as Python has them."""
    return text if text.isprintable() else "".join(map(_shown, text))


def _shown(char: str) -> str:
    coded = char not in _KEPT and unicodedata.category(char) in _CODED
    return char.encode("unicode_escape").decode() if coded else char

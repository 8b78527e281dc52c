"""Names as people write them, made safe to show, and the initials that stand for them."""

import unicodedata

from django.core.exceptions import ValidationError

# Categories that a name must not carry: controls, and format characters such as the bidirectional overrides with which
# one name can be made to look like another. The joiner of emoji and of several scripts stays.
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn")
_JOINERS = "\u200c\u200d"


def clean_name(name: str) -> str:
    """The name in Unicode NFC, without hidden characters or needless blanks. Raises ValidationError if none is left."""
    visible = (
        " " if char.isspace() else char
        for char in unicodedata.normalize("NFC", name)
        if char.isspace() or char in _JOINERS or unicodedata.category(char) not in _HIDDEN
    )
    cleaned = " ".join("".join(visible).split())
    if not cleaned.strip(_JOINERS):
        raise ValidationError("Enter a name that others can read.")
    return cleaned


def initials(name: str) -> str:
    """Of the first and the last word, letters and digits before anything else: "Ada King Lovelace" is "AL"."""
    words = [word for word in name.split() if any(char.isalnum() for char in word)]
    if not words:
        return name[:1] or "?"
    chosen = [words[0], words[-1]] if len(words) > 1 else words[:1]
    return "".join(next(char for char in word if char.isalnum()) for word in chosen).upper()

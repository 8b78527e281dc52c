"""Mail as files in EMAIL_FILE_PATH, one an email, for installations that send none."""

import hashlib
import os
import re
import tempfile
from collections.abc import Sequence
from email.message import Message
from pathlib import Path

from django.conf import settings
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from intellicolab.durable import sync

LONGEST = 100  # characters of a name that is taken as it is


class EmailBackend(BaseEmailBackend):
    """An email lies in a file that is named for its Message-ID: the same one sent again is the same file.

    A file is there whole or not at all, and only its owner may read it: links in it let people in.
    """

    def __init__(self, fail_silently: bool = False, file_path: str | None = None, **kwargs: object) -> None:
        super().__init__(fail_silently=fail_silently)
        self._folder = Path(file_path or settings.EMAIL_FILE_PATH)

    def send_messages(self, email_messages: Sequence[EmailMessage]) -> int:
        """How many were written. Raises OSError, unless it is to fail silently."""
        written = 0
        for each in email_messages:
            message = each.message()
            try:
                self._write(name_of(message), message.as_bytes())
                written += 1
            except OSError:
                if not self.fail_silently:
                    raise
        return written

    def _write(self, name: str, content: bytes) -> None:
        target = self._folder / name
        if target.exists():  # sent before by who was killed before it could note that; it stays what it was
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._folder, prefix=".", suffix=".part", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.replace(file.name, target)
            except BaseException:
                os.unlink(file.name)
                raise
        sync(self._folder)  # the name of a file that is noted as sent


def name_of(message: Message) -> str:
    """A file's name from what stands before the @ of the Message-ID: our own choose it, others' is random."""
    local = str(message["Message-ID"]).strip("<>").partition("@")[0]
    if len(local) > LONGEST or not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*", local):
        local = hashlib.sha256(local.encode(errors="surrogateescape")).hexdigest()
    return f"{local}.eml"

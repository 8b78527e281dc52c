"""Mail by SMTP, with answers that a sender can act upon: not sent, never to be sent, or nobody knows."""

import contextlib
import smtplib
from typing import Any

from django.core.mail import EmailMessage
from django.core.mail.backends import smtp


class MailRefused(smtplib.SMTPException):
    """The server has said that it will never take this email (RFC 5321, section 4.2.1: an answer of 500 to 599)."""


class DeliveryUnknown(smtplib.SMTPException):
    """The connection broke after the text had begun: the server may have the email, or not."""


class _Session:
    """What is added to either of smtplib's."""

    def data(self, msg: Any) -> tuple[int, bytes]:
        """From here on a break says nothing about what the server has; before it, that it has nothing."""
        try:
            answer: tuple[int, bytes] = super().data(msg)  # type: ignore[misc]
        except smtplib.SMTPDataError:  # an answer
            raise
        except OSError as error:
            raise DeliveryUnknown(f"The connection broke while the text was sent: {error}") from error
        return answer


class _Plain(_Session, smtplib.SMTP):
    pass


class _Encrypted(_Session, smtplib.SMTP_SSL):
    pass


class EmailBackend(smtp.EmailBackend):
    """Django's. Any exception but DeliveryUnknown says that the email was not sent; MailRefused, that it never will be.

    With several recipients the answer of the server to one may be lost among the others': for emails to one.
    """

    @property
    def connection_class(self) -> type[smtplib.SMTP]:
        return _Encrypted if self.use_ssl else _Plain

    def _send(self, email_message: EmailMessage) -> bool:
        try:
            return super()._send(email_message)  # type: ignore[misc]
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPDataError) as error:
            if not _is_final(error):
                raise
            raise MailRefused(str(error)) from error

    def _close_connection(self, connection: smtplib.SMTP) -> None:
        """Whatever is wrong with the farewell, what was taken is taken: raised, it would be sent again."""
        with contextlib.suppress(OSError):
            super()._close_connection(connection)  # type: ignore[misc]
        connection.close()


def _is_final(error: smtplib.SMTPRecipientsRefused | smtplib.SMTPDataError) -> bool:
    """A refused sender or password is none: these are ours, and the operator will mend them."""
    if isinstance(error, smtplib.SMTPDataError):
        return error.smtp_code >= 500
    return all(code >= 500 for code, _text in error.recipients.values())

"""Mail over the plant's own server, encrypted unless the server is this machine."""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Sequence
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import make_msgid
from typing import Any

from django.template.loader import render_to_string
from django.utils import timezone, translation
from django.utils.translation import gettext, ngettext

from millwright.accounts.language import language_of
from millwright.settings import get_settings

from .models import Notice

TIMEOUT_S = 20.0


class MailError(Exception):
    """It could not be sent. `final`: the server will never take it."""

    def __init__(self, text: str, *, final: bool = False) -> None:
        super().__init__(text)
        self.final = final


def compose(user: Any, notices: Sequence[Notice]) -> EmailMessage:
    """One message for what a person is to know, in his own language, with times of the plant's zone.

    Raises:
        MailError: the person's address is none.
    """
    settings = get_settings()
    mail = EmailMessage()
    with translation.override(language_of(user)), timezone.override(settings.time_zone):
        subject = notices[0].text
        if len(notices) > 1:
            subject = ngettext("%(n)s message", "%(n)s messages", len(notices)) % {
                "n": len(notices)
            }
        mail["Subject"] = f"Millwright: {' '.join(subject.split())}"[:200]
        mail["From"] = settings.mail_from
        try:
            mail["To"] = Address(
                display_name=" ".join(str(user).split()), addr_spec=user.email.strip()
            )
        except (ValueError, IndexError):
            raise MailError(gettext("this is no e-mail address"), final=True) from None
        mail["Message-ID"] = make_msgid(domain=settings.mail_from.rpartition("@")[2])
        mail["Auto-Submitted"] = "auto-generated"
        mail.set_content(
            render_to_string(
                "notifications/mail.txt",
                {
                    "notices": notices,
                    "url": settings.public_url,
                    "user": user,
                    "zone": settings.time_zone,
                },
            )
        )
    return mail


def _connect() -> smtplib.SMTP:
    settings = get_settings()
    context = ssl.create_default_context(cafile=settings.ca_file or None)
    if settings.smtp_security == "tls":
        return smtplib.SMTP_SSL(
            settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_S, context=context
        )
    server = smtplib.SMTP(settings.smtp_host, settings.smtp_port, timeout=TIMEOUT_S)
    if settings.smtp_security == "starttls":
        try:
            server.starttls(context=context)
        except BaseException:
            server.close()
            raise
    return server


def send(mail: EmailMessage) -> str:
    """Hand it to the server.

    Raises:
        MailError: it did not take it, with what it said.
    """
    settings = get_settings()
    try:
        with _connect() as server:
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.secret("smtp.password"))
            server.send_message(mail)
    except smtplib.SMTPRecipientsRefused as error:
        code, text = next(iter(error.recipients.values()))
        raise MailError(
            f"{code} {text.decode(errors='replace')}"[:280], final=code >= 500
        ) from None
    except (OSError, smtplib.SMTPException) as error:
        raise MailError(f"{type(error).__name__}: {error}"[:280]) from None
    return "250"

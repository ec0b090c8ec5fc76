"""E-mail over the installation's own SMTP server."""

import smtplib
import ssl
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any

from notifications.channels.answer import DeliveryAnswer, shorten

SECONDS = 15.0


def build_mail(message: Mapping[str, Any]) -> EmailMessage:
    """Return the mail. Its Message-ID is the same in each attempt."""
    mail = EmailMessage()
    mail["From"], mail["To"] = message["server"]["sender"], message["address"]
    mail["Subject"] = message["title"]
    mail["Message-ID"] = f"<{message['id']}@oroboros.invalid>"
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office replies
    mail.set_content(message["text"])
    return mail


def deliver(message: Mapping[str, Any]) -> DeliveryAnswer:
    """Send the mail once. Raises OSError if there is no answer."""
    server, mail = message["server"], build_mail(message)
    try:
        with _connect(server) as smtp:
            if server["user"]:
                smtp.login(server["user"], server["password"])
            smtp.send_message(mail)
    except smtplib.SMTPRecipientsRefused as refused:
        code, text = next(iter(refused.recipients.values()))
        return _refuse(code, text)
    except smtplib.SMTPResponseException as refused:
        return _refuse(refused.smtp_code, refused.smtp_error)
    except smtplib.SMTPException as failed:
        return DeliveryAnswer(shorten(f"The mail server did not take it: {failed}"))
    return DeliveryAnswer("The mail server has taken it.", is_delivered=True)


def _connect(server: Mapping[str, Any]) -> smtplib.SMTP:
    context = ssl.create_default_context()
    if server["security"] == "tls":
        return smtplib.SMTP_SSL(server["host"], server["port"], timeout=SECONDS, context=context)
    smtp = smtplib.SMTP(server["host"], server["port"], timeout=SECONDS)
    if server["security"] == "starttls":
        smtp.starttls(context=context)
    return smtp


def _refuse(code: int, text: bytes | str) -> DeliveryAnswer:
    said = text.decode(errors="replace") if isinstance(text, bytes) else text
    # 535: a wrong password, which an operator corrects.
    return DeliveryAnswer(shorten(f"{code} {said}"), is_permanent=500 <= code != 535)

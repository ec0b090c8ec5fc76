"""Messages of a branch are untrusted: whatever they have, what is read of them is text."""

from email.message import EmailMessage

import pytest

from runs.mail import messages, parsing


def test_a_message_has_its_text_html_attachments_and_blind_recipients():
    message = EmailMessage()
    message["From"], message["To"] = "Shop <shop@example.com>", "a@example.com"
    message["Subject"] = "Bestätigung"
    message.set_content("Hello")
    message.add_alternative("<b>Hello</b>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="r/e.pdf")
    envelope = messages.build_envelope("shop@example.com", ["a@example.com", "blind@example.com"])
    mail = parsing.parse_mail(envelope + message.as_bytes())
    assert (mail.sender, mail.subject) == ("Shop <shop@example.com>", "Bestätigung")
    assert mail.recipients == ("a@example.com", "blind@example.com")
    assert (mail.text.strip(), mail.html.strip()) == ("Hello", "<b>Hello</b>")
    [attachment] = mail.attachments
    assert (attachment.name, attachment.content) == ("r_e.pdf", b"%PDF")


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\0",
        b"Subject: =?x-none?b?/////w==?=\r\nContent-Type: text/plain; charset=none\r\n\r\nbody",
        b"Content-Type: multipart/mixed\r\n\r\nno boundary",
        b"Content-Transfer-Encoding: base64\r\n\r\n!!!",
        b"Content-Disposition: attachment; filename*=x''%ff; filename=\"\r\n\r\nbody",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
        + b"--a\r\nContent-Type: multipart/mixed; boundary=a\r\n\r\n" * 5000,
        b"Content-Type: message/rfc822\r\n\r\n" * 5000,
    ],
    ids=range(8),
)
def test_a_message_that_breaks_the_rules_is_read_all_the_same(raw):
    mail = parsing.parse_mail(raw)
    assert isinstance(mail.text, str)
    assert isinstance(parsing.parse_head(raw).subject, str)


def test_a_line_feed_in_the_envelope_makes_no_header_field():
    envelope = messages.build_envelope("a\r\nSubject: forged", ["b\nBcc: c"])
    assert envelope.count(b"\r\n") == 3

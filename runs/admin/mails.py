"""A message on a page of its own: its text, its HTML in a frame, its attachments as downloads."""

from django.http import Http404, HttpResponse
from django.utils.http import content_disposition_header

from host.errors import Refused
from runs.mail import messages
from runs.mail.parsing import Mail
from runs.models import Artifact, Run

LISTED = 50  # on the run's page; the API has all
# The HTML comes from a branch. In the frame no script of it runs, it loads nothing from anywhere,
# and it has no origin: neither cookies nor requests of the person who reads it.
FRAME_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"
)
DOWNLOAD_POLICY = "sandbox; default-src 'none'"


def list_mails(run: Run) -> list[tuple[Artifact, Mail]]:
    """Return the newest messages of the run's commit with their heads, the newest first."""
    found = messages.list_messages(run).filter(generation=run.generation).order_by("-pk")[:LISTED]
    mails = []
    for artifact in found:
        try:
            mails.append((artifact, messages.read_head(artifact)))
        except Refused:  # retention has just removed the file
            continue
    return mails


def find_mail(run: Run, pk: int) -> tuple[Artifact, Mail]:
    """Return a message of the run. Raises Http404."""
    artifact = messages.list_messages(run).filter(pk=pk).first()
    if artifact is None:
        raise Http404
    try:
        return artifact, messages.read_mail(artifact)
    except Refused:
        raise Http404 from None


def render_html(mail: Mail) -> HttpResponse:
    """Return the HTML for a frame of our own page only."""
    response = HttpResponse(mail.html, content_type="text/html; charset=utf-8")
    response.headers["Content-Security-Policy"] = FRAME_POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["X-Frame-Options"] = "SAMEORIGIN"
    return response


def download_attachment(mail: Mail, number: int) -> HttpResponse:
    """Return the attachment as a download that no browser renders. Raises Http404."""
    if number >= len(mail.attachments):
        raise Http404
    attachment = mail.attachments[number]
    response = HttpResponse(attachment.content, content_type="application/octet-stream")
    disposition = content_disposition_header(True, attachment.name)
    response.headers["Content-Disposition"] = disposition or "attachment"
    response.headers["Content-Security-Policy"] = DOWNLOAD_POLICY
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response

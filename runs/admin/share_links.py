"""Share links: created on the run's page, listed there and on a page of their own, revoked."""

from collections.abc import Mapping
from typing import Any

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from unfold.decorators import display

from core.clock import ClockTimestamp
from runs import presenters
from runs.models import Run, ShareLink
from runs.protection.share_links import HOURS, MAX_HOURS, create_share_link
from web.admin_actions import ActionResult, AdminAction, ReadOnlyAdmin, offer_if
from web.permissions import HOLD, ActionState, get_actor_name
from web.visible_answers import LINE, TEXT

STATE_COLOURS = {"valid": "success", "expired": "danger", "revoked": "danger"}


class ShareForm(forms.Form):
    """For how long and for whom the link is."""

    hours = forms.IntegerField(
        label="Expires after hours", initial=HOURS, min_value=1, max_value=MAX_HOURS
    )
    note = forms.CharField(
        max_length=100,
        required=False,
        label="For whom (optional)",
        validators=[TEXT, LINE],
        help_text="Shown in the list of links.",
    )


def _share(request: HttpRequest, run: Run, data: Mapping[str, Any]) -> ActionResult:
    name = get_actor_name(request)
    _, url = create_share_link(run, by=name, hours=data["hours"], note=data["note"])
    return ActionResult(f"Copy the link now, it is not shown again: {url}")


def _decide_share(request: HttpRequest, run: Run) -> ActionState:
    has_preview = presenters.get_frontend_url(run) is not None
    return offer_if(
        settings.OROBOROS.is_protected and has_preview, "There is no protected preview to share."
    )


SHARE = AdminAction(
    "share",
    "Share",
    HOLD,
    "A link shows this run's preview, and nothing else, to people without an account. It is shown "
    "once, and can be revoked.",
    _share,
    ShareForm,
    decide=_decide_share,
)


def list_share_links(run: Run) -> list[tuple[ShareLink, str]]:
    """Return the run's share links with their states, newest first."""
    links = ShareLink.objects.filter(run=run).annotate(read_at=ClockTimestamp())
    return [(link, describe_state(link)) for link in links[:20]]


def describe_state(link: Any) -> str:
    """Return whether the link opens the preview; `read_at` is the database's time."""
    if link.revoked_at is not None:
        return "revoked"
    return "valid" if link.expires_at > link.read_at else "expired"


def _revoke(request: HttpRequest, link: ShareLink, data: Mapping[str, Any]) -> ActionResult:
    is_new = link.revoke(by=get_actor_name(request))
    text = f"You revoked {link}." if is_new else f"{link} was already revoked."
    return ActionResult(text, reverse("admin:runs_run_change", args=[link.run_id]))


@admin.register(ShareLink)
class ShareLinkAdmin(ReadOnlyAdmin):
    list_display = [
        "link",
        "run",
        "note",
        "state",
        "created_by",
        "expires_at",
        "last_used_at",
    ]
    fields = ["run", "note", "state", "created_by", "created_at", "expires_at", "last_used_at",
              "revoked_at", "revoked_by"]  # fmt: skip
    readonly_fields = ["state"]
    list_select_related = ["run"]
    page_actions = (
        AdminAction(
            "revoke",
            "Revoke",
            HOLD,
            "Who uses this link is refused from now on, also who opened it before.",
            _revoke,
            is_dangerous=True,
            decide=lambda request, link: offer_if(
                link.revoked_at is None, f"{link} is revoked already."
            ),
        ),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ShareLink]:
        return super().get_queryset(request).annotate(read_at=ClockTimestamp())

    @display(description="Link")
    def link(self, link):
        return str(link)

    @display(description="State", label=STATE_COLOURS)
    def state(self, link):
        return describe_state(link)

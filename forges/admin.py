"""The admin pages of deliveries and pull requests, and what operators do to them."""

import json
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.admin import ModelAdmin
from unfold.decorators import display

from forges.deliveries import parse_body
from forges.models import Delivery, LinkedAccount, OutgoingMessage, PullRequest
from forges.reporting.announcements import COMMENT
from forges.rules import DeliveryDecision, Effect
from host.errors import Refused
from host.visible_text import make_visible
from web.admin_actions import (
    ActionResult,
    AdminAction,
    ReadOnlyAdmin,
    make_send_again,
    offer_if,
)
from web.permissions import OPERATE, ActionState, get_actor_name
from web.templatetags.presentation import CHIP_TYPES, first_line, render_chip

PAYLOAD_LENGTH = 50_000


def _deliver_again(
    request: HttpRequest, delivery: Delivery, fields: Mapping[str, Any]
) -> ActionResult:
    if not delivery.repeat():
        raise Refused("already_queued", "It waits for its decision already.")
    return ActionResult("The delivery is decided again within seconds.")


DELIVER_AGAIN = AdminAction(
    "deliver-again",
    "Deliver again",
    OPERATE,
    "The stored delivery is decided again, as the pull request and the settings are now.",
    _deliver_again,
    is_bulk=True,
    decide=lambda request, delivery: offer_if(
        delivery.decision != DeliveryDecision.QUEUED or delivery.due_at is not None,
        "It waits for its decision already.",
    ),
)


class AllowForm(forms.Form):
    """The commit that the operator has looked at."""

    head_sha = forms.CharField(max_length=64, label="Commit")


def _allow(request: HttpRequest, row: PullRequest, fields: Mapping[str, Any]) -> ActionResult:
    if not row.allow(fields["head_sha"].strip(), by=get_actor_name(request)):
        detail = f"The pull request is at {row.head_sha} now: look at that commit first."
        raise Refused("commit_moved", detail)
    return ActionResult(
        f"The commit {row.head_sha[:12]} is allowed; its run starts within seconds."
    )


def _decide_allow(request: HttpRequest, row: PullRequest) -> ActionState:
    return offer_if(row.effect == Effect.HOLD, "It waits for no operator.")


ALLOW = AdminAction(
    "allow",
    "Allow this commit",
    OPERATE,
    "The commit's code is installed, built and run on this host, as that of a colleague is. Read "
    "what it changes first. A later commit must be allowed again.",
    _allow,
    AllowForm,
    is_dangerous=True,
    decide=_decide_allow,
    get_query=lambda row: {"head_sha": row.head_sha},
)


@admin.register(Delivery)
class DeliveryAdmin(ReadOnlyAdmin):
    list_display = ["received_at", "event", "state", "summary", "pull_request", "run_link"]
    list_filter = ["decision", "event"]
    list_select_related = ["pull_request"]
    search_fields = ["delivery_id", "reason"]
    fields = [
        "delivery_id", "event", "decision", "reason", "pull_request", "run_link", "received_at",
        "decided_at", "due_at", "repeats", "headers", "payload",
    ]  # fmt: skip
    readonly_fields = ["run_link", "payload"]
    page_actions = (DELIVER_AGAIN,)

    def get_queryset(self, request):
        return super().get_queryset(request).defer("body")

    @display(description="Decision", ordering="decision", label=CHIP_TYPES)
    def state(self, delivery):
        return delivery.decision, delivery.get_decision_display()

    @admin.display(description="Reason")
    def summary(self, delivery):
        return first_line(delivery.reason)

    @admin.display(description="Run")
    def run_link(self, delivery):
        return link_run(delivery.run_id)

    @admin.display(description="Body")
    def payload(self, delivery):
        try:
            # Gitea before 1.14 sent the webhook's secret in it.
            value = {key: one for key, one in parse_body(delivery).items() if key != "secret"}
        except Refused as refused:
            return refused.detail
        text = make_visible(json.dumps(value, indent=2, ensure_ascii=False))
        return format_html('<pre class="oro-log" tabindex="0">{}</pre>', text[:PAYLOAD_LENGTH])


@admin.register(PullRequest)
class PullRequestAdmin(ReadOnlyAdmin):
    list_display = ["number", "title", "author", "state", "head", "reason", "run_link"]
    list_filter = ["state", "effect", "is_fork"]
    search_fields = ["title", "head_branch", "author"]
    fields = [
        "number", "title", "link", "author", "has_access", "is_fork", "is_draft", "state",
        "label_list", "head_branch", "head_sha", "base_branch", "effect", "reason", "run_link",
        "allowed_sha", "allowed_by", "described_at",
    ]  # fmt: skip
    readonly_fields = ["link", "run_link", "label_list"]
    page_actions = (ALLOW,)

    @admin.display(description="Labels")
    def label_list(self, row):
        return ", ".join(row.labels) or "–"

    @admin.display(description="Head")
    def head(self, row):
        return f"{row.head_branch} {row.head_sha[:12]}"

    @admin.display(description="On the forge")
    def link(self, row):
        if not row.url.startswith(("https://", "http://")):
            return "–"
        return format_html('<a href="{}">{}</a>', row.url, row.url)

    @admin.display(description="Run")
    def run_link(self, row):
        return link_run(row.run_id)


@admin.register(OutgoingMessage)
class OutgoingMessageAdmin(ReadOnlyAdmin):
    list_display = ["pull_request", "target_name", "text", "state_label", "error", "due_at"]
    list_filter = ["is_waiting"]
    list_select_related = ["pull_request"]
    fields = [
        "pull_request", "target", "state_label", "text", "wanted_at", "delivered_at", "failures",
        "error", "due_at", "given_up_at",
    ]  # fmt: skip
    readonly_fields = ["state_label", "text"]
    page_actions = (make_send_again("The forge"),)

    @display(description="State")
    def state_label(self, message):
        return render_chip(message.state, message.state.capitalize())

    @admin.display(description="Text")
    def text(self, message):
        if message.target == COMMENT:  # its first line is the marker
            return first_line(message.wanted["text"].partition("\n")[2].strip())
        return f"{message.wanted['state']}: {message.wanted['text']}"


@admin.register(LinkedAccount)
class LinkedAccountAdmin(ModelAdmin):
    """Accounts of the forge and the people whose they are; only superusers link them."""

    list_display = ["login", "forge", "user"]
    list_select_related = ["user"]


def link_run(run_id):
    """Return a link to the run's page; a dash without a run."""
    if run_id is None:
        return "–"
    return format_html(
        '<a href="{}">{}</a>', reverse("admin:runs_run_change", args=[run_id]), str(run_id)[:8]
    )

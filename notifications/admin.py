"""The admin's pages of targets, of what they were sent, and what people do to them."""

import json
from collections.abc import Mapping
from typing import Any, cast

from django.conf import settings
from django.contrib import admin
from django.contrib.auth.models import User
from django.db.models import OuterRef, Q, QuerySet, Subquery
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from unfold.decorators import display

from host.errors import Refused
from host.visible_text import make_visible
from notifications import targets
from notifications.forms import (
    ChangeForm,
    NewMailForm,
    NewServiceForm,
    NewWebhookForm,
    fill_in,
)
from notifications.models import Notification, Target
from notifications.notification_settings import NO_MAIL, has_mail_server
from notifications.rules import NotificationEvent, TargetKind
from web.admin_actions import (
    ActionResult,
    AdminAction,
    ReadOnlyAdmin,
    make_send_again,
    offer_if,
)
from web.permissions import (
    ALLOWED,
    OPERATE,
    VIEW,
    ActionState,
    get_actor_name,
    has_ability,
)
from web.templatetags.presentation import first_line, render_chip

NOT_YOURS = "Only an operator, or the person whose notices these are, may do this."


def may_change(request: HttpRequest, target: Target) -> bool:
    """Return whether the user may change the target: an operator, or the person it belongs to."""
    return has_ability(request, OPERATE) or (
        target.owner_id is not None and target.owner_id == request.user.pk
    )


def _decide(request: HttpRequest, target: Target) -> ActionState:
    return ALLOWED if may_change(request, target) else ActionState(False, NOT_YOURS, is_hidden=True)


def _require(is_allowed: bool, detail: str) -> None:
    """Raise Refused `forbidden` (403) unless it is allowed."""
    if not is_allowed:
        raise Refused("forbidden", detail, status=403)


def _list_url() -> str:
    return reverse("admin:notifications_target_changelist")


def _add(request: HttpRequest, kind: str, fields: Mapping[str, Any]) -> Target:
    values = {name: value for name, value in fields.items() if name != "name"}
    return targets.add_target(fields["name"], kind, actor=get_actor_name(request), **values)


def _add_webhook(request: HttpRequest, row: None, fields: Mapping[str, Any]) -> ActionResult:
    secret = _add(request, TargetKind.WEBHOOK, fields).secret
    return ActionResult(f"Copy the secret now, it is not shown again: {secret}", _list_url())


def _add_service(request: HttpRequest, row: None, fields: Mapping[str, Any]) -> ActionResult:
    target = _add(request, TargetKind.SERVICE, fields)
    return ActionResult(f"{target} is told from now on: send it a test.", _list_url())


def _add_mail(request: HttpRequest, row: None, fields: Mapping[str, Any]) -> ActionResult:
    state = _decide_mail(request, None)
    _require(state.allowed, state.reason)
    user = cast("User", request.user)  # the admin's pages need a login
    name = f"E-mail to {user.get_username()}"
    targets.add_target(name, TargetKind.EMAIL, actor=user.get_username(), owner=user, **fields)
    return ActionResult("You get e-mail from now on: send yourself a test.", _list_url())


def _decide_mail(request: HttpRequest, row: None) -> ActionState:
    if Target.objects.filter(owner=request.user.pk).exists():
        return ActionState(False, "You have e-mail notices: open them in the list.", is_hidden=True)
    return ALLOWED if has_mail_server(settings.OROBOROS) else ActionState(False, NO_MAIL)


def _change(request: HttpRequest, target: Target, fields: Mapping[str, Any]) -> ActionResult:
    _require(may_change(request, target), NOT_YOURS)
    targets.change_target(target, **fields)
    return ActionResult(f"{target} is changed.")


def _test(request: HttpRequest, target: Target, fields: Mapping[str, Any]) -> ActionResult:
    _require(may_change(request, target), NOT_YOURS)
    sent = targets.send_test(settings.OROBOROS, target, actor=get_actor_name(request))
    url = reverse("admin:notifications_notification_change", args=[sent.pk])
    return ActionResult("It is sent within a second: reload this page for the answer.", url)


def _rotate(request: HttpRequest, target: Target, fields: Mapping[str, Any]) -> ActionResult:
    secret = targets.rotate_secret(target)
    return ActionResult(f"Copy the secret now, it is not shown again: {secret}")


def _switch(request: HttpRequest, target: Target, fields: Mapping[str, Any]) -> ActionResult:
    _require(may_change(request, target), NOT_YOURS)
    if target.is_enabled:
        target.disable(f"{get_actor_name(request)} switched it off.")
        return ActionResult(f"{target} is told nothing any more.")
    targets.enable_target(target)
    return ActionResult(f"{target} is told what happens from now on.")


def _delete(request: HttpRequest, target: Target, fields: Mapping[str, Any]) -> ActionResult:
    _require(may_change(request, target), NOT_YOURS)
    target.delete()
    return ActionResult(f"{target} is deleted.", _list_url())


TARGET_ACTIONS = (
    AdminAction(
        "new-webhook", "New webhook", OPERATE,
        "A program gets each notification as JSON, signed after Standard Webhooks.",
        _add_webhook, NewWebhookForm, is_for_row=False, is_primary=True,
    ),
    AdminAction(
        "new-service", "New chat or push service", OPERATE,
        "A chat room or a phone gets each notification as text.",
        _add_service, NewServiceForm, is_for_row=False,
    ),
    AdminAction(
        "new-mail", "Get e-mail", VIEW,
        "You get the notifications that you choose by e-mail.",
        _add_mail, NewMailForm, is_for_row=False, decide=_decide_mail,
    ),
    AdminAction(
        "test", "Send a test", VIEW, "The target is sent a notification that says it is a test.",
        _test, decide=_decide, is_primary=True,
    ),
    AdminAction(
        "edit", "Change", VIEW, "What the target is told of, and where it is.",
        _change, ChangeForm, fill_in, decide=_decide,
    ),
    AdminAction(
        "rotate", "New secret", OPERATE,
        "Messages are signed with a new secret from now on; the receiver must know it.",
        _rotate,
        decide=lambda request, row: offer_if(row.kind == TargetKind.WEBHOOK, "It has no secret."),
    ),
    AdminAction(
        "switch", "Switch on or off", VIEW,
        "A target that is off is told nothing; what happens meanwhile it is not told later either.",
        _switch, decide=_decide,
    ),
    AdminAction(
        "delete", "Delete", VIEW, "The target and what it was sent are deleted.",
        _delete, is_dangerous=True, decide=_decide,
    ),
)  # fmt: skip


@admin.register(Target)
class TargetAdmin(ReadOnlyAdmin):
    list_display = ["name", "kind_label", "public_address", "wanted", "state", "last_answer"]
    list_filter = ["kind", "is_enabled"]
    search_fields = ["name"]
    fields = [
        "name", "kind_label", "public_address", "wanted", "branch_list", "state", "disabled_reason",
        "last_answer", "created_by", "created_at",
    ]  # fmt: skip
    readonly_fields = [
        "kind_label",
        "public_address",
        "wanted",
        "branch_list",
        "state",
        "last_answer",
    ]
    page_actions = TARGET_ACTIONS

    def get_queryset(self, request: HttpRequest) -> QuerySet[Target]:
        sent = Notification.objects.filter(target=OuterRef("pk")).exclude(answer="")
        rows = super().get_queryset(request).defer("secret")
        rows = rows.annotate(latest=Subquery(sent.order_by("-pk").values("answer")[:1]))
        return rows if has_ability(request, OPERATE) else rows.filter(owner=request.user.pk)

    @admin.display(description="Kind", ordering="kind")
    def kind_label(self, target):
        return target.get_kind_display()

    @admin.display(description="Events")
    def wanted(self, target):
        labels = dict(NotificationEvent.choices)
        return ", ".join(labels.get(one, one) for one in target.events)

    @admin.display(description="Branches")
    def branch_list(self, target):
        return ", ".join(target.branches) or "all"

    @display(description="State", ordering="is_enabled")
    def state(self, target):
        return render_chip("live", "On") if target.is_enabled else render_chip("warning", "Off")

    @admin.display(description="Last answer")
    def last_answer(self, target):
        return first_line(target.latest or "–")


@admin.register(Notification)
class NotificationAdmin(ReadOnlyAdmin):
    list_display = ["wanted_at", "target", "title", "state_label", "answer_line"]
    list_filter = ["event", "is_waiting"]
    list_select_related = ["target"]
    search_fields = ["title", "text"]
    fields = [
        "title", "target", "event", "state_label", "answer", "error", "failures", "wanted_at",
        "delivered_at", "due_at", "given_up_at", "text", "message",
    ]  # fmt: skip
    readonly_fields = ["state_label", "message"]
    page_actions = (make_send_again("The target"),)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Notification]:
        rows = super().get_queryset(request)
        is_own = Q(target__owner=request.user.pk)
        return rows if has_ability(request, OPERATE) else rows.filter(is_own)

    @display(description="State")
    def state_label(self, message):
        return render_chip(message.state, message.state.capitalize())

    @admin.display(description="Last answer")
    def answer_line(self, message):
        return first_line(message.error or message.answer or "–")

    @admin.display(description="Message")
    def message(self, message):
        text = make_visible(json.dumps(message.payload, indent=2, ensure_ascii=False))
        return format_html('<pre class="oro-log" tabindex="0">{}</pre>', text)

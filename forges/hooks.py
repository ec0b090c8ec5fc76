"""POST /hooks/<forge>: a webhook of the forge is checked, stored and answered; nothing more.

The worker decides it: see `forges.deliveries`. Neither a session nor a token counts here, only the
signature, which is checked before anything is parsed.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from django.conf import settings
from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import F
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from core.clock import ClockTimestamp
from forges.adapters.known_forges import create_forge
from forges.forge_settings import require_forge_settings
from forges.models import Delivery
from forges.rules import DeliveryDecision
from host.errors import Refused
from web.errors import CODES, error_body
from web.server.request_buffer import HOOK_BODY_BYTES

ID_LENGTH, HEADER_LENGTH = 200, 300
# Stored of each delivery; the others are of proxies, or hold the secret itself.
HEADERS = ("content-type", "user-agent", "x-github-hook-id", "x-gitlab-instance")
HEADER_PREFIXES = ("x-github-event", "x-gitlab-event", "x-gitea-event", "x-forgejo-event")


@csrf_exempt
def receive_hook(request: HttpRequest, forge: str) -> JsonResponse:
    """Answer 202 {delivery_id, decision, reason} for a delivery that the forge signed."""
    try:
        if request.method != "POST":
            raise Refused("method_not_allowed", "Webhooks are sent by POST.", status=405)
        delivery, is_new = _receive(request, forge)
    except Refused as refused:
        return JsonResponse(error_body(refused.code, refused.detail), status=refused.status)
    except (OperationalError, InterfaceError):
        detail = "The database did not answer. Send it again in a moment."
        return JsonResponse(
            error_body(CODES[503], detail), status=503, headers={"Retry-After": "5"}
        )
    reason = delivery.reason if not is_new else "It is stored, and decided within seconds."
    body = {"delivery_id": delivery.delivery_id, "decision": delivery.decision, "reason": reason}
    return JsonResponse(body, status=202)


def _receive(request: HttpRequest, name: str) -> tuple[Delivery, bool]:
    """Check and store the delivery; returns it, and whether it is new. Raises Refused."""
    forge_settings = require_forge_settings(settings.OROBOROS)
    if name != forge_settings.forge:
        detail = f"FORGE is {forge_settings.forge} here: its webhooks have their own address."
        raise Refused("forge_not_set", detail, status=404)
    forge = create_forge(forge_settings)
    headers = {key.lower(): value for key, value in request.headers.items()}
    body = _read_body(request)
    if not forge.has_valid_signature(headers, body, _read_secret(forge_settings)):
        detail = (
            "The signature is wrong: compare the webhook's secret with FORGE_WEBHOOK_SECRET_FILE."
        )
        raise Refused("signature_invalid", detail, status=401)
    head = forge.read_head(headers)
    # A forge without ids, or a person with curl: the same body is the same delivery.
    delivery_id = head.delivery_id or f"sha256:{hashlib.sha256(body).hexdigest()}"
    return _store(name, delivery_id[:ID_LENGTH], head.event[:100], headers, body)


def _read_secret(forge_settings: Any) -> str:
    try:
        secret: str = forge_settings.read_webhook_secret()
    except Refused as refused:
        raise Refused(refused.code, refused.detail, status=503) from None
    return secret


def _read_body(request: HttpRequest) -> bytes:
    """Return the raw body. Raises Refused `body_too_large` (413)."""
    # Not `request.body`, which has the lower limit of forms.
    body = request.read(HOOK_BODY_BYTES + 1)
    if len(body) > HOOK_BODY_BYTES:
        detail = f"A delivery may have at most {HOOK_BODY_BYTES} bytes."
        raise Refused(CODES[413], detail, status=413)
    return body


def _store(
    forge: str, delivery_id: str, event: str, headers: Mapping[str, str], body: bytes
) -> tuple[Delivery, bool]:
    try:
        with transaction.atomic():
            delivery = Delivery.objects.create(
                forge=forge,
                delivery_id=delivery_id,
                event=event,
                headers=_select_headers(headers),
                body=body,
                received_at=ClockTimestamp(),
                decision=DeliveryDecision.QUEUED,
            )
            return delivery, True
    except IntegrityError:
        same = Delivery.objects.filter(forge=forge, delivery_id=delivery_id)
        if same.update(repeats=F("repeats") + 1) != 1:
            raise
        return same.defer("body").get(), False


def _select_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value[:HEADER_LENGTH].replace("\0", "")
        for name, value in headers.items()
        if name in HEADERS or name.startswith(HEADER_PREFIXES)
    }

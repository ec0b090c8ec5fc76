"""Where runs and slots are under /api/."""

from django.urls import path

from runs.api import artifacts, maintenance, runs, shipping, slots

RUN = "runs/<str:run_id>"
SLOT = "slots/<str:slot_id>"

urlpatterns = [
    path("runs", runs.RunList.as_view(), name="api-runs"),
    path(RUN, runs.RunDetail.as_view(), name="api-run"),
    path(f"{RUN}/events", runs.RunEvents.as_view(), name="api-run-events"),
    path(f"{RUN}/artifacts", artifacts.ArtifactList.as_view(), name="api-run-artifacts"),
    path(
        f"{RUN}/artifacts/<path:name>",
        artifacts.ArtifactContent.as_view(),
        name="api-run-artifact",
    ),
    path(f"{RUN}/diff", runs.RunDiff.as_view(), name="api-run-diff"),
    path(f"{RUN}/approve", runs.Approve.as_view(), name="api-run-approve"),
    path(f"{RUN}/reject", runs.Reject.as_view(), name="api-run-reject"),
    path(f"{RUN}/cancel", runs.Cancel.as_view(), name="api-run-cancel"),
    path(f"{RUN}/retry", runs.Retry.as_view(), name="api-run-retry"),
    path(f"{RUN}/keep", runs.Keep.as_view(), name="api-run-keep"),
    path("slots", slots.SlotList.as_view(), name="api-slots"),
    path("slots/acquire", slots.Acquire.as_view(), name="api-slots-acquire"),
    path("slots/reap-expired", slots.ReapExpired.as_view(), name="api-slots-reap-expired"),
    path(f"{SLOT}/heartbeat", slots.Heartbeat.as_view(), name="api-slot-heartbeat"),
    path(f"{SLOT}/release", slots.Release.as_view(), name="api-slot-release"),
    path(f"{SLOT}/drain", maintenance.Drain.as_view(), name="api-slot-drain"),
    path(f"{SLOT}/undrain", maintenance.Undrain.as_view(), name="api-slot-undrain"),
    path(f"{SLOT}/quarantine", maintenance.Quarantine.as_view(), name="api-slot-quarantine"),
    path(f"{SLOT}/unquarantine", maintenance.Unquarantine.as_view(), name="api-slot-unquarantine"),
    path("shipping", shipping.Shipping.as_view(), name="api-shipping"),
    path("shipping/freeze", shipping.Freeze.as_view(), name="api-shipping-freeze"),
    path("shipping/unfreeze", shipping.Unfreeze.as_view(), name="api-shipping-unfreeze"),
]

"""The addresses of runs, slots and the merge queue under /api/."""

from django.urls import path

from runs.api import artifacts, mails, maintenance, runs, shipping, slots
from runs.comments import api as comments_api
from runs.protection import api as protection_api
from runs.screenshots import api as screenshots_api

RUN = "runs/<str:run_id>"
SLOT = "slots/<str:slot_id>"

urlpatterns = [
    path("runs", runs.RunListView.as_view(), name="api-runs"),
    path(RUN, runs.RunDetailView.as_view(), name="api-run"),
    path(f"{RUN}/events", runs.RunEventsView.as_view(), name="api-run-events"),
    path(f"{RUN}/artifacts", artifacts.ArtifactListView.as_view(), name="api-run-artifacts"),
    path(
        f"{RUN}/artifacts/<path:name>",
        artifacts.ArtifactContentView.as_view(),
        name="api-run-artifact",
    ),
    path(f"{RUN}/diff", runs.RunDiffView.as_view(), name="api-run-diff"),
    path(f"{RUN}/mails", mails.MailListView.as_view(), name="api-run-mails"),
    path(
        f"{RUN}/screenshots",
        screenshots_api.ScreenshotListView.as_view(),
        name="api-run-screenshots",
    ),
    path(
        f"{RUN}/screenshots/<str:name>",
        screenshots_api.ScreenshotView.as_view(),
        name="api-run-screenshot",
    ),
    path(f"{RUN}/approve", runs.ApproveView.as_view(), name="api-run-approve"),
    path(f"{RUN}/precheck", runs.PrecheckView.as_view(), name="api-run-precheck"),
    path(f"{RUN}/reject", runs.RejectView.as_view(), name="api-run-reject"),
    path(f"{RUN}/cancel", runs.CancelView.as_view(), name="api-run-cancel"),
    path(f"{RUN}/retry", runs.RetryView.as_view(), name="api-run-retry"),
    path(f"{RUN}/keep", runs.KeepView.as_view(), name="api-run-keep"),
    path(f"{RUN}/share-links", protection_api.ShareLinkListView.as_view(), name="api-share-links"),
    path(
        f"{RUN}/share-links/<int:link_id>/revoke",
        protection_api.RevokeShareLinkView.as_view(),
        name="api-share-link-revoke",
    ),
    path(f"{RUN}/comments", comments_api.CommentListView.as_view(), name="api-comments"),
    path(
        f"{RUN}/comments/<int:comment_id>/resolve",
        comments_api.ResolveCommentView.as_view(),
        name="api-comment-resolve",
    ),
    path(
        f"{RUN}/comments/<int:comment_id>/reopen",
        comments_api.ReopenCommentView.as_view(),
        name="api-comment-reopen",
    ),
    path("slots", slots.SlotListView.as_view(), name="api-slots"),
    path("slots/acquire", slots.AcquireView.as_view(), name="api-slots-acquire"),
    path("slots/reap-expired", slots.ReapExpiredView.as_view(), name="api-slots-reap-expired"),
    path(f"{SLOT}/heartbeat", slots.HeartbeatView.as_view(), name="api-slot-heartbeat"),
    path(f"{SLOT}/release", slots.ReleaseView.as_view(), name="api-slot-release"),
    path(f"{SLOT}/restart", maintenance.RestartView.as_view(), name="api-slot-restart"),
    path(f"{SLOT}/drain", maintenance.DrainView.as_view(), name="api-slot-drain"),
    path(f"{SLOT}/undrain", maintenance.UndrainView.as_view(), name="api-slot-undrain"),
    path(f"{SLOT}/quarantine", maintenance.QuarantineView.as_view(), name="api-slot-quarantine"),
    path(
        f"{SLOT}/unquarantine", maintenance.UnquarantineView.as_view(), name="api-slot-unquarantine"
    ),
    path("shipping", shipping.MergeQueueView.as_view(), name="api-shipping"),
    path("shipping/freeze", shipping.FreezeView.as_view(), name="api-shipping-freeze"),
    path("shipping/rollback", shipping.RollbackStateView.as_view(), name="api-shipping-rollback"),
    path("shipping/revert", shipping.RevertView.as_view(), name="api-shipping-revert"),
    path("shipping/unfreeze", shipping.UnfreezeView.as_view(), name="api-shipping-unfreeze"),
    path("shipping/push", shipping.PushView.as_view(), name="api-shipping-push"),
]

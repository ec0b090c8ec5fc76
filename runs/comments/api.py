"""GET and POST /api/runs/<id>/comments: what people say about a run's changes."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runs.api.request_bodies import EmptyRequest
from runs.api.runs import find_run
from runs.comments.rules import NEW, OLD
from runs.comments.writing import MAX_LINE, TEXT_LENGTH, add_comment, find_comment
from runs.models import Comment
from web.fields import StrictCharField, StrictIntegerField
from web.permissions import HOLD, VIEW, get_actor_name
from web.serializers import StrictSerializer
from web.visible_answers import TEXT


class CommentRequest(StrictSerializer):
    """Without a path it is on the run, without a line on the file."""

    text = StrictCharField(max_length=TEXT_LENGTH, multiline=True, validators=[TEXT])
    path = StrictCharField(
        max_length=4096, default="", allow_blank=True, trim_whitespace=False, validators=[TEXT]
    )
    line = StrictIntegerField(required=False, min_value=1, max_value=MAX_LINE)
    side = serializers.ChoiceField([NEW, OLD], default=NEW)
    commit_sha = StrictCharField(
        default="", allow_blank=True, max_length=40, trim_whitespace=False, validators=[TEXT]
    )


class CommentSerializer(serializers.ModelSerializer):
    """A comment. `is_current`: on the run's present commit, not on an earlier one."""

    is_current = serializers.SerializerMethodField()
    side = serializers.ChoiceField([NEW, OLD], allow_blank=True, help_text="empty without a line")

    class Meta:
        model = Comment
        fields = [
            "id",
            "commit_sha",
            "is_current",
            "path",
            "side",
            "line",
            "quote",
            "text",
            "actor",
            "at",
            "resolved_at",
            "resolved_by",
        ]
        read_only_fields = fields

    def get_is_current(self, comment: Comment) -> bool:
        return comment.commit_sha == comment.run.commit_sha


class CommentListView(ListAPIView):
    """The comments of the run, newest first."""

    abilities = {"GET": VIEW, "POST": HOLD}
    checks_limits = True
    serializer_class = CommentSerializer

    def get_queryset(self) -> QuerySet[Comment]:
        # drf-spectacular calls this without the arguments of a URL.
        if getattr(self, "swagger_fake_view", False):
            return Comment.objects.none()
        run = find_run(self.request, self.kwargs["run_id"])
        return Comment.objects.filter(run=run).select_related("run")

    @extend_schema(request=CommentRequest, responses={201: CommentSerializer})
    def post(self, request: Request, run_id: str) -> Response:
        """Comment on the run, a file that it changes, or a line of the difference."""
        run = find_run(request, run_id)
        body = CommentRequest.parse(request)
        comment = add_comment(run, by=get_actor_name(request), **body)
        headers = {"Location": f"/api/runs/{run.pk}/comments"}
        return Response(CommentSerializer(comment).data, 201, headers=headers)


class ResolveCommentView(APIView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=EmptyRequest, responses=CommentSerializer)
    def post(self, request: Request, run_id: str, comment_id: int) -> Response:
        """Mark a comment as resolved."""
        comment = find_comment(find_run(request, run_id), comment_id)
        EmptyRequest.parse(request)
        comment.resolve(by=get_actor_name(request))
        comment.refresh_from_db()
        return Response(CommentSerializer(comment).data)


class ReopenCommentView(APIView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=EmptyRequest, responses=CommentSerializer)
    def post(self, request: Request, run_id: str, comment_id: int) -> Response:
        """Mark a comment as not resolved."""
        comment = find_comment(find_run(request, run_id), comment_id)
        EmptyRequest.parse(request)
        comment.reopen()
        comment.refresh_from_db()
        return Response(CommentSerializer(comment).data)

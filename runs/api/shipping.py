"""/api/shipping: what ships and what stops it; freezes, and the way out of a rollback."""

from django.conf import settings
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from runs import freezes, merge_queue
from runs.api.request_bodies import EmptyRequest, FreezeRequest, PushRequest, ReasonRequest
from runs.api.runs import find_run, run_response
from runs.api.serializers import (
    MergeQueueSerializer,
    PushResultSerializer,
    RollbackStateSerializer,
    RunDetailSerializer,
    UnfreezeResultSerializer,
)
from runs.lifecycle.pushing import push_target_branch
from runs.lifecycle.reverts import create_revert_run
from runs.rollback_state import read_rollback_state
from web.permissions import HOLD, OPERATE, VIEW, get_actor_name


def merge_queue_response() -> Response:
    """Return the merge queue as it is now."""
    status = {
        "freezes": freezes.list_active_freezes(),
        # The key is older than the words "merge queue"; clients read it.
        "line": merge_queue.read_merge_queue(settings.OROBOROS).values(),
    }
    return Response(MergeQueueSerializer(status).data)


class MergeQueueView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=MergeQueueSerializer)
    def get(self, request: Request) -> Response:
        """List the runs that ship or wait to ship, in order, and the active freezes."""
        return merge_queue_response()


class FreezeView(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(request=FreezeRequest, responses=MergeQueueSerializer)
    def post(self, request: Request) -> Response:
        """Stop shipping of approved runs. Previews and a run that ships already continue."""
        body = FreezeRequest.parse(request)
        freezes.freeze_shipping(**body, actor=get_actor_name(request))
        return merge_queue_response()


class RollbackStateView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=RollbackStateSerializer)
    def get(self, request: Request) -> Response:
        """Return the rollback after which production is behind the target branch, if it is."""
        state = {"rolled_back": read_rollback_state(settings.OROBOROS)}
        return Response(RollbackStateSerializer(state).data)


class RevertView(APIView):
    abilities = {"POST": HOLD}

    @extend_schema(
        request=EmptyRequest, responses={200: RunDetailSerializer, 201: RunDetailSerializer}
    )
    def post(self, request: Request) -> Response:
        """After a rollback: create a run that reverts the target branch to the live release.

        It ships in spite of the rollback's freeze. 200 with that run if it is open already.
        """
        EmptyRequest.parse(request)
        run, is_new = create_revert_run(settings.OROBOROS, actor=get_actor_name(request))
        return run_response(request, find_run(request, str(run.pk)), 201 if is_new else 200)


class UnfreezeView(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(request=ReasonRequest, responses=UnfreezeResultSerializer)
    def post(self, request: Request) -> Response:
        """Lift every active freeze, also one caused by a failed deployment. May be repeated."""
        body = ReasonRequest.parse(request)
        lifted = merge_queue.unfreeze_shipping(
            settings.OROBOROS, **body, actor=get_actor_name(request)
        )
        return Response({"lifted_count": lifted})


class PushView(APIView):
    abilities = {"POST": OPERATE}

    @extend_schema(request=PushRequest, responses=PushResultSerializer)
    def post(self, request: Request) -> Response:
        """Push the target branch to the remote with the configured credentials. May be repeated.

        409 `push_failed` says why the remote did not accept it, and what repairs that.
        """
        body = PushRequest.parse(request)
        result = push_target_branch(settings.OROBOROS, **body, actor=get_actor_name(request))
        return Response(PushResultSerializer(result).data)

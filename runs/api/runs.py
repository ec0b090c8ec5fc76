"""GET and POST /api/runs[/<id>…]. The rules are in `runs.lifecycle`."""

import uuid

from django.conf import settings
from django.db.models import prefetch_related_objects
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.reserved_names import HOST_NAME
from host.errors import Refused
from runs import difference, presenters
from runs.api.difference_serializers import DifferenceSerializer
from runs.api.fields import parse_run_id
from runs.api.request_bodies import (
    ApproveRequest,
    CancelRequest,
    CreateRunRequest,
    EmptyRequest,
    KeepRequest,
    ReasonRequest,
    build_commit_refusal,
)
from runs.api.serializers import (
    EventSerializer,
    RunDetailSerializer,
    RunSerializer,
    get_run_context,
)
from runs.leasing import queue_status
from runs.leasing.reservations import RunUnknown
from runs.lifecycle import operations
from runs.models import Event, Run
from runs.models.run import RunQuerySet
from runs.prechecks.requests import request_precheck
from runs.repository import open_repository
from runs.rules import Status
from web.permissions import (
    APPROVE,
    HOLD,
    OPERATE,
    VIEW,
    build_branch_regex,
    check_limits,
    check_owner,
    get_abilities,
    get_actor_name,
    get_limits,
    get_required_owner,
)


def find_run(request: Request, run_id: str) -> Run:
    """Return the run, if the requester's limits include it.

    Raises Refused `run_id_invalid` (400), `token_limited` (403), RunUnknown (404).
    """
    run = presenters.select_runs().filter(pk=parse_run_id(run_id)).first()
    if run is None:
        raise RunUnknown
    check_limits(request, branch=run.branch, created_by=run.created_by)
    return run


def check_run_limits(request: Request, run_id: uuid.UUID) -> None:
    """Raise as `find_run` if a limited token may not use the run. Others cost no query."""
    if get_limits(request.user):
        find_run(request, str(run_id))


def filter_by_limits(request: Request, runs: RunQuerySet) -> RunQuerySet:
    """Return those of the runs that the requester's limits include."""
    limits = get_limits(request.user)
    if limits.is_own_only:
        runs = runs.filter(created_by=get_actor_name(request))
    if limits.branches:
        patterns = map(build_branch_regex, limits.branches)
        runs = runs.filter(branch__regex="|".join(patterns))
    return runs


def run_response(request: Request, run: Run, code: int = status.HTTP_200_OK) -> Response:
    """Return a run that `find_run` read, with its steps and what it waits for."""
    prefetch_related_objects([run], "approvals")
    positions = get_run_context(request, [run])
    is_waiting = bool(positions["positions"])
    queue = queue_status.read_queue_status() if is_waiting else None
    context = {**positions, "queue_status": queue}
    return Response(RunDetailSerializer(run, context=context).data, code)


@extend_schema_view(
    get=extend_schema(
        parameters=[
            OpenApiParameter("status", str, enum=Status.values),
            OpenApiParameter("branch", str),
        ]
    )
)
class RunListView(ListAPIView):
    """All runs, newest first, filtered by `?status=` and `?branch=`.

    A token that is limited to some runs sees those.
    """

    abilities = {"GET": VIEW, "POST": HOLD}
    checks_limits = True
    serializer_class = RunSerializer

    def get_queryset(self) -> RunQuerySet:
        runs = filter_by_limits(self.request, presenters.select_runs())
        query = self.request.query_params
        if "status" in query:
            if query["status"] not in Status.values:
                known = ", ".join(Status.values)
                raise Refused("status_unknown", f"The status must be one of {known}.", status=400)
            runs = runs.filter(status=query["status"])
        if "branch" in query:
            runs = runs.filter(branch=query["branch"])
        return runs

    def list(self, request: Request, *args: object, **kwargs: object) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or []
        serializer = RunSerializer(page, many=True, context=get_run_context(request, page))
        return self.get_paginated_response(serializer.data)

    @extend_schema(
        request=CreateRunRequest, responses={200: RunDetailSerializer, 201: RunDetailSerializer}
    )
    def post(self, request: Request) -> Response:
        """Create a run. Its preview is prepared as soon as it is granted a slot.

        200 with the open run of the branch or commit, if there is one and `another` is not set.
        """
        body = CreateRunRequest.parse(request)
        if "priority" in body and OPERATE not in get_abilities(request.user):
            raise PermissionDenied(operations.PRIORITY_REFUSAL)
        name, branch = get_actor_name(request), body.get("branch", "")
        check_limits(request, branch=branch, created_by=name)
        run, is_new = operations.request_run(**body, actor=name)
        response = run_response(request, find_run(request, str(run.pk)), 201 if is_new else 200)
        response["Location"] = f"/api/runs/{response.data['id']}"
        return response


class RunDetailView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=RunDetailSerializer)
    def get(self, request: Request, run_id: str) -> Response:
        """Return a run with its steps, approvals, links and next action."""
        return run_response(request, find_run(request, run_id))


class RunEventsView(ListAPIView):
    """The events of the run, newest first."""

    abilities = {"GET": VIEW}
    serializer_class = EventSerializer

    def get_queryset(self):
        # drf-spectacular calls this without the arguments of a URL.
        if getattr(self, "swagger_fake_view", False):
            return Event.objects.none()
        return Event.objects.filter(run=find_run(self.request, self.kwargs["run_id"]))


class RunDiffView(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(
        parameters=[
            OpenApiParameter(
                "path",
                str,
                description="a path of `files`: `changes` and `patch` are of that file alone, "
                "which is shown up to 50,000 changed lines",
            )
        ],
        responses=DifferenceSerializer,
    )
    def get(self, request: Request, run_id: str) -> Response:
        """Return what the run changes compared with the target branch, migrations listed apart.

        `changes` lists every changed file; `omitted` says which lines are left out and why, and
        `command` shows them in a clone. `is_cut` is true if anything is left out. In paths and
        lines, marks such as `<U+202E>` stand for characters that would be hidden.
        """
        repo, path = open_repository(settings.OROBOROS), request.query_params.get("path")
        return Response(
            DifferenceSerializer(
                difference.compute_difference(find_run(request, run_id), repo, path),
                context={"run_id": run_id},
            ).data
        )


class ApproveView(APIView):
    abilities = {"POST": APPROVE}
    checks_limits = True

    @extend_schema(request=ApproveRequest, responses=RunDetailSerializer)
    def post(self, request: Request, run_id: str) -> Response:
        """Approve the named commit; with its last approval it ships, in queue order.

        Only the host's own shell may leave out `commit_sha`, and approves the run's current one.
        """
        run, body = find_run(request, run_id), ApproveRequest.parse(request)
        if "commit_sha" not in body and get_actor_name(request) != HOST_NAME:
            raise build_commit_refusal("Name the commit that you looked at.")
        if body.get("accept_checks") and OPERATE not in get_abilities(request.user):
            raise PermissionDenied(operations.ACCEPT_CHECKS_REFUSAL)
        operations.approve(run, **body, actor=get_actor_name(request))
        return run_response(request, find_run(request, run_id))


class PrecheckView(APIView):
    abilities = {"POST": APPROVE}
    checks_limits = True

    @extend_schema(request=EmptyRequest, responses={202: RunDetailSerializer})
    def post(self, request: Request, run_id: str) -> Response:
        """Check the ready run as the merge gate would, on today's target branch.

        It runs behind everything that ships; `approval_facts.precheck` has its progress and result.
        While one is open, asking again changes nothing.
        """
        run = find_run(request, run_id)
        EmptyRequest.parse(request)
        request_precheck(run, actor=get_actor_name(request))
        return run_response(request, find_run(request, run_id), 202)


class RejectView(APIView):
    abilities = {"POST": APPROVE}
    checks_limits = True

    @extend_schema(request=ReasonRequest, responses=RunDetailSerializer)
    def post(self, request: Request, run_id: str) -> Response:
        """Reject the run, with a reason for its author."""
        run = find_run(request, run_id)
        operations.reject(run, **ReasonRequest.parse(request), actor=get_actor_name(request))
        return run_response(request, find_run(request, run_id))


class CancelView(APIView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=CancelRequest, responses=RunDetailSerializer)
    def post(self, request: Request, run_id: str) -> Response:
        """Cancel the run. Its processes are stopped first. Only operators cancel others' runs."""
        run = find_run(request, run_id)
        body = CancelRequest.parse(request)
        check_owner(run.created_by, get_required_owner(request), code="run_not_yours")
        operations.cancel(run, **body, actor=get_actor_name(request))
        return run_response(request, find_run(request, run_id))


class RetryView(APIView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=EmptyRequest, responses={201: RunDetailSerializer})
    def post(self, request: Request, run_id: str) -> Response:
        """Create a new run of the same branch or commit as an ended one, and return it."""
        run = find_run(request, run_id)
        EmptyRequest.parse(request)
        child = operations.retry(run, actor=get_actor_name(request))
        return run_response(request, find_run(request, str(child.pk)), 201)


class KeepView(APIView):
    abilities = {"POST": HOLD}
    checks_limits = True

    @extend_schema(request=KeepRequest, responses=RunDetailSerializer)
    def post(self, request: Request, run_id: str) -> Response:
        """Keep the preview for `seconds` from now. Only operators keep others' runs."""
        run = find_run(request, run_id)
        body = KeepRequest.parse(request)
        check_owner(run.created_by, get_required_owner(request), code="run_not_yours")
        operations.keep(run, **body, actor=get_actor_name(request))
        return run_response(request, find_run(request, run_id))

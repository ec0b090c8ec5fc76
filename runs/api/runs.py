"""Runs over HTTP: make, look at, decide. Every rule is in `runs.lifecycle.operations`."""

from django.conf import settings
from drf_spectacular.utils import OpenApiParameter, extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.exceptions import PermissionDenied
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from host.errors import Refused
from runs import presenters
from runs.api.fields import parse_run_id
from runs.api.serializers import DifferenceShape, EventShape, RunDetailShape, RunShape, places
from runs.leasing import queue_status
from runs.lifecycle import operations
from runs.models import Event, Run
from runs.models.run import RunQuerySet
from runs.repository import repository
from runs.rules import PRIORITY_MAX, Status
from web.api import Flag, Input, Integer, Text
from web.permissions import APPROVE, HOLD, OPERATE, VIEW, abilities_of, actor


def find_run(run_id: str) -> Run:
    """Return the run. Raises Refused `run_id_invalid` (400), `run_unknown` (404)."""
    run = presenters.runs().filter(pk=parse_run_id(run_id)).first()
    if run is None:
        raise Refused("run_unknown", "There is no such run.", status=404)
    return run


def answer(run: Run, code: int = status.HTTP_200_OK) -> Response:
    """Answer with a run that `find_run` read."""
    where = places([run])
    line = queue_status.line() if where["positions"] else None
    return Response(RunDetailShape(run, context={**where, "line": line}).data, code)


class NewRun(Input):
    """One of branch and commit; neither is needed to hold a slot. `priority`: an operator's."""

    title = Text(max_length=200)
    branch = Text(required=False, trim_whitespace=False)
    commit = Text(required=False, trim_whitespace=False)
    prepare = Flag(required=False, default=True)
    priority = Integer(required=False, min_value=-PRIORITY_MAX, max_value=PRIORITY_MAX)

    def validate(self, attrs):
        if "branch" in attrs and "commit" in attrs:
            raise Refused("source_ambiguous", "Name a branch or a commit, not both.", status=400)
        return attrs


@extend_schema_view(
    get=extend_schema(
        parameters=[
            OpenApiParameter("status", str, enum=Status.values),
            OpenApiParameter("branch", str),
        ]
    )
)
class RunList(ListAPIView):
    """All runs, newest first; `?status=` and `?branch=` narrow them."""

    abilities = {"GET": VIEW, "POST": HOLD}
    serializer_class = RunShape

    def get_queryset(self) -> RunQuerySet:
        found = presenters.runs()
        asked = self.request.query_params
        if "status" in asked:
            if asked["status"] not in Status.values:
                known = ", ".join(Status.values)
                raise Refused("status_unknown", f"A status is one of {known}.", status=400)
            found = found.filter(status=asked["status"])
        if "branch" in asked:
            found = found.filter(branch=asked["branch"].replace("\0", ""))
        return found

    def list(self, request: Request, *args: object, **kwargs: object) -> Response:
        page = self.paginate_queryset(self.get_queryset()) or []
        shape = RunShape(page, many=True, context=places(page))
        return self.get_paginated_response(shape.data)

    @extend_schema(request=NewRun, responses={201: RunDetailShape})
    def post(self, request: Request) -> Response:
        """Make a run; it is prepared as soon as a slot is free."""
        given = NewRun.given(request)
        if "priority" in given and OPERATE not in abilities_of(request.user):
            raise PermissionDenied(operations.ONLY_OPERATORS_RANK)
        run = operations.create_run(**given, actor=actor(request))
        made = answer(find_run(str(run.pk)), 201)
        made["Location"] = f"/api/runs/{made.data['id']}"
        return made


class RunDetail(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=RunDetailShape)
    def get(self, request: Request, run_id: str) -> Response:
        """A run with its steps, approvals, links, and what to do next."""
        return answer(find_run(run_id))


class RunEvents(ListAPIView):
    """The run's timeline, newest first."""

    abilities = {"GET": VIEW}
    serializer_class = EventShape

    def get_queryset(self):
        if getattr(self, "swagger_fake_view", False):
            return Event.objects.none()
        return Event.objects.filter(run=find_run(self.kwargs["run_id"]))


class RunDiff(APIView):
    abilities = {"GET": VIEW}

    @extend_schema(responses=DifferenceShape)
    def get(self, request: Request, run_id: str) -> Response:
        """What the run changes against the target branch, its migrations called out."""
        repo = repository(settings.OROBOROS)
        return Response(DifferenceShape(presenters.difference(find_run(run_id), repo)).data)


class Approving(Input):
    """`accept_checks`: of the commit named, whose diff shows what becomes of the checks."""

    commit_sha = Text(required=False, trim_whitespace=False)
    reason = Text(required=False, allow_blank=True, multiline=True, max_length=2000)
    accept_checks = Flag(required=False)

    def validate(self, attrs):
        if attrs.get("accept_checks") and "commit_sha" not in attrs:
            detail = "Name the commit whose checks you looked at."
            raise Refused("commit_required", detail, status=400, fields={"commit_sha": detail})
        return attrs


class Approve(APIView):
    abilities = {"POST": APPROVE}

    @extend_schema(request=Approving, responses=RunDetailShape)
    def post(self, request: Request, run_id: str) -> Response:
        """Approve the commit that was looked at; answers at once, shipping follows."""
        run, given = find_run(run_id), Approving.given(request)
        if given.get("accept_checks") and OPERATE not in abilities_of(request.user):
            raise PermissionDenied(operations.ONLY_OPERATORS)
        operations.approve(run, **given, actor=actor(request))
        return answer(find_run(run_id))


class Rejecting(Input):
    reason = Text(multiline=True, max_length=2000)


class Reject(APIView):
    abilities = {"POST": APPROVE}

    @extend_schema(request=Rejecting, responses=RunDetailShape)
    def post(self, request: Request, run_id: str) -> Response:
        """Say no, with a reason for the author."""
        run = find_run(run_id)
        operations.reject(run, **Rejecting.given(request), actor=actor(request))
        return answer(find_run(run_id))


class Canceling(Input):
    reason = Text(required=False, allow_blank=True, multiline=True, max_length=2000)


class Cancel(APIView):
    abilities = {"POST": HOLD}

    @extend_schema(request=Canceling, responses=RunDetailShape)
    def post(self, request: Request, run_id: str) -> Response:
        """End the run; its processes die first."""
        run = find_run(run_id)
        operations.cancel(run, **Canceling.given(request), actor=actor(request))
        return answer(find_run(run_id))


class Nothing(Input):
    """A body that says nothing."""


class Retry(APIView):
    abilities = {"POST": HOLD}

    @extend_schema(request=Nothing, responses={201: RunDetailShape})
    def post(self, request: Request, run_id: str) -> Response:
        """Make a new run of an ended one; the answer is the new one."""
        run = find_run(run_id)
        Nothing.given(request)
        return answer(find_run(str(operations.retry(run, actor=actor(request)).pk)), 201)


class Keeping(Input):
    seconds = Integer(
        required=False,
        default=settings.PREVIEW_KEEP_SECONDS,
        min_value=60,
        max_value=settings.PREVIEW_KEEP_SECONDS,
    )


class Keep(APIView):
    abilities = {"POST": HOLD}

    @extend_schema(request=Keeping, responses=RunDetailShape)
    def post(self, request: Request, run_id: str) -> Response:
        """Keep the preview for so long from now, 72 h at most."""
        run = find_run(run_id)
        operations.keep(run, **Keeping.given(request), actor=actor(request))
        return answer(find_run(run_id))

"""A commit of a monorepo says whether it touches the backend, the frontend, or neither."""

import pytest

from host.app.manifest import Manifest
from runs.approval_facts import ApprovalFacts
from runs.pipelines.changed_parts import list_parts

WEB = ("python", "server.py")
MONOREPO = Manifest(
    web=WEB, backend_dir="apps/api", frontend_dir="apps/web", frontend_output="dist"
)
# A frontend that is a server beside the API.
SERVERS = Manifest(
    web=WEB, backend_dir="api", frontend_dir="web", frontend_build=(("npm", "run", "build"),)
)


@pytest.mark.parametrize(
    ("manifest", "files", "parts"),
    [
        (MONOREPO, ["apps/api/app.py"], ["backend"]),
        (MONOREPO, ["apps/web/main.js", "apps/web/a.css"], ["frontend"]),
        (MONOREPO, ["apps/web/main.js", "apps/api/app.py"], ["backend", "frontend"]),
        (MONOREPO, ["packages/shared/index.js"], ["other"]),
        (MONOREPO, ["apps/website/main.js", "README.md"], ["other"]),
        (MONOREPO, ["Procfile"], ["backend"]),
        (MONOREPO, [], []),
        (SERVERS, ["web/page.tsx", "docs/a.md"], ["frontend", "other"]),
        (Manifest(web=WEB), ["app.py"], ["backend"]),
        (Manifest(web=WEB, frontend_output="dist"), ["app.js"], ["backend", "frontend"]),
        (Manifest(frontend_output="."), ["index.html"], ["frontend"]),
    ],
)
def test_changed_files_belong_to_parts(manifest, files, parts):
    assert list_parts(files, manifest) == parts


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ((), ""),
        (("frontend",), "only frontend"),
        (("backend", "frontend"), "backend and frontend"),
        (("backend", "frontend", "other"), "backend, frontend and other files"),
    ],
)
def test_the_parts_are_a_fact_before_the_approval(parts, text):
    assert ApprovalFacts(changed_parts=parts).changes == text

"""The table [routes] of oroboros.toml, and the routes that are detected."""

import pytest

from host.errors import Refused

PROCFILE = {"Procfile": "web: python server.py\n"}


@pytest.mark.parametrize(
    "path", ["/", "/*", "/graphql", "/admin/*", "/a/b-c/~x/*", "/socket.io/", "/.well-known/x"]
)
def test_a_route_is_a_path_with_or_without_all_below_it(load_files, path):
    found = load_files(PROCFILE | {"oroboros.toml": f'[routes]\n"{path}" = "web"\n'})
    assert found.routes == {path: "web"}


@pytest.mark.parametrize(
    "path", ["admin", "/admin*", "/*/x", "//x", "/a/../b", "/..", "/a b", "/a?x=1", "/ü", "/a{1}"]
)
def test_a_path_of_another_form_is_refused(load_files, path):
    with pytest.raises(Refused, match=r"oroboros.toml line 2, .*give a path such as /admin/\*"):
        load_files(PROCFILE | {"oroboros.toml": f'[routes]\n"{path}" = "web"\n'})


def test_the_surfaces_own_paths_and_processes_without_a_port_are_refused(load_files):
    with pytest.raises(Refused, match="the surface answers this path itself"):
        load_files(PROCFILE | {"oroboros.toml": '[routes]\n"/health" = "web"\n'})
    with pytest.raises(Refused, match=r"no process 'worker' answers requests; .*: web"):
        load_files(PROCFILE | {"oroboros.toml": '[routes]\n"/x" = "worker"\n'})
    files = {"oroboros.toml": '[frontend]\noutput = "."\n[routes]\n"/x" = "web"\n'}
    with pytest.raises(Refused, match="none, there is no backend"):
        load_files({"Procfile": "", **files})


def test_routes_are_detected_for_a_process_of_ones_own_too(load_files):
    files = {
        "backend/manage.py": '"DJANGO_SETTINGS_MODULE", "site.settings"',
        "backend/site/urls.py": 'path("admin/", admin.site.urls)',
        "oroboros.toml": '[backend]\ndirectory = "backend"\nweb = "python own.py"\n',
    }
    assert load_files(files).detected_routes == ("/admin/*",)

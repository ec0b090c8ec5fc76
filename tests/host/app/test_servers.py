"""Servers beside `web`: what the manifest says of them, their routes, ports and variables."""

import pytest

from host.app import planning
from host.app.dependencies.install import Tools
from host.app.manifest import Process
from host.app.process_types import process_environment, servers
from host.app.process_types.route_layers import RouteLayer, plan_routes
from host.errors import Refused
from host.files.surface_folder import LiveFile, LiveRoutes, ServerProbe

PROCFILE = "web: serve\nweb-frontend: npm start -- --port $PORT\nworker: work\n"
TOML = (
    '[processes.web-frontend]\nport = true\ndirectory = "frontend"\n'
    '[frontend]\ndirectory = "frontend"\nbuild = "npm run build"\n'
    '[routes]\n"/*" = "web-frontend"\n"/api/auth/*" = "web-frontend"\n"/admin/*" = "web"\n'
)
TOOLS = Tools("uv", "python3", "3.11.2")
FOUR = "".join(f'[processes.s{n}]\nrun = "serve"\nport = true\n' for n in range(4))


def load(load_files, toml=TOML, procfile=PROCFILE, **more):
    return load_files({"Procfile": procfile, "oroboros.toml": toml, **more})


def test_a_process_with_a_port_is_a_server_to_which_routes_lead(load_files, tmp_path):
    found = load(load_files)
    server, worker = found.processes
    argv = ("npm", "start", "--", "--port", "$PORT")
    assert server == Process("web-frontend", argv, "frontend", has_port=True)
    assert not worker.has_port
    assert found.notes == ()
    plan = planning.make_plan(tmp_path, found, TOOLS)
    assert [(one.name, one.port_index) for one in plan.processes] == [
        ("web-frontend", 0),
        ("worker", None),
    ]
    assert servers.map_ports(plan.processes, 8101, (8501, 8601, 8701)) == {
        "web": 8101,
        "web-frontend": 8501,
    }


def test_a_build_without_an_output_is_that_of_the_server_in_its_folder(load_files):
    assert load(load_files).frontend_build == (("npm", "run", "build"),)
    with pytest.raises(Refused, match="which process with a port serves it"):
        load(load_files, TOML.replace('directory = "frontend"\nbuild', "build"))


def test_node_packages_are_installed_in_the_folder_of_a_server(load_files, tmp_path):
    toml = '[processes.site]\nrun = "npm start"\nport = true\ndirectory = "apps/site"\n'
    package = {"apps/site/package.json": '{"dependencies": {"next": "15"}}'}
    plan = planning.make_plan(tmp_path, load(load_files, toml, "web: serve\n", **package), TOOLS)
    assert "apps/site" in [one.directory for one in plan.installs if one.kind == "node"]


def test_formation_starts_one_of_a_server(load_files):
    app = '{"formation": {"web-frontend": {"quantity": 2}}}'
    found = load(load_files, **{"app.json": app})
    assert found.processes[0].quantity == 1
    assert found.notes == ("app.json: one process 'web-frontend' is started, since it has a port.",)


@pytest.mark.parametrize(
    ("toml", "where", "problem"),
    [
        ("[processes.worker]\nport = 1\n", "processes.worker", "port: give true or false"),
        ("[processes.worker]\nport = true\npreview = false\n", "processes.worker", "previews too"),
        ('[processes.worker]\nhealth_path = "/up"\n', "processes.worker", "add `port = true`"),
        (
            '[processes.worker]\nport = true\nhealth_path = "up"\n',
            "processes.worker",
            "starts with /",
        ),
        ("[processes.worker]\nport = true\nstop_timeout = 5\n", "processes.worker", "[backend]"),
        (FOUR, "line 12, processes.s3.port", "at most 3 processes have a port"),
        ('[routes]\n"/x" = "worker"\n', "line 2, routes./x", "give one of those that do: web"),
    ],
)
def test_a_mistake_names_the_key_and_what_to_write(load_files, toml, where, problem):
    with pytest.raises(Refused) as caught:
        load(load_files, toml, "web: serve\nworker: work\n")
    assert caught.value.code == "manifest_invalid"
    assert where in caught.value.detail
    assert problem in caught.value.detail


def test_routes_that_lie_within_each_other_too_often_are_refused(load_files):
    paths = ["/" + "/".join("abcdefgh"[:depth]) for depth in range(1, 9)]
    routes = [f'"{path}/*" = "{("web-frontend", "web")[n % 2]}"' for n, path in enumerate(paths)]
    toml = "[processes.web-frontend]\nport = true\n[routes]\n" + "\n".join(routes)
    with pytest.raises(Refused, match="within each other too often"):
        load(load_files, toml)


def test_the_most_specific_route_counts():
    routes = {"/*": "site", "/api/auth/*": "site", "/api/auth/admin": "web", "/cms/*": "cms"}
    layers = plan_routes(routes, ("/admin/*", "/docs")).layers
    assert find(layers, "/api/auth/admin") == "web"
    assert find(layers, "/api/auth/x") == "site"
    assert find(layers, "/api/x") == "web"
    assert find(layers, "/admin/") == "web"
    assert find(layers, "/cms/x") == "cms"
    assert find(layers, "/anything") == "site"


def find(layers, path):
    """Return the process that a surface chooses: of the first layer that has the path."""
    for layer in layers:
        for one in layer.paths:
            base = one.removesuffix("/*")
            if path == base or (one.endswith("/*") and path.startswith(f"{base}/")):
                return layer.process
    return None


def test_routes_to_web_alone_need_no_layers():
    plan = plan_routes({"/graphql": "web"}, ("/admin/*",))
    assert (plan.layers, plan.backend, plan.after_files) == ((), ("/graphql",), ("/admin/*",))
    # Those that lie below no route of another server stay as they are.
    plan = plan_routes({"/app/*": "site", "/graphql": "web"}, ("/admin/*",))
    assert plan.layers == (RouteLayer("site", ("/app/*",)),)
    assert (plan.backend, plan.after_files) == (("/graphql",), ("/admin/*",))


def test_the_line_of_a_surface_has_layers_and_servers():
    routes = LiveRoutes(
        "^(?:/a)$",
        "",
        (("127.0.0.1:8101", "^(?:/api(?:/.*)?)$"), ("127.0.0.1:8501", "^(?:(?:/.*)?)$")),
        (ServerProbe("127.0.0.1:8501", "/up,x", False), ServerProbe("127.0.0.1:8601", "/", True)),
    )
    live = LiveFile(3, "127.0.0.1:8101", "a" * 40, routes=routes)
    assert LiveFile.parse(str(live)) == live
    assert str(live).endswith(
        " routes=^(?:/a)$ server=127.0.0.1:8501,2xx,/up,x server=127.0.0.1:8601,any,/"
        " via=127.0.0.1:8101,^(?:/api(?:/.*)?)$ via=127.0.0.1:8501,^(?:(?:/.*)?)$\n"
    )


def test_servers_know_their_port_and_the_addresses_of_all():
    addresses = process_environment.build_addresses({"web": 1, "web-frontend": 2})
    assert addresses == {
        "OROBOROS_SERVER_WEB": "http://127.0.0.1:1",
        "OROBOROS_SERVER_WEB_FRONTEND": "http://127.0.0.1:2",
    }
    assert process_environment.build_addresses({"web": 1}) == {}
    environment = {"PORT": "1", **addresses}
    server = process_environment.build_server_environment(environment, "web-frontend", 2)
    assert server == {**environment, "PORT": "2", "OROBOROS_PROCESS": "web-frontend"}
    # Production's background processes belong to no colour: neither port is theirs.
    assert process_environment.build_background_environment(environment, "worker") == {
        "OROBOROS_PROCESS": "worker"
    }

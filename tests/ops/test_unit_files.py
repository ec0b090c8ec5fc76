"""The files under infra/systemd name programs and files that this checkout has."""

import ast
import re
import subprocess
import sys

import pytest

from host import config as configuration
from host.units import unit_files
from host.units.stack_ports import list_ports
from ops import systemd
from ops.installed import public_router, remote_paths
from slots.runtime import web_units

UNITS = configuration.HOME / "infra/systemd/units"
OURS = re.compile(rf"{systemd.TEMPLATE_HOME}/(?!var\b|\.venv\b)([A-Za-z0-9_./-]+)")
# What scripts/systemd-install-runtime.sh and quickstart.sh import before anything is installed.
BARE_MODULES = ("ops.__main__", "ops.preflight", "ops.virtualenv", "ops.systemd")


@pytest.mark.parametrize("path", sorted(UNITS.glob("*.service")), ids=lambda path: path.name)
def test_every_path_of_a_unit_exists_in_the_checkout(path):
    for name in OURS.findall(path.read_text()):
        assert (configuration.HOME / name).exists(), name


def test_what_a_unit_executes_without_packages_imports_the_standard_library_only():
    program = UNITS.joinpath("ouroboros-app@.service").read_text()
    [name] = re.findall(rf"-I -S {systemd.TEMPLATE_HOME}/(\S+)", program)
    tree = ast.parse((configuration.HOME / name).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names}  # fmt: skip
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {module.partition(".")[0] for module in imported} <= sys.stdlib_module_names


@pytest.mark.parametrize("module", BARE_MODULES)
def test_the_installation_imports_no_package(module):
    argv = [sys.executable, "-S", "-c", f"import {module}"]
    done = subprocess.run(argv, cwd=configuration.HOME, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_rendered_files_name_this_checkout_and_its_var(tmp_path):
    config = configuration.load({"OROBOROS_VAR": str(tmp_path / "var")}, home=configuration.HOME)
    for name in systemd.list_unit_files(config):
        text = systemd.render_file(config, f"units/{name}")
        assert systemd.TEMPLATE_HOME not in text or str(config.home) == systemd.TEMPLATE_HOME
        assert f"{systemd.TEMPLATE_HOME}/var" not in text


def test_caddy_collects_its_garbage_alike_with_and_without_systemd():
    config = configuration.load({"OROBOROS_SLOTS": "1"})
    values = {unit.env["GOGC"] for unit in web_units.build_web_units(config)}
    assert values == {web_units.GARBAGE_PERCENT}
    for name in ("ouroboros-caddy", "ouroboros-web@"):
        lines = (UNITS / f"{name}.service").read_text().splitlines()
        assert f"Environment=GOGC={web_units.GARBAGE_PERCENT}" in lines


@pytest.mark.parametrize("instance", ["preview-1", "preview-1.1", "preview-1.2", "preview-1.3"])
def test_a_preview_has_the_user_of_its_drop_in_and_the_template_names_none(instance):
    # systemd writes a warning to the journal for each name with a dot, whenever it reads the unit.
    template = (UNITS / "ouroboros-preview@.service").read_text()
    assert "\nUser=ouroboros-preview\n" in template
    [drop_in] = (UNITS / f"ouroboros-preview@{instance}.service.d").iterdir()
    assert "\nUser=ouroboros-preview-1\n" in drop_in.read_text()


APPLICATION_UNITS = (
    "ouroboros-app@",
    "ouroboros-app-process@",
    "ouroboros-job@",
    "ouroboros-preview@",
    "ouroboros-process-preview-1@",
)


def read_bind_rules(word, text):
    """Return the ports of the unit's rules of SocketBindDeny or SocketBindAllow."""
    ranges = re.findall(rf"(?m)^SocketBind{word}=tcp:(\d+)(?:-(\d+))?$", text)
    return {port for first, last in ranges for port in range(int(first), int(last or first) + 1)}


@pytest.mark.parametrize("unit", APPLICATION_UNITS)
def test_the_units_of_applications_may_bind_no_port_of_the_stack_but_their_own(unit):
    config = configuration.load({"OROBOROS_SLOTS": "64"})
    denied = read_bind_rules("Deny", UNITS.joinpath(f"{unit}.service").read_text())
    assert {port for _, port, _ in list_ports(config)} <= denied
    files = systemd.list_unit_files(config)
    for _, port, name in list_ports(config):
        drop_ins = [file for file in files if file.startswith(f"{name}.service.d/")]
        texts = [systemd.render_file(config, f"units/{file}") for file in drop_ins]
        allowed = {one for text in texts for one in read_bind_rules("Allow", text)}
        is_application = name.startswith(APPLICATION_UNITS)
        assert allowed == ({port} if is_application else set()), name


@pytest.mark.parametrize("unit", APPLICATION_UNITS)
def test_the_units_of_applications_have_terminals_of_their_own(unit):
    text = UNITS.joinpath(f"{unit}.service").read_text()
    folder = f"{unit_files.TERMINALS}/%n"
    assert f"\nBindPaths=-{folder}:/dev/pts\n" in text
    [make] = re.findall(r"(?m)^ExecStartPre=\+(.*)$", text)
    # A mount by a process of the host's own namespace may use all terminals of the host.
    assert " unshare --mount --propagation unchanged mount -t devpts " in make
    assert make.endswith(f" devpts {folder}") and ",max=64," in make


def test_units_that_are_started_on_demand_have_no_install_section():
    sections = {
        path.name: "[Install]" in path.read_text() for path in UNITS.glob("ouroboros-*@.service")
    }
    assert {name for name, has_one in sections.items() if has_one} == {
        "ouroboros-app@.service",
        "ouroboros-preview@.service",
        "ouroboros-web@.service",
    }


def test_users_logs_and_drop_ins_follow_the_number_of_slots():
    config = configuration.load({"OROBOROS_SLOTS": "12"})
    users = systemd.render_file(config, "sysusers.conf")
    assert re.findall(r"(?m)^u ouroboros-preview-(\d+) ", users) == [str(n) for n in range(1, 13)]
    assert users.count("m ouroboros-web ouroboros-preview-12\n") == 1
    assert "preview-12.log" in systemd.render_file(config, "tmpfiles.conf")
    name = "units/ouroboros-job@preview-12-command.service.d/user.conf"
    text = systemd.render_file(config, name)
    assert "User=ouroboros-preview-12\n" in text
    assert "preview-1/" not in text
    web = public_router.render_web_environment(config)
    assert "WEB_SLOTS='1|2|3|4|5|6|7|8|9|10|11|12'\n" in web
    rule = re.search(r"/\^(ouroboros-.*)\$/", systemd.render_polkit_rule(config))
    for number in (1, 12, 64):
        assert re.fullmatch(rule[1], f"ouroboros-preview@preview-{number}.service")
        assert re.fullmatch(rule[1], f"ouroboros-preview@preview-{number}.3.service")
        assert re.fullmatch(rule[1], f"ouroboros-process-preview-{number}@worker.2.service")
    assert re.fullmatch(rule[1], "ouroboros-app@blue.1.service")
    assert re.fullmatch(rule[1], f"ouroboros-disk@{'0a' * 8}.service")
    assert not re.fullmatch(rule[1], "ouroboros-app@blue.4.service")
    assert re.fullmatch(rule[1], "ouroboros-app-process@worker.service")
    assert not re.fullmatch(rule[1], "ouroboros-app-process@../x.service")
    name = "units/ouroboros-preview@preview-12.2.service.d/server.conf"
    text = systemd.render_file(config, name)
    assert "User=ouroboros-preview-12\n" in text and "SocketBindAllow=tcp:8612\n" in text
    assert "Slice=ouroboros-previews-preview-12.slice\n" in text
    text = systemd.render_file(config, "units/ouroboros-process-preview-12@.service")
    assert "User=ouroboros-preview-%j\n" in text  # which systemd fills in from the template's name


# Values that systemd.exec(5), EnvironmentFile, and our own parser read alike.
COMMON_LINE = re.compile(r"#.*|[A-Z_]+=(?:[^\s'\"\\#]*|'(?:[^'\\]|\\(?![\\']))*')")


def test_systemd_reads_only_env_files_that_both_parsers_read_alike():
    names = set()
    for path in UNITS.rglob("*.*"):
        if path.is_file():
            names |= set(re.findall(r"(?m)^EnvironmentFile=-?(\S+)", path.read_text()))
    assert names == {"/etc/oroboros/web-%i.env", "/etc/oroboros/web.env"}
    config = configuration.load({"CORS_APP_ORIGINS": "https://shop.example:8443"})
    texts = [path.read_text() for path in UNITS.parent.glob("env/*.env")]
    for text in [public_router.render_web_environment(config), *texts]:
        assert [line for line in text.splitlines() if not COMMON_LINE.fullmatch(line)] == []


@pytest.mark.parametrize("unit", remote_paths.UNITS)
def test_the_units_that_use_the_git_remote_see_neither_homes_nor_the_hosts_tmp(unit):
    lines = (UNITS / unit).read_text().splitlines()
    assert "ProtectHome=yes" in lines
    assert "PrivateTmp=yes" in lines

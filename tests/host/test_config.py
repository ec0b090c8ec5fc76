"""The configuration: env files, precedence, refused values."""

import grp
import os
import pwd
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from host import config, env_file_access
from host.env_file_access import describe_exposure
from host.errors import Refused
from host.settings_rules import MAX_SLOTS
from host.units.stack_ports import list_ports


def get_refusal(call, *arguments):
    with pytest.raises(Refused) as found:
        call(*arguments)
    return found.value


def test_an_env_file_is_parsed():
    text = "# a comment\n\nA=1\r\nB='two words'\nC=\"\"\nD=a=b # a comment\n_E=é\n"
    assert config.parse_env(text, "x.env") == {
        "A": "1", "B": "two words", "C": "", "D": "a=b", "_E": "é",
    }  # fmt: skip


@pytest.mark.parametrize("value", ["$(cat /etc/shadow)", "`id`", "$HOME", "${A}", "%n", "\\n"])
def test_a_value_is_not_expanded(value):
    assert config.parse_env(f"A={value}", "x.env") == {"A": value}


@pytest.mark.parametrize(
    ("text", "code", "detail"),
    [
        ("1BAD=x", "env_line_invalid", "x.env line 1"),
        ("A=1\nexport", "env_line_invalid", "x.env line 2"),
        ("A", "env_line_invalid", "line 1"),
        ("=x", "env_line_invalid", "line 1"),
        ("A-B=1", "env_line_invalid", "line 1"),
        ("A=1\0B=2", "env_file_invalid", "NUL"),
        ("A=1\nA=2", "env_key_duplicate", "x.env line 2: A"),
        ("A=" + "x" * 2**20, "env_file_too_large", "64 KiB"),
        ("A=" + "é" * 2**15, "env_file_too_large", "64 KiB"),
    ],
)
def test_an_invalid_line_is_refused_with_its_number(text, code, detail):
    found = get_refusal(config.parse_env, text, "x.env")
    assert (found.code, found.status) == (code, 400)
    assert detail in found.detail


@pytest.mark.parametrize("separator", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_lines_end_at_line_feeds_only(separator):
    assert config.parse_env(f"A=1{separator}B=2", "x.env") == {"A": f"1{separator}B=2"}


def test_a_refusal_does_not_quote_the_line():
    assert "hunter2" not in get_refusal(config.parse_env, "pass word=hunter2", "x.env").detail


def test_an_absent_file_is_empty(tmp_path):
    assert config.read_env_file(tmp_path / "api.env") == {}


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"A=\xff", "env_file_invalid"),
        (b"A=" + b"x" * 2**20, "env_file_too_large"),
        (b"A=1" + "é".encode() * 2**15, "env_file_too_large"),
    ],
)
def test_an_invalid_file_is_refused_with_its_path(tmp_path, raw, code):
    path = tmp_path / "api.env"
    path.write_bytes(raw)
    found = get_refusal(config.read_env_file, path)
    assert found.code == code
    assert str(path) in found.detail


@pytest.mark.parametrize(
    "slot_id",
    [
        "", "Preview-1", "PREVIEW-1", "preview-1/..", "../preview-1", "-rf", "preview-1\n",
        " preview-1", "preview\0-1", "preview-1\0", "preview-1@evil.service", "preview--1",
        "preview_1", "preview-01", "preview-0", "preview-", "preview-1.", "preview-١", "admin",
        "main", "slot-1", "1", "preview-1 preview-2", "preview-100", "x" * 10_000,
    ],
)  # fmt: skip
def test_an_invalid_slot_id_is_refused(slot_id):
    found = get_refusal(config.load({}).slot, slot_id)
    assert (found.code, found.status) == ("slot_id_invalid", 400)


def test_a_slot_that_is_not_configured_is_unknown():
    found = get_refusal(config.load({"OROBOROS_SLOTS": "2"}).slot, "preview-3")
    assert (found.code, found.status) == ("slot_unknown", 404)
    assert "preview-1, preview-2" in found.detail


def test_a_slot_is_found_by_both_spellings():
    slot = config.load({}).slot("preview-2")
    assert slot == config.load({}).slot("preview2")
    assert (slot.web_port, slot.backend_port, slot.database) == (3102, 8102, "app_preview_2")


def test_64_slots_have_ports_and_uids_of_their_own_and_a_65th_is_refused(monkeypatch):
    monkeypatch.setattr(config.os, "geteuid", lambda: 0)
    most = config.load({"OROBOROS_SLOTS": str(MAX_SLOTS)})
    assert len(most.slots) == most.slot_count == MAX_SLOTS == 64
    ports = [port for _, port, _ in list_ports(most)] + [most.discard_port]
    ports += [slot.mail_port for slot in most.slots]
    assert len(set(ports)) == len(ports)
    slot_ports = {*range(3101, 3165), *range(8101, 8165)}
    assert slot_ports <= set(ports)
    assert not {*most.colour_ports, most.gate_port, most.router_port} & slot_ports
    uids = [user.uid for user in (*most.application_users, most.postgres_user)]
    assert len(set(uids)) == len(uids) == 64 + 7
    assert all(0 < uid - most.uid_base < 100 for uid in uids)
    refusal = get_refusal(config.load, {"OROBOROS_SLOTS": str(MAX_SLOTS + 1)})
    assert (refusal.code, refusal.detail) == (
        "setting_invalid", "OROBOROS_SLOTS must be a whole number from 1 to 64, not '65'."
    )  # fmt: skip


def test_a_slot_above_the_number_stays_until_its_run_has_left(tmp_path):
    folder = tmp_path / "slots" / "preview-5"
    (folder / "worktree").mkdir(parents=True)
    environ = {"OROBOROS_SLOTS": "2", "OROBOROS_VAR": str(tmp_path)}
    found = config.load(environ)
    assert [slot.number for slot in found.slots] == [1, 2, 5]
    assert found.slot_count == 2
    (folder / "worktree").rmdir()
    (folder / "activations").mkdir()
    assert [slot.number for slot in config.load(environ).slots] == [1, 2]


def test_an_offset_moves_every_port_within_the_valid_range():
    found = config.load({"OROBOROS_PORT_OFFSET": "50000"})
    ports = [
        found.api_port, found.worker_port, found.web_port, found.router_port, *found.colour_ports,
        found.gate_port, found.postgres_port, *(slot.web_port for slot in found.slots),
        *(slot.backend_port for slot in found.slots),
    ]  # fmt: skip
    assert len(set(ports)) == len(ports)
    assert all(1024 <= port < 65536 for port in ports)
    assert found.api_port == 58000
    assert config.load({"OROBOROS_PORT_OFFSET": "10"}).postgres_port == 54339


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OROBOROS_PORT_OFFSET", "-1"), ("OROBOROS_PORT_OFFSET", "50001"),
        ("OROBOROS_PORT_OFFSET", "1e3"), ("OROBOROS_PORT_OFFSET", "١"),
        ("OROBOROS_SLOTS", "0"), ("OROBOROS_SLOTS", "65"), ("OROBOROS_SLOTS", "three"),
        ("OROBOROS_UID_BASE", "0"), ("OROBOROS_UID_BASE", "9" * 30),
    ],
)  # fmt: skip
def test_a_number_that_is_invalid_or_out_of_range_is_refused(name, value):
    found = get_refusal(config.load, {name: value})
    assert found.code == "setting_invalid"
    assert name in found.detail


@pytest.mark.parametrize("value", ["-1", "nan", "inf", "soon", "1e10"])
def test_an_invalid_duration_is_refused(value):
    assert get_refusal(config.load({"T": value}).get_seconds, "T", 5).code == "setting_invalid"


def test_a_duration_of_0_is_refused_without_allows_none():
    assert config.load({"T": "0"}).get_seconds("T", 5) == 0
    with pytest.raises(Refused, match="T must be a number of seconds above 0, not '0'"):
        config.load({"T": "0"}).get_seconds("T", 5, allows_none=False)


def test_a_duration_has_a_default():
    assert config.load({"T": ""}).get_seconds("T", 5) == 5
    assert config.load({"T": "0.5"}).get_seconds("T", 5) == 0.5


def test_the_environment_wins_over_the_files_and_an_earlier_file_over_a_later(tmp_path):
    (tmp_path / "api.env").write_text("A=api\nB=api\n")
    (tmp_path / "worker.env").write_text("A=worker\nB=worker\nC=worker\n")
    (tmp_path / "app.env").write_text("D=the application's\n")
    for path in tmp_path.glob("*.env"):
        path.chmod(0o600)
    environ = {"OROBOROS_ENV_DIR": str(tmp_path), "A": "ours"}
    assert config.load_env_files(environ) == tmp_path
    assert (environ["A"], environ["B"], environ["C"]) == ("ours", "api", "worker")
    assert "D" not in environ


def test_the_hosts_env_files_apply_only_to_the_checkout_they_name(tmp_path, monkeypatch):
    system = tmp_path / "etc"
    system.mkdir()
    monkeypatch.setattr(config, "SYSTEM_ENV_DIR", system)
    home = tmp_path / "checkout"
    home.mkdir()
    assert config.find_env_dir({}, home) == home / "var" / "env"
    (system / "api.env").write_text(f"OROBOROS_HOME={tmp_path}/another\n")
    assert config.find_env_dir({}, home) == home / "var" / "env"
    (system / "api.env").write_text(f"OROBOROS_HOME={home}\n")
    assert config.find_env_dir({}, home) == system
    assert config.find_env_dir({"OROBOROS_ENV_DIR": str(tmp_path)}, home) == tmp_path


def test_users_have_distinct_uids_as_root_and_are_none_otherwise():
    found = config.load({})
    users = [found.slot_user(slot) for slot in found.slots]
    users += [found.job_user, found.precheck_user, found.app_user, found.postgres_user]
    if os.geteuid() != 0:
        assert set(users) == {None}
    else:
        assert len({user.uid for user in users}) == len(users)
        assert all(user.uid >= 60800 for user in users)


@pytest.mark.parametrize("https", ["false", "true"])
def test_no_link_to_a_preview_has_the_admins_host_name(https):
    found = config.load({"OROBOROS_HTTPS": https})
    admins = {"127.0.0.1", "localhost", "::1", "api.localhost", f"api.{found.domain}"}
    for slot in found.slots:
        for label in ("api", "localhost", "main-1a2b3c"):
            urls = (found.frontend_url(slot, label), found.backend_url(slot, label))
            hosts = {urlsplit(url).hostname for url in urls}
            assert not hosts & admins
            # Neither is a domain of the other, whose cookies it would get.
            assert not any(a.endswith(f".{host}") for a in admins for host in hosts)


@pytest.mark.parametrize("name", [*config.CONTROL_FILES, *config.APPLICATION_FILES])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_an_env_file_that_others_can_open_is_refused_at_the_start(tmp_path, name, mode):
    (tmp_path / name).write_text("A=1\n")
    (tmp_path / name).chmod(mode)
    refusal = get_refusal(config.load_env_files, {"OROBOROS_ENV_DIR": str(tmp_path)})
    assert refusal.code == "env_file_exposed"
    assert f"chmod 600 {tmp_path / name}" in refusal.detail


SHARED = grp.struct_group(("team", "x", 1, ["ann", "bob"]))
OWN = grp.struct_group((pwd.getpwuid(os.geteuid()).pw_name, "x", 1, []))


@pytest.mark.parametrize(
    ("mode", "group", "code"),
    [
        (0o770, SHARED, "env_file_exposed"),
        (0o775, OWN, ""),
        (0o777, OWN, "env_file_exposed"),
        (0o707, OWN, "env_file_exposed"),
        (0o755, SHARED, ""),
        (0o1777, SHARED, ""),
    ],
)
def test_a_folder_in_which_others_can_replace_the_env_files_is_refused(
    tmp_path, monkeypatch, mode, group, code
):
    monkeypatch.setattr("grp.getgrgid", lambda gid: group)
    folder = tmp_path / "env"
    folder.mkdir()
    folder.chmod(mode)
    environ = {"OROBOROS_ENV_DIR": str(folder)}
    if code:
        refusal = get_refusal(config.load_env_files, environ)
        assert (refusal.code, f"chmod go-w {folder}" in refusal.detail) == (code, True)
    else:
        assert config.load_env_files(environ) == folder


def test_no_folder_at_all_has_no_env_files():
    """As the checks of ./scripts/test.sh have it, which take no setting of the host."""
    assert config.load_env_files({"OROBOROS_ENV_DIR": os.devnull}) == Path(os.devnull)


def test_a_folder_in_place_of_an_env_file_is_refused(tmp_path):
    (tmp_path / "api.env").mkdir()
    refusal = get_refusal(config.load_env_files, {"OROBOROS_ENV_DIR": str(tmp_path)})
    assert refusal.code == "env_file_invalid" and "is a folder" in refusal.detail


@pytest.mark.parametrize("name", [*config.CONTROL_FILES, *config.APPLICATION_FILES])
@pytest.mark.parametrize("text", ["A=1\nB='open\n", 'A=1\nB="open\nC="1"\n'])
def test_an_open_quote_is_refused_at_the_start_with_file_and_line(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    (tmp_path / name).chmod(0o600)
    refusal = get_refusal(config.load_env_files, {"OROBOROS_ENV_DIR": str(tmp_path)})
    assert refusal.detail.startswith(f"{tmp_path / name} line 2: ")


@pytest.mark.parametrize(("uid", "problem"), [(0, ""), (7, ""), (8, "belongs to the user 8")])
def test_an_env_file_of_another_user_is_exposed(uid, problem):
    assert describe_exposure(0o100600, uid, {0, 7}) == problem


@pytest.fixture
def unreadable(tmp_path, monkeypatch):
    """Make a file of the folder unreadable to this process, which is root in CI."""

    def make(name):
        def read(path):
            if path.name == name:
                raise PermissionError(path)
            return {}

        monkeypatch.setattr(config, "read_env_file", read)
        return tmp_path / name

    return make


@pytest.mark.parametrize("name", [*config.CONTROL_FILES, *config.APPLICATION_FILES])
def test_an_unreadable_env_file_is_refused_by_name_with_the_grant(unreadable, name):
    path = unreadable(name)
    refusal = get_refusal(config.load_env_files, {"OROBOROS_ENV_DIR": str(path.parent)})
    owner = pwd.getpwuid(path.parent.stat().st_uid).pw_name
    assert refusal.code == "env_file_unreadable"
    assert f"{path} cannot be read by {owner}" in refusal.detail
    assert f"chown -h {owner}: {path}; chmod 600 {path}; then ./scripts" in refusal.detail


def test_a_user_of_the_host_who_may_read_no_env_file_has_no_settings(unreadable, monkeypatch):
    path = unreadable("api.env")
    monkeypatch.setattr(env_file_access.os, "geteuid", lambda: 12345)
    assert config.load_env_files({"OROBOROS_ENV_DIR": str(path.parent)}) == path.parent
    unreadable("worker.env")
    refusal = get_refusal(config.load_env_files, {"OROBOROS_ENV_DIR": str(path.parent)})
    assert "cannot be read by 12345" in refusal.detail


def test_the_service_does_not_take_its_unreadable_installation_for_anothers(
    unreadable, monkeypatch
):
    path = unreadable("api.env")
    monkeypatch.setattr(config, "SYSTEM_ENV_DIR", path.parent)
    assert get_refusal(config.find_env_dir, {}).code == "env_file_unreadable"
    monkeypatch.setattr(env_file_access.os, "geteuid", lambda: 12345)
    assert config.find_env_dir({}, path.parent) == path.parent / "var" / "env"


def test_a_repair_names_the_file_of_the_folders_own_link_and_follows_no_other(tmp_path):
    inner = tmp_path / "variables"
    inner.mkdir()
    link, file = tmp_path / "app.env", inner / "app.env"
    link.symlink_to("variables/app.env")
    file.touch()
    wanted = f"chown -h ann: {file}; chmod 600 {file}"
    assert env_file_access.describe_repair(link, "ann") == wanted
    assert env_file_access.describe_repair(file, "ann") == wanted
    file.unlink()
    file.symlink_to("/etc/shadow")
    said = env_file_access.describe_repair(link, "ann")
    assert said == f"{file} is a link to /etc/shadow: read where it leads, then rm {file}"


@pytest.mark.root
def test_a_repair_does_not_follow_a_link_of_another_user_than_the_folders(tmp_path):
    link = tmp_path / "app.env"
    link.symlink_to("/etc/shadow")
    os.chown(link, 60999, 60999, follow_symlinks=False)
    assert "chown" not in env_file_access.describe_repair(link, "ann")
    assert f"rm {link}" in env_file_access.describe_repair(link, "ann")

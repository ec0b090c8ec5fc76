"""Which background processes an application has, by Procfile, app.json and oroboros.toml."""

import json

import pytest

from host.app import planning
from host.app.dependencies.install import Tools
from host.app.manifest import Process
from host.app.process_types import process_environment
from host.errors import Refused

PROCFILE = "web: serve\nrelease: migrate\nworker: celery -A x worker\nbeat: celery -A x beat\n"


def load_processes(load_files, **files):
    names = {"procfile": "Procfile", "app": "app.json", "toml": "oroboros.toml"}
    return load_files({"Procfile": PROCFILE} | {names[key]: text for key, text in files.items()})


def formation(**quantities):
    entries = {name: {"quantity": number} for name, number in quantities.items()}
    return json.dumps({"formation": entries})


def test_each_line_of_a_procfile_but_web_and_release_is_a_background_process(load_files):
    found = load_processes(load_files)
    assert found.processes == (
        Process("worker", ("celery", "-A", "x", "worker")),
        Process("beat", ("celery", "-A", "x", "beat")),
    )
    assert found.notes == ()


def test_formation_gives_the_quantities(load_files):
    found = load_processes(load_files, app=formation(worker=3, beat=0, web=2, other=1))
    assert [(one.type, one.quantity) for one in found.processes] == [("worker", 3)]
    assert found.notes == (
        "app.json: one web process is started, whatever formation says.",
        "app.json: formation names the process 'other', which has no command.",
        "The process 'beat' is not started: app.json gives it the quantity 0.",
    )


def test_the_sizes_of_formation_are_a_note(load_files):
    text = json.dumps({"formation": {"worker": {"quantity": 1, "size": "standard-2x"}}})
    notes = load_processes(load_files, app=text).notes
    assert notes == ("app.json: the sizes of formation are not honored here.",)


def test_oroboros_toml_says_what_the_other_files_cannot(load_files):
    toml = (
        '[backend]\ndirectory = "api"\n[processes.beat]\npreview = false\nstop_timeout = 90\n'
        '[processes.mails]\nrun = "python mails.py"\ndirectory = "mails"\n'
    )
    worker, beat, mails = load_processes(load_files, toml=toml).processes
    assert (worker.directory, worker.has_preview, worker.stop_timeout) == ("api", True, 30)
    assert (beat.directory, beat.has_preview, beat.stop_timeout) == ("api", False, 90)
    assert (mails.directory, mails.argv) == ("mails", ("python", "mails.py"))


def test_without_a_web_process_none_is_started_and_a_note_says_so(load_files):
    toml = '[frontend]\noutput = "."\n'
    found = load_processes(load_files, procfile="worker: work\n", toml=toml)
    assert found.processes == ()
    assert found.notes == (
        "The process 'worker' is not started: the application has no web process.",
    )


def test_a_command_that_is_not_started_may_need_a_shell(load_files):
    procfile = "web: serve\nconsole: cd app && bash\n"
    found = load_processes(load_files, procfile=procfile, app=formation(console=0))
    assert found.processes == ()


def test_a_background_process_that_needs_the_port_is_a_note(load_files):
    found = load_processes(load_files, procfile="web: serve\nflower: flower --port=${PORT}\n")
    assert found.processes == ()
    assert found.notes == (
        "The process 'flower' is not started: it uses $PORT, and has none without `port = true` "
        "under [processes.flower] of oroboros.toml.",
    )


@pytest.mark.parametrize(
    ("files", "where", "problem"),
    [
        ({"procfile": "web: a\nworker: a | b\n"}, "Procfile line 2, worker", "shell"),
        ({"procfile": "web: a\nw: b\nw: c\n"}, "Procfile line 3, w", "twice"),
        ({"procfile": f"web: a\n{'w' * 41}: b\n"}, "Procfile line 2", "at most 40"),
        ({"toml": "[processes.web]\n"}, "oroboros.toml line 1, processes.web", "[backend]"),
        ({"toml": "[processes.mails]\n"}, "oroboros.toml line 1, processes.mails", "`run ="),
        ({"toml": "[processes.beat]\npreveiw = true\n"}, "oroboros.toml line", "preview?"),
        ({"toml": "[processes.beat]\npreview = 1\n"}, "processes.beat", "true or false"),
        ({"toml": "[processes.beat]\nstop_timeout = 301\n"}, "processes.beat", "1 to 300"),
        ({"app": formation(worker=-1)}, "app.json", "whole number from 0 to 20"),
        ({"app": formation(worker="2")}, "app.json", "whole number from 0 to 20"),
        ({"app": formation(worker=20)}, "Procfile line 1", "more than 20"),
        ({"app": '{"formation": ["worker"]}'}, "app.json", "an object"),
        ({"app": '{"formation": {"a b": {}}}'}, "app.json", "process type"),
    ],
)
def test_a_mistake_names_file_and_key_and_what_to_write(load_files, files, where, problem):
    with pytest.raises(Refused) as caught:
        load_processes(load_files, **files)
    assert caught.value.code == "manifest_invalid"
    assert where in caught.value.detail
    assert problem in caught.value.detail


def test_from_the_second_process_of_a_type_on_its_name_has_a_number(load_files, tmp_path):
    found = load_processes(load_files, app=formation(worker=2, beat=0))
    plan = planning.make_plan(tmp_path, found, Tools("uv", "python3", "3.11.2"))
    assert [process.name for process in plan.processes] == ["worker", "worker.2"]
    assert {process.command.argv[0] for process in plan.processes} == {"celery"}


def test_only_web_has_the_port_and_each_process_has_its_name():
    assert process_environment.build_web_environment({"PORT": "1"}) == {
        "PORT": "1",
        "OROBOROS_PROCESS": "web",
    }
    assert process_environment.build_background_environment({"PORT": "1"}, "worker.2") == {
        "OROBOROS_PROCESS": "worker.2"
    }
